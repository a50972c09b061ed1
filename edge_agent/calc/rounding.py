"""Half-up decimal rounding (四舍五入) of reported values; never used between steps."""

from decimal import ROUND_HALF_UP, Decimal


def exact(value: float | str | Decimal) -> Decimal:
    """The decimal a person would read: the shortest form that gives this float."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def half_up(value: float | str | Decimal, decimals: int) -> Decimal:
    """Rounded half away from zero to a number of decimals."""
    return exact(value).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
