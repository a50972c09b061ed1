"""What only the whole line can say about an effect: all pots at once, and the current's echo.

    L1  more than jump_share of the line's pots, at least jump_pots, start an effect within
        jump_s: a line event or a scaling fault; these effects are ``suspect``
    L2  an effect adds its volts to the line, so the current dips until the rectifier's regulator
        acts; where such a dip must show above the current's own scatter and does not, the effect
        is ``uncorroborated``
    L3  both are decided once nothing that is still to come can change them: settle_s after the
        effect's start; a finished effect is given out then, never before; an effect confirmed
        only later, across silence, is neither suspect nor uncorroborated

The expected dip is (V - V_target) / (pots x (V_target - 1.65 V)), at most 6 %; 1.65 V is the
extrapolated voltage of a pot without current.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.detector_state import NS_PER_S, DetectorSettings, Started
from edge_agent.calc.effect_accounts import START_UNCERTAIN
from edge_agent.readings import AnodeEffect

SUSPECT, UNCORROBORATED = "suspect", "uncorroborated"
BEFORE_NS = (60 * NS_PER_S, 5 * NS_PER_S)
"""Which stretch before an effect shows the undisturbed current."""
ONSET_NS = 12 * NS_PER_S
"""How long after an effect's start its dip is looked for: one regulator time constant."""
ZERO_CURRENT_V = 1.65
MOST_DIP = 0.06
_LEAST_SCATTER = 0.001
_CLEAR = 5
"""How many standard deviations of the current an expected dip must have to be looked for."""
_SEEN_SHARE = 0.2
_LEAST_SAMPLES = 5
Times = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Echo:
    """Mean line current before and at the onset of an effect [kA]; None where not seen."""

    before_ka: float | None = None
    onset_ka: float | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about an effect."""

    suspect: bool
    echo: Echo


@dataclass(slots=True)
class LineReview:
    """Effects of a line between their start and their verdict, and finished ones until then."""

    pots: int
    settings: DetectorSettings
    started: dict[tuple[int, str], Started] = field(default_factory=dict)
    verdicts: dict[tuple[int, str], Verdict] = field(default_factory=dict)
    finished: list[AnodeEffect] = field(default_factory=list)
    times: Times = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    current_ka: Values = field(default_factory=lambda: np.empty(0, dtype=np.float64))

    def add_current(self, times: Times, current_ka: Values) -> None:
        """Line current in order of time."""
        self.times = np.concatenate((self.times, times))
        self.current_ka = np.concatenate((self.current_ka, current_ka))

    def decide(self, until_ns: int) -> list[Started]:
        """Decide what can be decided when all before ``until_ns`` is known; gives the suspects."""
        settle_ns, suspects = self.settings.settle_ns, []
        due = [key for key in sorted(self.started) if key[0] + settle_ns <= until_ns]
        for key in due:
            if key in self.verdicts:
                continue
            started = self.started[key]
            verdict = Verdict(suspect=False, echo=Echo())
            if started.confirmed_ns <= started.start_ns + settle_ns:
                verdict = Verdict(self._jumped(started), self._echo(started))
            self.verdicts[key] = verdict
            if verdict.suspect:
                suspects.append(started)
        self._forget(until_ns)
        return suspects

    def released(self) -> list[AnodeEffect]:
        """Remove and give the finished effects whose verdict is known, with its flags."""
        out: list[AnodeEffect] = []
        waiting: list[AnodeEffect] = []
        for effect in self.finished:
            key = (effect.start_ns, effect.pot)
            verdict = self.verdicts.pop(key, None)
            if verdict is None:
                # Without a start on record, as in a state of an older version, none will come.
                (waiting if key in self.started else out).append(effect)
                continue
            # After silence the onset, and its dip, may have passed unseen.
            missing = verdict.echo.missing and START_UNCERTAIN not in effect.flags
            flags = ((SUSPECT, verdict.suspect), (UNCORROBORATED, missing))
            out.append(
                replace(
                    effect,
                    flags=(*effect.flags, *(name for name, is_set in flags if is_set)),
                    current_before_ka=verdict.echo.before_ka,
                    current_onset_ka=verdict.echo.onset_ka,
                )
            )
        self.finished = waiting
        return out

    def _jumped(self, started: Started) -> bool:
        """L1. Only what was confirmed by the time of the verdict counts."""
        span_ns, settle_ns = self.settings.jump_ns, self.settings.settle_ns
        at_ns = started.start_ns
        near = [
            other
            for other in self.started.values()
            if abs(other.start_ns - at_ns) <= span_ns and other.confirmed_ns <= at_ns + settle_ns
        ]
        most = max(
            len({b.pot for b in near if 0 <= b.start_ns - a.start_ns <= span_ns})
            for a in (*near, started)
            if a.start_ns <= at_ns
        )
        return most >= self.settings.jump_pots and most > self.settings.jump_share * self.pots

    def _echo(self, started: Started) -> Echo:
        """L2."""
        at_ns = started.start_ns
        before = self._between(at_ns - BEFORE_NS[0], at_ns - BEFORE_NS[1])
        onset = self._between(at_ns + 1, at_ns + ONSET_NS)
        if min(len(before), len(onset)) < _LEAST_SAMPLES or not np.mean(before) > 0:
            return Echo()
        usual, seen = float(np.mean(before)), float(np.mean(onset))
        line_v = self.pots * (started.target_v - ZERO_CURRENT_V)
        extra_v = started.peak_v - started.target_v
        expected = min(extra_v / line_v, MOST_DIP) if line_v > 0 else 0.0
        scatter = max(float(np.std(before)) / usual, _LEAST_SCATTER)
        must_show = expected >= _CLEAR * scatter
        return Echo(usual, seen, must_show and 1 - seen / usual < _SEEN_SHARE * expected)

    def _between(self, start_ns: int, end_ns: int) -> Values:
        first, last = np.searchsorted(self.times, (start_ns, end_ns))
        return self.current_ka[first:last]

    def _forget(self, until_ns: int) -> None:
        """Drop what no verdict will ask for any more."""
        oldest = until_ns - 2 * self.settings.settle_ns - 2 * self.settings.jump_ns
        keep = {
            key: started
            for key, started in self.started.items()
            if key[0] > oldest or key not in self.verdicts
        }
        self.started = keep
        first_ns = min((key[0] for key in keep if key not in self.verdicts), default=until_ns)
        first_ns = min(first_ns, until_ns - self.settings.settle_ns) - BEFORE_NS[0]
        cut = int(np.searchsorted(self.times, first_ns))
        self.times, self.current_ka = self.times[cut:], self.current_ka[cut:]

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "started": [_values(item) for item in self.started.values()],
            "verdicts": [
                [start_ns, pot, verdict.suspect, *_values(verdict.echo)]
                for (start_ns, pot), verdict in self.verdicts.items()
            ],
            "finished": [_values(effect) for effect in self.finished],
            "times": self.times.tobytes(),
            "current_ka": self.current_ka.tobytes(),
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave."""
        started = [Started(*values) for values in stored["started"]]
        self.started = {(item.start_ns, item.pot): item for item in started}
        self.verdicts = {
            (start_ns, pot): Verdict(suspect, Echo(*echo))
            for start_ns, pot, suspect, *echo in stored["verdicts"]
        }
        self.finished = [_effect(values) for values in stored["finished"]]
        self.times = np.frombuffer(stored["times"], dtype=np.int64)
        self.current_ka = np.frombuffer(stored["current_ka"], dtype=np.float64)


def _values(item: Any) -> list[Any]:
    """A dataclass as the list of its fields; a tuple as a list."""
    values = [getattr(item, each.name) for each in fields(item)]
    return [list(value) if isinstance(value, tuple) else value for value in values]


def _effect(values: Sequence[Any]) -> AnodeEffect:
    names = [each.name for each in fields(AnodeEffect)]
    plain = dict(zip(names, values, strict=False))
    return AnodeEffect(**{**plain, "flags": tuple(plain.get("flags", ()))})
