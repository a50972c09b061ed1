"""What an outside party makes go wrong, as an error that a task goes on after.

A witness or an authority sends what it likes to decoders of others. Whatever that raises is its own
answer's fault, and must not end the gateway.
"""

from collections.abc import Awaitable
from typing import TypeVar

from edge_agent.errors import CarbonError

_T = TypeVar("_T")


class Unforeseen(CarbonError):
    """An error of a kind that nobody thought of; the text names the kind."""


async def foreseen(asked: Awaitable[_T]) -> _T:
    """Wait for what was asked of an outside party.

    Raises:
        CarbonError: whatever went wrong, ``Unforeseen`` where it was of no kind of ours.
    """
    try:
        return await asked
    except CarbonError:
        raise
    except Exception as error:
        raise Unforeseen(f"{type(error).__name__}: {error}") from error
