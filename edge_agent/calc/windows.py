"""Minutes, hours, days and months in plant local time; all windows are half-open."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

NS_PER_S = 10**9
MINUTE_NS = 60 * NS_PER_S
HOUR_NS = 3600 * NS_PER_S
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 UTC of an aware moment (microsecond resolution)."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000


def to_local(time_ns: int, zone: ZoneInfo) -> datetime:
    """A moment in plant local time, to the microsecond."""
    return (_EPOCH + timedelta(microseconds=time_ns // 1000)).astimezone(zone)


def month_bounds(month: str, zone: ZoneInfo) -> tuple[int, int]:
    """First moment of a calendar month ``YYYY-MM`` and of the next one [ns UTC].

    Raises:
        ValueError: not a month.
    """
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=zone)
    after = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return to_ns(first.astimezone(UTC)), to_ns(after.astimezone(UTC))


def hour_offset_ns(zone: ZoneInfo, time_ns: int) -> int:
    """Part of the zone's UTC offset beyond whole hours [ns]; 0 for most zones."""
    offset = to_local(time_ns, zone).utcoffset() or timedelta(0)
    return int(offset.total_seconds()) % 3600 * NS_PER_S


def window_start(time_ns: int, length_ns: int, offset_ns: int = 0) -> int:
    """Start of the window of a length that holds a moment, shifted by a zone's offset."""
    return (time_ns + offset_ns) // length_ns * length_ns - offset_ns
