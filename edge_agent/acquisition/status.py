"""What the supervisor knows of a device: its state and its counters."""

from dataclasses import dataclass
from enum import StrEnum


class DeviceState(StrEnum):
    """What the data of a device say about it."""

    CONNECTING = "connecting"
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(slots=True)
class DeviceStatus:
    """One device as seen from here; times are UTC [ns].

    Args:
        since_ns: when ``state`` began.
        last_data_ns: when the newest usable reading was received, None before the first.
        polls: polls that were answered, or deliveries of a subscription.
        overruns: poll slots left out and readings dropped because somebody was too slow.
        errors: sessions that ended with an error, crashes of the driver included.
        last_error: what ended the last of them.
        reconnects: sessions after the first.
        renewals: sessions that the watchdog ended because their data were too old.
        latency_s: how long the last answered poll took [s], None for subscriptions.
    """

    device: str
    state: DeviceState = DeviceState.CONNECTING
    since_ns: int = 0
    last_data_ns: int | None = None
    polls: int = 0
    overruns: int = 0
    errors: int = 0
    last_error: str = ""
    reconnects: int = 0
    renewals: int = 0
    latency_s: float | None = None
