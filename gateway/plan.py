"""What must be reported: the parameters of a sector with their names, units and decimals.

The lists themselves are data (``configs/forms``), read by ``gateway.forms``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.errors import CalculationError

MEASURED = "measured 实测"
CALCULATED = "calculated 计算"
DEFAULT = "default 缺省值"
ESTIMATED = "estimated 估算"

EMISSION = "emission"
OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the monthly list.

    ``decimals`` is how the form prints it; ``unit`` may name alternatives with `` or ``.
    ``level`` says what one value belongs to (site, potline, kiln, unit, fuel, material, meter);
    ``direction`` which side is the cautious one: an ``emission`` the higher, an ``output`` (or
    deduction) the lower. A ``required`` parameter needs a source in the control plan.
    """

    id: str
    zh: str
    en: str
    unit: str
    decimals: int
    level: str = "site"
    direction: str = ""
    required: bool = False
    methods: tuple[str, ...] = ()
    evidence: str = ""
    source: str = ""
    status: str = "unverified"

    @property
    def units(self) -> tuple[str, ...]:
        """The units in which it may stand."""
        return tuple(self.unit.split(" or "))


@dataclass(frozen=True, slots=True)
class Form:
    """A sector's monthly list under one id and version."""

    id: str
    version: int
    zh: str
    en: str
    guide: str
    parameters: Mapping[str, Parameter] = field(repr=False)

    def get(self, parameter_id: str) -> Parameter:
        """A parameter of the list.

        Raises:
            CalculationError: the form has no such line.
        """
        if parameter_id not in self.parameters:
            message = f"the form {self.id} has no parameter {parameter_id!r}"
            raise CalculationError(message)
        return self.parameters[parameter_id]
