"""What a tag's configuration says of its instrument, and of what is shipped of it."""

from datetime import date
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Instrument(BaseModel):
    """The instrument behind a tag or meter, as on its name plate and its last certificate.

    Args:
        calibrated_until: last day (plant local) on which its calibration holds; from the next day
            on its values are UNCERTAIN with reason CALIBRATION.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    maker: str = ""
    model: str = ""
    serial_number: str = ""
    accuracy_class: str = ""
    calibrated_on: date | None = None
    calibrated_until: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        first, last = self.calibrated_on, self.calibrated_until
        if first is not None and last is not None and not first <= last:
            message = f"calibrated_until {last} lies before calibrated_on {first}"
            raise ValueError(message)
        return self


class Deadband(BaseModel):
    """When a minute mean is shipped: it moved by more than the band, or all was silent for long.

    Args:
        absolute: band in the tag's unit.
        percent: band in percent of the value shipped last.
        max_silence_s: a value is shipped at least this often [s], so that an unchanged value and
            a lost one differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    absolute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    percent: float | None = Field(default=None, gt=0, le=100)
    max_silence_s: float = Field(default=900, ge=60, le=86_400)

    @model_validator(mode="after")
    def _one_band(self) -> Self:
        if (self.absolute is None) == (self.percent is None):
            message = "a deadband is either absolute or percent"
            raise ValueError(message)
        return self

    def keeps_silent(self, value: float, shipped: float) -> bool:
        """True when ``value`` lies within the band around the value shipped last."""
        if self.absolute is not None:
            return abs(value - shipped) <= self.absolute
        return abs(value - shipped) <= abs(shipped) * (self.percent or 0) / 100
