"""Data values to readings: types, times, status codes; pure.

1. The status code decides the severity, and, where it names a cause, the reason.
2. A value that is no number, not finite, or an array where none is expected is BAD_DEVICE.
3. The source time counts when the configuration trusts it and it lies between 2000 and 2100;
   otherwise the time of receipt, and if it should have been trusted, the value is uncertain.
4. A scalar that a new subscription repeats keeps its old source time; an array is not repeated.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge_agent.clock import NS_PER_S
from edge_agent.drivers.base import UNCERTAIN_CLOCK, Reading, Scaler, is_plausible_time
from edge_agent.drivers.opcua.config import OpcUaTag
from edge_agent.readings import BAD_DEVICE, GOOD, Quality, Reason, Sample, Severity, Waveform

MAX_ARRAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGERS = frozenset(ua.VariantType(code) for code in range(1, 10))  # Boolean to UInt64
_NUMBERS = _INTEGERS | {ua.VariantType.Float, ua.VariantType.Double}
_CODE_BITS = 0xFFFF_0000  # the lower half are limit, overflow and history bits

# OPC 10000-8 (Data Access) 6.3 and OPC 10000-4 table of common status codes
_REASONS: dict[int, Reason] = {
    StatusCodes.BadNotConnected: Reason.COMMS,
    StatusCodes.BadNoCommunication: Reason.COMMS,
    StatusCodes.BadCommunicationError: Reason.COMMS,
    StatusCodes.BadServerNotConnected: Reason.COMMS,
    StatusCodes.BadWaitingForInitialData: Reason.COMMS,
    StatusCodes.BadTimeout: Reason.COMMS,
    StatusCodes.BadOutOfService: Reason.MAINTENANCE,
    StatusCodes.BadOutOfRange: Reason.RANGE,
    StatusCodes.UncertainNoCommunicationLastUsableValue: Reason.COMMS,
    StatusCodes.UncertainLastUsableValue: Reason.STUCK,
    StatusCodes.UncertainSensorNotAccurate: Reason.CALIBRATION,
    StatusCodes.UncertainEngineeringUnitsExceeded: Reason.RANGE,
    StatusCodes.UncertainSubNormal: Reason.PARTIAL,
}
_SUBSTITUTES = frozenset({StatusCodes.UncertainSubstituteValue, StatusCodes.GoodLocalOverride})


def quality_of(status: ua.StatusCode | None) -> Quality:
    """Severity and reason of a status code; no code is good."""
    code = status.value & _CODE_BITS if status is not None else 0
    if code in _SUBSTITUTES:
        return Quality.of(Severity.SUBSTITUTED)
    severity = Severity(min(code >> 30, Severity.BAD))
    default = Reason.DEVICE if severity is Severity.BAD else Reason.NONE
    return Quality.of(severity, _REASONS.get(code, default) if severity else Reason.NONE)


def time_of(stamp: object) -> int | None:
    """A server's timestamp as UTC [ns]; None when it is missing or not plausible."""
    if not isinstance(stamp, datetime):
        return None
    since = (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)) - _EPOCH
    time_ns = since // timedelta(microseconds=1) * 1000
    return time_ns if is_plausible_time(time_ns) else None


def stamp_of(time_ns: int) -> datetime:
    """UTC [ns] as a datetime, to the microsecond."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


class Reader:
    """Data values to readings, for the tags of one device."""

    def __init__(self, tags: Sequence[OpcUaTag], *, trusts_source: bool) -> None:
        """Prepare the scaling of every tag."""
        self._trusts_source = trusts_source
        self._scalers = {tag.id: Scaler(tag) for tag in tags}
        self._newest_array: dict[str, int] = {}

    def read(self, tag: OpcUaTag, answer: ua.DataValue, now_ns: int) -> Reading | None:
        """The reading, stamped; None for an array that was delivered before (rule 4)."""
        source_ns = time_of(answer.SourceTimestamp) if self._trusts_source else None
        time_ns = now_ns if source_ns is None else source_ns
        quality = quality_of(answer.StatusCode)
        variant = answer.Value
        if not quality.usable:
            return Sample(tag.id, time_ns, None, quality)
        if not isinstance(variant, ua.Variant) or variant.VariantType not in _NUMBERS:
            return Sample(tag.id, time_ns, None, BAD_DEVICE)
        if tag.period_s is not None:
            return self._waveform(tag, variant.Value, source_ns, now_ns)
        value = self._scalar(tag, variant)
        if value is None:
            return Sample(tag.id, time_ns, None, BAD_DEVICE)
        is_doubtful = source_ns is None and self._trusts_source
        return Sample(
            tag.id, time_ns, value, UNCERTAIN_CLOCK if quality == GOOD and is_doubtful else quality
        )

    def _scalar(self, tag: OpcUaTag, variant: ua.Variant) -> int | float | None:
        raw: object = variant.Value
        if not isinstance(raw, int | float):
            return None
        if variant.VariantType in _INTEGERS and isinstance(raw, int):
            return self._scalers[tag.id](int(raw))
        if tag.totaliser is not None:  # raw counts are integers, or they are not counts
            return int(raw) if math.isfinite(raw) and raw == int(raw) else None
        return self._scalers[tag.id](float(raw))

    def _waveform(
        self, tag: OpcUaTag, raw: object, source_ns: int | None, now_ns: int
    ) -> Reading | None:
        period_ns = round((tag.period_s or 0) * NS_PER_S)
        bad = Sample(tag.id, now_ns if source_ns is None else source_ns, None, BAD_DEVICE)
        if not isinstance(raw, list) or not 0 < len(raw) <= MAX_ARRAY:
            return bad
        if not all(isinstance(item, int | float) for item in raw):
            return bad  # a matrix, or one that its dimensions left with holes
        if source_ns is not None and self._newest_array.get(tag.id) == source_ns:
            return None
        values = np.asarray(raw, dtype=np.float64)
        scaler = self._scalers[tag.id]
        if not scaler.is_identity:
            with np.errstate(over="ignore"):
                values = values * scaler.scale + scaler.offset
        values[~np.isfinite(values)] = np.nan
        if source_ns is None:
            return Waveform(tag.id, now_ns - len(values) * period_ns, period_ns, values)
        self._newest_array[tag.id] = source_ns
        return Waveform(tag.id, source_ns, period_ns, values)
