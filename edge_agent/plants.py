"""What a plant consists of: its meters, kilns and their fuels, units and their flows.

Names of fuels, materials and products are those of the factor sets; which meter, ticket or
analysis gives an amount stands in the control plan. A scope is ``<kiln>.<fuel id>``,
``<unit>.<flow id>`` or ``site.<item id>``.
"""

from datetime import date
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.documents import Document

NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"
FACTOR_NAME = r"^[a-z0-9_]+$"
Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


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


class RateCheck(_Strict):
    """A tag that shows the rate of what a totaliser counts, and how far apart both may be.

    The tag is a plain one or that of a rate meter, and gives a value in every minute.

    The month's report has a reservation where the count and the integral of the rate differ by
    more than ``tolerance_percent`` [%], in the month or on a day.
    """

    rate: str
    tolerance_percent: float = Field(default=5.0, gt=0, lt=100)


class Meter(_Strict):
    """A totaliser or rate tag and what it counts.

    A tag whose unit is a rate (``t/h``, ``kW``) is integrated by hours; two good samples further
    apart than ``max_gap_s`` leave missing time between them. ``mpe_percent`` is the maximum
    permissible error in use [% of the amount], where the class alone does not tell it. A gas meter
    in ``m3`` that refers to 20 C and 101.325 kPa (``gas_at: sales_20c``) is brought to normal
    conditions once, in the month; one in ``Nm3`` never.
    """

    id: str = Field(pattern=NAME)
    tag: str
    role: Literal["electricity", "fuel", "metal", "material", "heat"]
    fuel: str | None = None
    potline: str | None = None
    max_gap_s: float = Field(default=300.0, gt=0, le=3_600)
    instrument: str = ""
    maker: str = ""
    model: str = ""
    serial_number: str = ""
    gas_at: Literal["normal", "sales_20c"] = "normal"
    accuracy_class: str = ""
    mpe_percent: float | None = Field(default=None, gt=0, lt=100)
    calibrated_on: date | None = None
    calibrated_until: date | None = None
    check: RateCheck | None = None

    @model_validator(mode="after")
    def _needs(self) -> Self:
        if (self.role == "fuel") != (self.fuel is not None):
            message = "a meter of role fuel, and no other, names its fuel"
            raise ValueError(message)
        return self


def check_sector(config: Any, document: Document) -> None:
    """Lines, kilns and units stand in the files of their own sector only, and so does the plan.

    Raises:
        ConfigError: names file, line and key.
    """
    for key, sector, there in (
        ("potlines", "aluminium", config.potlines),
        ("carbonates", "aluminium", config.carbonates),
        ("kilns", "cement", config.kilns),
        ("steel", "steel", config.steel),
    ):
        if there and config.sector != sector:
            right = f"sector: {sector} is right"
            raise document.error((key,), f"the sector is {config.sector!r}", right)
    plan = config.control_plan
    if plan is not None and plan.sector != config.sector:
        message = f"is a plan for {plan.sector!r}; the sector is {config.sector!r}"
        raise document.error(("control_plan",), message)


def _distinct(model: Model, parts: tuple[Any, ...]) -> Model:
    ids = [part.id for part in parts]
    for name in ids:
        if ids.count(name) > 1:
            message = f"the id {name!r} stands twice"
            raise ValueError(message)
    return model
