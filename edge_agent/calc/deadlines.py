"""By when a month must be stored: so many calendar days after its last day."""

from datetime import date, timedelta

from edge_agent.errors import CalculationError


def storage_deadline(month: str, days: int) -> date:
    """Last day for the monthly storage (月度存证) of ``YYYY-MM``.

    Args:
        month: the calendar month, ``YYYY-MM``.
        days: calendar days after its last day; option ``deadline_days`` of the set. Holidays do
            not move it.

    Raises:
        CalculationError: no month, or a negative number of days.
    """
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError:
        message = f"{month!r} is no month; YYYY-MM is right"
        raise CalculationError(message) from None
    if days < 0:
        message = f"{days} days after the month; zero or more is right"
        raise CalculationError(message)
    after = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return after + timedelta(days=days - 1)
