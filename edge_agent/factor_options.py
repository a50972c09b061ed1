"""The choices a factor set may leave open, with the values each may take.

Each is a clause nobody here could read in the official text, or one that a guideline leaves to the
reporter. A set names only the options it needs.
"""

from typing import Annotated, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.calc.factors import Option

Value = TypeVar("Value", bound=str | int)
Status = Literal["verified", "unverified", "site"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Chosen(_Strict, Generic[Value]):
    """The value taken, who says so, and how sure that is."""

    value: Value
    source: str = Field(min_length=1)
    status: Status
    note: str = ""
    reason: str = ""
    evidence: str = ""
    replaces: str | int | None = None


GwpReport = Literal["sar", "tar", "ar4", "ar5", "ar6"]


class Options(_Strict):
    """Every option there is; None where a set does not have it."""

    oxidation_in_steel: Chosen[Literal["none", "by_state"]] | None = None
    """Steel fuels without oxidation factor, or 98 % for solids and liquids and 99 % for gases."""
    netting_rule_steel: Chosen[Literal["net", "net_floored", "gross_in"]] | None = None
    """How process units add up, see ``calc.steel_units.Netting``."""
    dolomite_ef: Chosen[Literal["web_form", "monthly_form"]] | None = None
    """Dolomite factor of one or the other public form."""
    anode_route: Chosen[Literal["per_tonne_default", "gross_loss", "measured"]] | None = None
    """Anode CO2 by a factor a tonne, gross anodes less a loss rate, or measured consumption."""
    nc_default: Chosen[Literal["web_form", "gbt_2015", "draft_2024"]] | None = None
    """Net anode consumption when nothing is measured."""
    pfc_route: Chosen[Literal["default_ef", "slope", "overvoltage"]] | None = None
    """PFC by default factors, anode-effect minutes or overvoltage."""
    pfc_ef_default: Chosen[Literal["web_form", "draft_2024"]] | None = None
    """PFC factors when nothing is measured."""
    pfc_c2f6_ratio: Chosen[Literal["cn", "ipcc_2006"]] | None = None
    """C2F6 per CF4: a tenth, or the IPCC ratio of the technology."""
    gwp_set: Chosen[GwpReport] | None = None
    """Assessment report of the warming potentials."""
    coal_ncv_default: Chosen[Literal["web_form", "gbt_2015", "power_guide"]] | None = None
    """Heating value of anthracite and bituminous coal when nothing is measured."""
    deadline_days: Chosen[Annotated[int, Field(ge=1, le=366)]] | None = None
    """Calendar days after the month's end for the monthly storage (月度存证)."""


def allowed(name: str) -> tuple[str, ...]:
    """The values an option may take; empty for a whole number of days.

    Raises:
        KeyError: there is no such option.
    """
    chosen = get_args(Options.model_fields[name].annotation)[0]
    value = chosen.model_fields["value"].annotation
    return tuple(map(str, get_args(value))) if get_origin(value) is Literal else ()


def describe(name: str) -> str:
    """``one of a, b, c`` or what else is right for an option."""
    values = allowed(name)
    return (
        f"one of {', '.join(values)} is right"
        if values
        else "a whole number from 1 to 366 is right"
    )


def to_options(options: Options, sources: dict[str, str]) -> dict[str, Option]:
    """The options a set has, with their sources as text."""
    result: dict[str, Option] = {}
    for name in Options.model_fields:
        chosen = getattr(options, name)
        if chosen is not None:
            plain = chosen.model_dump()
            plain["source"] = sources.get(plain["source"], plain["source"])
            result[name] = Option(name, **plain)
    return result
