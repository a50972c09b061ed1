"""Which of an agent's batches prove a month: those around it, and one beyond on either side.

Batches that are set aside stand for no time: one that tells a time of next year would pull a year of
batches into that month. They are inside where they lie between others.
"""

from collections.abc import Callable

from gateway.ledger.reader import Reader
from gateway.month import LOOKBACK_NS

IsAside = Callable[[str, int], bool]


def stretch(
    ledger: Reader, of: tuple[str, str], month: tuple[int, int], is_aside: IsAside
) -> tuple[int, int] | None:
    """First and last number of the batches that a month's bundle holds; None when there is none.

    Without a hole from a batch that ends before the month to one that begins after it, or to the
    end of what the ledger holds, so that a verifier can tell that nothing was cut off.

    Args:
        ledger: the evidence.
        of: site and agent.
        month: its first moment and the one after its last [ns UTC].
        is_aside: whether a batch, by agent and number, is in no sum.
    """
    (site, agent), (start_ns, end_ns) = of, month
    around = ledger.within(site, agent, start_ns - LOOKBACK_NS, end_ns + LOOKBACK_NS)
    inside = [seq for seq in around if not is_aside(agent, seq)]
    if not inside:
        return None
    first, last = inside[0], inside[-1]
    before = ledger.ending_before(site, agent, first + 1, start_ns)
    behind = ledger.beginning_from(site, agent, last - 1, end_ns)
    lowest = next(ledger.batches(site, agent)).seq
    highest = ledger.head(site, agent).seq
    return (
        next((seq for seq in before if not is_aside(agent, seq)), lowest),
        next((seq for seq in behind if not is_aside(agent, seq)), highest),
    )
