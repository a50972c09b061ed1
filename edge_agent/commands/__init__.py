"""The verbs of ``edge-agent``, a module each; ``cli`` only registers them.

A module has ``register(verb)``, which calls ``verb(name, function)`` for each of its verbs and adds
the verb's arguments to the parser it gets back. The function's docstring is the verb's help; its
result is the exit code: 0 ok, 1 failed, 2 usage or configuration.
"""

import argparse
from collections.abc import Callable

Function = Callable[[argparse.Namespace], int]
Verb = Callable[[str, Function], argparse.ArgumentParser]
