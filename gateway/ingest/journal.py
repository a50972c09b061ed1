"""Log lines of the form ``event key=value ...``, at most one per cause and interval."""

import json
import logging
import re

from edge_agent.clock import NS_PER_S, Clock

_EVERY_S = 10
_MAX_CAUSES = 1_000
_VALUE_CHARACTERS = 200
_PLAIN = re.compile(r"[\w.,:/+-]+\Z", re.ASCII)


class Journal:
    """Writes a module's events; repeats of one cause are counted instead of written."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._logger = logging.getLogger(name)
        self._clock = clock
        self._last: dict[str, tuple[int, int]] = {}

    def event(self, level: int, event: str, **fields: object) -> None:
        """Write one line now."""
        text = " ".join([event, *(f"{key}={_plain(value)}" for key, value in fields.items())])
        self._logger.log(level, "%s", text)

    def limited(self, level: int, event: str, cause: str = "", **fields: object) -> None:
        """Write the line unless this event of this cause was written a moment ago."""
        key, now = f"{event} {cause}", self._clock.monotonic_ns()
        since, left_out = self._last.get(key, (None, 0))
        if since is not None and now - since < _EVERY_S * NS_PER_S:
            self._last[key] = (since, left_out + 1)
            return
        if len(self._last) >= _MAX_CAUSES:
            self._last.clear()
        self._last[key] = (now, 0)
        more = {"left_out": left_out} if left_out else {}
        self.event(level, event, **fields, **more)

    def alarm(
        self, event: str, source: tuple[str, str], reason: str = "", **fields: object
    ) -> None:
        """A warning about an agent, limited by agent and reason."""
        name = "/".join(source)
        if reason:
            fields = {"reason": reason, **fields}
        self.limited(logging.WARNING, event, f"{name} {reason}", agent=name, **fields)


def _plain(value: object) -> str:
    text = str(value)[:_VALUE_CHARACTERS]
    return text if _PLAIN.match(text) else json.dumps(text)
