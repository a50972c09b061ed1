"""What a batch's two clocks say about its times. Pure; used at acceptance and by the verifier.

``mono`` is the boot-time clock that stood beside UTC at ``t0`` and ``t1``, so within one boot
``t1 - mono1`` may only drift, and a step must be told by a ``clock_step`` event:

    K1  the clock is not synchronised                                      clock_unsynced
    K2  t1 - t0 and mono1 - mono0 differ beyond the drift, untold          clock_inconsistent
    K3  against the batch before, UTC fell behind the monotonic clock,
        untold                                                             clock_backward
    K4  the same forward, or the monotonic clock went back                 clock_inconsistent
    K5  another boot, but the monotonic clock went on as if there were none  reboot_unexplained

Source of the limits: trust.md 3.7 of the design, 500 ppm of the span and 50 ms.
"""

from dataclasses import dataclass

from edge_agent.wire.batch import Batch

UNSYNCED = "clock_unsynced"
INCONSISTENT = "clock_inconsistent"
BACKWARD = "clock_backward"
REBOOT = "reboot_unexplained"
_FIXED_NS = 50_000_000
_PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class ClockMark:
    """What the next batch is held against."""

    boot: bytes
    last_ns: int
    mono_ns: int
    told: bool


def mark(batch: Batch) -> ClockMark:
    """The mark a batch leaves."""
    return ClockMark(batch.boot, batch.last_ns, batch.mono[1], _tells_step(batch))


def own_flags(batch: Batch, drift_ppm: int | None) -> tuple[str, ...]:
    """Flags that the batch alone gives (K1, K2); no drift limit leaves K2 out."""
    flags = [] if batch.clock.sync else [UNSYNCED]
    if drift_ppm is not None and not _tells_step(batch):
        span_ns, mono_ns = batch.last_ns - batch.first_ns, batch.mono[1] - batch.mono[0]
        if abs(span_ns - mono_ns) > _allowed_ns(span_ns, drift_ppm):
            flags.append(INCONSISTENT)
    return tuple(flags)


def chain_flags(before: ClockMark, batch: Batch, drift_ppm: int) -> tuple[str, ...]:
    """Flags that show only beside the batch before (K3 to K5)."""
    now = mark(batch)
    shift_ns = (now.last_ns - now.mono_ns) - (before.last_ns - before.mono_ns)
    allowed_ns = _allowed_ns(now.mono_ns - before.mono_ns, drift_ppm)
    if now.boot != before.boot:
        return (REBOOT,) if abs(shift_ns) <= allowed_ns else ()
    if now.told or _is_older_stretch(before, now) or abs(shift_ns) <= allowed_ns:
        return ()
    went_back = now.mono_ns < before.mono_ns
    return (BACKWARD,) if shift_ns < 0 and not went_back else (INCONSISTENT,)


def following(before: ClockMark | None, batch: Batch) -> ClockMark:
    """The mark after a batch; rows from before a told step leave the newer mark standing."""
    now = mark(batch)
    if before is not None and now.boot == before.boot and _is_older_stretch(before, now):
        return before
    return now


def _is_older_stretch(before: ClockMark, now: ClockMark) -> bool:
    """Rows that were waiting while a step was told: both clocks read less than at the step."""
    return before.told and now.last_ns < before.last_ns and now.mono_ns < before.mono_ns


def _tells_step(batch: Batch) -> bool:
    return any(event["type"] == "clock_step" for event in batch.events)


def _allowed_ns(span_ns: int, drift_ppm: int) -> int:
    return _FIXED_NS + abs(span_ns) * drift_ppm // _PER_MILLION
