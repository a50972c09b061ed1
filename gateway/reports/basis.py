"""What a month is computed from beside its readings, from the signed configuration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway import forms
from gateway.evidence import BatchRange, BatchReader, Configuration
from gateway.month import Basis, Entries, Entry, Month


@dataclass(frozen=True, slots=True)
class Proven:
    """A month with the evidence that proves it."""

    month: Month
    configuration: Configuration
    ranges: Sequence[BatchRange]
    reader: BatchReader


def basis(configuration: Configuration, entries: Iterable[Entry] = ()) -> Basis:
    """Configuration, factors, the form of the sector, and people's entries.

    A configuration from before there were sectors is an aluminium smelter's.

    Raises:
        ConfigError: there is no form for the sector.
    """
    form = forms.find(configuration.plain.get("sector", "aluminium"))
    return Basis(configuration.plain, configuration.factors, form, Entries(entries))
