"""What a cement or steel plant consists of: kilns and their fuels, units and their flows.

Names of fuels, materials and products are those of the factor sets; which meter, ticket or
analysis gives an amount stands in the control plan. A scope is ``<kiln>.<fuel id>``,
``<unit>.<flow id>`` or ``site.<item id>``.
"""

from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"
FACTOR_NAME = r"^[a-z0-9_]+$"
Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KilnFuel(_Strict):
    """A fossil fuel burnt in a kiln; the equipment decides the oxidation of solid fuels."""

    id: str = Field(pattern=NAME)
    fuel: str = Field(pattern=FACTOR_NAME)
    equipment: Literal["cement_kiln", "power_boiler", "industrial_boiler", "other"] = "cement_kiln"
    route: Literal["heating_value", "carbon_content"] = "heating_value"
    unit: Literal["t", "10^4Nm3"] = "t"


class SubstituteMaterial(_Strict):
    """A raw material without carbonates that replaces limestone."""

    id: str = Field(pattern=NAME)
    material: str = Field(pattern=FACTOR_NAME)


class AlternativeFuel(_Strict):
    """A waste or biomass fuel, of which only the fossil carbon may count."""

    id: str = Field(pattern=NAME)
    fuel: str = Field(pattern=FACTOR_NAME)


class Kiln(_Strict):
    """A clinker line.

    ``process`` is the route of process emissions: the 2024 guide's clinker factor less
    deductions, or the oxides of GB/T 32151.8. ``stock_balance`` also works out the clinker from
    stocks and deliveries, beside the belt weigher.
    """

    id: str = Field(pattern=NAME)
    clinker_type: Literal["portland", "white", "sulfoaluminate", "aluminate"] = "portland"
    process: Literal["clinker_factor", "oxides"] = "clinker_factor"
    stock_balance: bool = False
    fuels: tuple[KilnFuel, ...] = ()
    substitutes: tuple[SubstituteMaterial, ...] = ()
    alternative_fuels: tuple[AlternativeFuel, ...] = ()

    @model_validator(mode="after")
    def _ids(self) -> Self:
        return _distinct(self, (*self.fuels, *self.substitutes, *self.alternative_fuels))


class Flow(_Strict):
    """Something that enters or leaves a unit and carries carbon.

    ``basis`` ``heat``: amount x NCV x carbon per heat; ``material`` or ``product``: amount x a factor of the set
    (tCO2/t); ``carbon``: amount x measured carbon content. ``item`` is the fuel, material or
    product of the factor set. A gas names the unit it comes from or goes to in ``with_unit``.
    """

    id: str = Field(pattern=NAME)
    item: str = Field(pattern=FACTOR_NAME)
    basis: Literal["heat", "material", "product", "carbon"]
    unit: Literal["t", "10^4Nm3"] = "t"
    with_unit: str | None = Field(default=None, pattern=NAME)


class Unit(_Strict):
    """A process unit of a steel works (工序)."""

    id: str = Field(pattern=NAME)
    kind: Literal[
        "coking",
        "sintering",
        "pelletising",
        "blast_furnace",
        "converter",
        "electric_arc_furnace",
        "rolling",
        "lime",
        "power",
        "other",
    ]
    inputs: tuple[Flow, ...] = ()
    outputs: tuple[Flow, ...] = ()
    metered_output: bool = True

    @model_validator(mode="after")
    def _ids(self) -> Self:
        return _distinct(self, (*self.inputs, *self.outputs))


class EnterpriseFuel(_Strict):
    """A fuel of the whole works; ``signed`` is the reason why its net amount may be negative.

    What is made inside (``own``) must not be counted as used: its carbon came in with the coal
    or coke. It may stand here only with a minus, for what left the works.
    """

    id: str = Field(pattern=NAME)
    fuel: str = Field(pattern=FACTOR_NAME)
    unit: Literal["t", "10^4Nm3"] = "t"
    route: Literal["heating_value", "carbon_content"] = "heating_value"
    origin: Literal["bought", "own"] = "bought"
    signed: str = ""

    @model_validator(mode="after")
    def _own_leaves(self) -> Self:
        if self.origin == "own" and not self.signed:
            message = f"{self.fuel} is made inside: 'signed' must say why it stands here"
            raise ValueError(message)
        return self


class EnterpriseItem(_Strict):
    """A carbon-bearing purchase or product of the whole works."""

    id: str = Field(pattern=NAME)
    item: str = Field(pattern=FACTOR_NAME)


class SteelWorks(_Strict):
    """The whole works: what is bought and burnt, what is bought and used, what leaves as product."""

    fuels: tuple[EnterpriseFuel, ...] = ()
    materials: tuple[EnterpriseItem, ...] = ()
    products: tuple[EnterpriseItem, ...] = ()
    units: tuple[Unit, ...] = ()

    @model_validator(mode="after")
    def _ids(self) -> Self:
        _distinct(self, (*self.fuels, *self.materials, *self.products))
        units = {unit.id for unit in self.units}
        if len(units) != len(self.units):
            message = "a unit's id stands twice"
            raise ValueError(message)
        for unit in self.units:
            for flow in (*unit.inputs, *unit.outputs):
                if flow.with_unit is not None and flow.with_unit not in units:
                    message = f"{unit.id}.{flow.id}: there is no unit {flow.with_unit!r}"
                    raise ValueError(message)
        return self


class Carbonate(_Strict):
    """A carbonate used outside the pots of a smelter."""

    id: str = Field(pattern=NAME)
    material: str = Field(pattern=FACTOR_NAME)


def _distinct(model: Model, parts: tuple[Any, ...]) -> Model:
    ids = [part.id for part in parts]
    for name in ids:
        if ids.count(name) > 1:
            message = f"the id {name!r} stands twice"
            raise ValueError(message)
    return model
