"""Which registers to read together: the fewest requests that cover all items, pure.

A request reads one unbroken span of one table. Two items share a request while the span stays
within the limit, no more than ``max_gap`` unwanted addresses lie between them, it touches no
forbidden address and it does not reach across a cut. Each of these only gets harder as a span
grows, so taking items in order and beginning a new request when the next does not fit is optimal.
An item is never divided: all words of a value come from one answer.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from edge_agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Item:
    """``width`` addresses from ``address`` on that must be read in one request."""

    key: str
    table: str
    address: int
    width: int

    @property
    def end(self) -> int:
        """The address behind the last one."""
        return self.address + self.width


@dataclass(frozen=True, slots=True)
class Block:
    """One request and the items its answer serves."""

    table: str
    address: int
    count: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request of one table may read.

    Args:
        max_span: longest span of one request, in addresses.
        max_gap: longest hole in it, in addresses.
        forbidden: half-open ranges of addresses that no request may touch.
    """

    max_span: int
    max_gap: int
    forbidden: tuple[range, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """A request may read addresses below ``address`` of a table, or from it on, not both."""

    table: str
    address: int


def plan(
    items: Iterable[Item], limits: dict[str, Limits], cuts: Collection[Cut] = ()
) -> tuple[Block, ...]:
    """The fewest requests that read every item once, ordered by table and address.

    Raises ConfigError when an item is wider than its table's ``max_span`` or touches a forbidden
    address. A cut inside an item is left out of account.
    """
    ordered = sorted(items, key=lambda item: (item.table, item.address, -item.width, item.key))
    blocks: list[Block] = []
    for table, of_table in groupby(ordered, key=lambda item: item.table):
        walls = sorted(cut.address for cut in cuts if cut.table == table)
        blocks += (_block(group) for group in _groups(of_table, limits[table], walls))
    return tuple(blocks)


def split(block: Block) -> Cut | None:
    """Where to cut a block that a device refused, None when all its items overlap.

    In the widest hole of the middle half of the items, because it is most likely a hole that the
    device does not have; without one, in the middle.
    """
    places: list[tuple[int, int, int]] = []
    end = block.items[0].end
    for number, item in enumerate(block.items):
        if number and item.address >= end:
            off_middle = abs(2 * number - len(block.items))
            is_central = 2 * off_middle <= len(block.items)
            places.append((end - item.address if is_central else 0, off_middle, item.address))
        end = max(end, item.end)
    return Cut(block.table, min(places)[2]) if places else None


def _groups(
    ordered: Iterable[Item], limits: Limits, walls: Sequence[int]
) -> Iterable[Sequence[Item]]:
    group: list[Item] = []
    start = end = 0
    for item in ordered:
        _check(item, limits)
        reach = max(end, item.end)
        fits = (
            bool(group)
            and reach - start <= limits.max_span
            and item.address - end <= limits.max_gap
            and not any(_overlap(start, reach, taboo) for taboo in limits.forbidden)
            and not any(end <= wall <= item.address for wall in walls)
        )
        if fits:
            group.append(item)
            end = reach
        else:
            if group:
                yield group
            group, start, end = [item], item.address, item.end
    if group:
        yield group


def _check(item: Item, limits: Limits) -> None:
    if item.width > limits.max_span:
        raise ConfigError(
            f"{item.width} registers do not fit a request of {limits.max_span}", key=item.key
        )
    for taboo in limits.forbidden:
        if _overlap(item.address, item.end, taboo):
            raise ConfigError(
                f"addresses {item.address} to {item.end - 1} touch the forbidden "
                f"{taboo.start} to {taboo.stop - 1}",
                key=item.key,
            )


def _overlap(start: int, end: int, taboo: range) -> bool:
    return start < taboo.stop and taboo.start < end


def _block(items: Sequence[Item]) -> Block:
    start = min(item.address for item in items)
    end = max(item.end for item in items)
    return Block(items[0].table, start, end - start, tuple(items))
