"""Names of things whose modules are imported when they are first used.

A table of features by name holds these, so that a plant pays (memory, time to start) only for what
its configuration chooses. Nothing else imports in the middle of a function.
"""

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Later:
    """A class or function by its module and name; calling it imports the module."""

    module: str
    name: str

    def get(self) -> Any:
        """The class or function itself."""
        return getattr(importlib.import_module(self.module), self.name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What it gives or makes of these arguments."""
        return self.get()(*args, **kwargs)
