"""Coal analyses between the as-received (ar), air-dried (ad) and dry (d) basis.

    X_ar = X_ad x (100 - M_ar)/(100 - M_ad) = X_d x (100 - M_ar)/100

holds for contents (carbon, ash, sulphur) and for the gross heating value. The *net* heating value
also pays for evaporating the water, so it converts with the heat of evaporation put back first
(GB/T 213 formula for Q_net of another moisture).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from edge_agent.calc.checks import not_negative, percent
from edge_agent.errors import CalculationError


class Basis(StrEnum):
    """What a laboratory's number refers to."""

    AS_RECEIVED = "ar"
    AIR_DRIED = "ad"
    DRY = "d"


@dataclass(frozen=True, slots=True)
class Moisture:
    """Total moisture as received [%] and moisture of the air-dried analysis sample [%].

    None where it was not measured; a conversion that needs it is refused.
    """

    ar_percent: float | None = None
    ad_percent: float | None = None

    def of(self, basis: Basis) -> float:
        """Moisture [%] of a basis.

        Raises:
            CalculationError: it was not measured, or is outside 0 to 100.
        """
        match basis:
            case Basis.AS_RECEIVED:
                value, name = self.ar_percent, "M_ar"
            case Basis.AIR_DRIED:
                value, name = self.ad_percent, "M_ad"
            case Basis.DRY:
                return 0.0
            case _:
                assert_never(basis)
        if value is None:
            message = f"{name} was not measured: this basis cannot be converted"
            raise CalculationError(message)
        percent(**{name: value})
        return value


def convert(content_percent: float, given: Basis, wanted: Basis, moisture: Moisture) -> float:
    """A content [%] from one basis to another.

    Args:
        content_percent: carbon, ash or another content [%].
        given: the basis it was analysed on.
        wanted: the basis that is asked for.
        moisture: moistures of the same lot.

    Raises:
        CalculationError: a percentage is outside 0 to 100, or the given basis is pure water.
    """
    percent(content=content_percent)
    return content_percent * _solids(wanted, moisture) / _solids_of_given(given, moisture)


def convert_ncv(
    ncv_gj_per_t: float,
    given: Basis,
    wanted: Basis,
    moisture: Moisture,
    evaporation_gj_per_t_percent: float,
) -> float:
    """A net calorific value [GJ/t] from one basis to another.

        Q_w = (Q_g + r M_g) x (100 - M_w)/(100 - M_g) - r M_w

    Args:
        ncv_gj_per_t: net calorific value on the given basis [GJ/t].
        given: the basis it was analysed on.
        wanted: the basis that is asked for.
        moisture: moistures of the same lot.
        evaporation_gj_per_t_percent: r, heat of evaporation per percent of water [GJ/t/%]; a
            factor of the set (GB/T 213: 23 J/g).

    Raises:
        CalculationError: an input is out of range, or so wet that no heat is left.
    """
    not_negative(ncv_gj_per_t=ncv_gj_per_t, evaporation=evaporation_gj_per_t_percent)
    dry_share = _solids(wanted, moisture) / _solids_of_given(given, moisture)
    put_back = ncv_gj_per_t + evaporation_gj_per_t_percent * moisture.of(given)
    result = put_back * dry_share - evaporation_gj_per_t_percent * moisture.of(wanted)
    if result < 0:
        message = f"at {moisture.of(wanted)} % moisture the water takes more heat than there is"
        raise CalculationError(message)
    return result


def _solids(basis: Basis, moisture: Moisture) -> float:
    return 100 - moisture.of(basis)


def _solids_of_given(basis: Basis, moisture: Moisture) -> float:
    solids = _solids(basis, moisture)
    if solids == 0:
        message = f"the moisture of basis {basis} is 100 %: nothing but water"
        raise CalculationError(message)
    return solids
