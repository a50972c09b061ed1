"""Which registers to read together: the fewest requests that cover all items, pure.

A request reads one unbroken span of one table. Two items share a request while the span stays
within the limit and no more than ``max_gap`` unwanted addresses lie between them.
"""

from collections.abc import Iterable, Sequence
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
    """Longest span of one request and longest hole in it, in addresses."""

    max_span: int
    max_gap: int


def plan(items: Iterable[Item], limits: dict[str, Limits]) -> tuple[Block, ...]:
    """The fewest requests that read every item once, ordered by table and address.

    Raises ConfigError when an item is wider than its table's ``max_span``.
    """
    ordered = sorted(items, key=lambda item: (item.table, item.address, -item.width, item.key))
    blocks: list[Block] = []
    for table, of_table in groupby(ordered, key=lambda item: item.table):
        blocks += (_block(group) for group in _groups(of_table, limits[table]))
    return tuple(blocks)


def halves(block: Block) -> tuple[Block, ...]:
    """The block as two of half the items each, or itself when it serves only one."""
    if len(block.items) == 1:
        return (block,)
    middle = len(block.items) // 2
    return _block(block.items[:middle]), _block(block.items[middle:])


def _groups(ordered: Iterable[Item], limits: Limits) -> list[list[Item]]:
    groups: list[list[Item]] = []
    start = end = 0
    for item in ordered:
        if item.width > limits.max_span:
            raise ConfigError(
                f"{item.width} registers do not fit a request of {limits.max_span}", key=item.key
            )
        fits = max(end, item.end) - start <= limits.max_span
        if groups and fits and item.address - end <= limits.max_gap:
            groups[-1].append(item)
            end = max(end, item.end)
        else:
            groups.append([item])
            start, end = item.address, item.end
    return groups


def _block(items: Sequence[Item]) -> Block:
    start = min(item.address for item in items)
    end = max(item.end for item in items)
    return Block(items[0].table, start, end - start, tuple(items))
