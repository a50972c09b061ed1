"""Steel: the whole enterprise, and the carbon mass balance of anything inside it.

    E_enterprise = E_fuel + E_process - E_product
    E_enterprise = E_units + E_power + E_other        (E_other balances; domain-china.md 5.1)

Fuels are net consumptions of what was bought: coke oven, blast furnace and converter gas made
inside carry carbon that its coal and coke have brought in already, so their use is refused here
and stands in the units' own balances (``steel_units``). What of them left the works is deducted: a
negative amount, with its reason.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.calc import process
from edge_agent.calc.checks import finite, not_negative
from edge_agent.calc.combustion import CO2_PER_C, Burnt, FuelUse, Origin, burn, total_co2
from edge_agent.calc.process import Item, ItemCo2
from edge_agent.errors import CalculationError


def carbon_balance_co2(
    carbon_in: Sequence[tuple[float, float]], carbon_out: Sequence[tuple[float, float]]
) -> float:
    """CO2 [t] of a unit from the carbon that enters and leaves it.

        E = (sum C_in m_in - sum C_out m_out) x 44/12

    Args:
        carbon_in: (mass [t], carbon fraction) of each input.
        carbon_out: the same of each output.

    Raises:
        CalculationError: a mass is negative or a carbon fraction outside 0 to 1.
    """
    for mass_t, carbon in (*carbon_in, *carbon_out):
        if not (mass_t >= 0 and 0 <= carbon <= 1):
            message = f"mass {mass_t} t with carbon {carbon}: at least 0 t and 0 to 1 are right"
            raise CalculationError(message)
    entered = math.fsum(mass_t * carbon for mass_t, carbon in carbon_in)
    left = math.fsum(mass_t * carbon for mass_t, carbon in carbon_out)
    return (entered - left) * CO2_PER_C


@dataclass(frozen=True, slots=True)
class Enterprise:
    """A steel works' month [tCO2]: fuels, process, carbon kept in products, and their total."""

    fuels: tuple[Burnt, ...]
    materials: tuple[ItemCo2, ...]
    products: tuple[ItemCo2, ...]
    fuel_t: float
    process_t: float
    product_t: float

    @property
    def co2_t(self) -> float:
        """Direct CO2 [t]: fuels plus process minus products."""
        return math.fsum((self.fuel_t, self.process_t, -self.product_t))


def enterprise(
    fuels: Sequence[FuelUse], materials: Sequence[Item], products: Sequence[Item]
) -> Enterprise:
    """Direct CO2 of the whole works.

    Args:
        fuels: net consumption of each bought fuel; negative only with a reason.
        materials: flux, electrodes and bought carbon-bearing materials, net amounts used.
        products: what keeps carbon: crude steel, pig iron sold, tar, benzol.

    Raises:
        CalculationError: a fuel made inside is counted, one stands twice, or an input is out of
            range.
    """
    _refuse_double_counting(fuels)
    burnt = tuple(burn(use) for use in fuels)
    used, kept = process.used(materials), process.kept(products)
    return Enterprise(burnt, used, kept, total_co2(burnt), process.total(used), process.total(kept))


def _refuse_double_counting(fuels: Sequence[FuelUse]) -> None:
    names = [use.fuel for use in fuels]
    for use in fuels:
        if use.origin is Origin.OWN and use.amount > 0:
            message = (
                f"{use.fuel} was made inside the works: its carbon came in with the coal or coke "
                "and would be counted twice; only what was bought, or left with a minus, belongs "
                "here"
            )
            raise CalculationError(message)
        if names.count(use.fuel) > 1:
            message = f"the fuel {use.fuel!r} stands {names.count(use.fuel)} times"
            raise CalculationError(message)


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary table [tCO2]: enterprise = units + power + other; ``other_t`` balances."""

    enterprise_t: float
    units_t: float
    power_t: float
    other_t: float


def summary(enterprise_t: float, units_t: float, power_t: float) -> Summary:
    """Enterprise, process units, power units with own gas, and what is left over [tCO2].

    Raises:
        CalculationError: an input is no number.
    """
    finite(enterprise_t=enterprise_t, units_t=units_t, power_t=power_t)
    other_t = math.fsum((enterprise_t, -units_t, -power_t))
    return Summary(enterprise_t, units_t, power_t, other_t)


def intensity(co2_t: float, product_t: float) -> float | None:
    """CO2 per product [tCO2/t]; None when nothing was made.

    Raises:
        CalculationError: the product is negative.
    """
    not_negative(product_t=product_t)
    return co2_t / product_t if product_t else None
