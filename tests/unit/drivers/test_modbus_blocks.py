"""The planner: every item once, within the limits, with the fewest requests."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.blocks import Cut, Item, Limits, plan, split
from edge_agent.errors import ConfigError

TABLES = ("holding", "input")


@st.composite
def item_lists(draw, *, most=25, last=300):
    count = draw(st.integers(1, most))
    return [
        Item(
            f"t{i}",
            draw(st.sampled_from(TABLES)),
            draw(st.integers(0, last)),
            draw(st.sampled_from((1, 2, 4))),
        )
        for i in range(count)
    ]


def limits(max_span, max_gap, forbidden=()):
    return dict.fromkeys(TABLES, Limits(max_span, max_gap, forbidden))


@given(items=item_lists(), max_span=st.integers(4, 125), max_gap=st.integers(0, 20))
def test_a_plan_covers_every_item_once_within_the_limits(items, max_span, max_gap):
    blocks = plan(items, limits(max_span, max_gap))
    assert sorted(i.key for b in blocks for i in b.items) == sorted(i.key for i in items)
    for block in blocks:
        assert 1 <= block.count <= max_span
        assert {i.table for i in block.items} == {block.table}
        wanted = {a for i in block.items for a in range(i.address, i.end)}
        assert min(wanted) == block.address
        assert max(wanted) == block.address + block.count - 1
        assert all(b - a <= max_gap + 1 for a, b in pairwise(sorted(wanted)))


@given(
    addresses=st.lists(st.integers(0, 40), min_size=1, max_size=7, unique=True),
    max_span=st.integers(4, 20),
    max_gap=st.integers(0, 9),
    taboo=st.integers(0, 40),
    wall=st.integers(1, 40),
)
def test_a_plan_needs_no_more_requests_than_any_other_legal_cut(
    addresses, max_span, max_gap, taboo, wall
):
    addresses = sorted(set(addresses) - {taboo}) or [41]
    items = [Item(f"t{a}", "holding", a, 1) for a in addresses]
    best = len(addresses)
    for cuts in product((False, True), repeat=len(addresses) - 1):
        groups = [[addresses[0]]]
        for cut, address in zip(cuts, addresses[1:], strict=True):
            if cut:
                groups.append([address])
            else:
                groups[-1].append(address)
        is_legal = all(
            g[-1] - g[0] < max_span
            and not g[0] <= taboo <= g[-1]
            and not g[0] < wall <= g[-1]
            and all(b - a <= max_gap + 1 for a, b in pairwise(g))
            for g in groups
        )
        best = min(best, len(groups)) if is_legal else best
    blocks = plan(
        items, limits(max_span, max_gap, (range(taboo, taboo + 1),)), {Cut("holding", wall)}
    )
    assert len(blocks) == best
    for block in blocks:
        assert taboo not in range(block.address, block.address + block.count)


@pytest.mark.parametrize(("hole", "requests"), [(8, 1), (9, 2)])
def test_a_hole_of_exactly_max_gap_is_read_over(hole, requests):
    items = [Item("a", "holding", 100, 2), Item("b", "holding", 102 + hole, 1)]
    assert len(plan(items, limits(125, 8))) == requests


def test_an_item_wider_than_a_request_is_a_configuration_error():
    with pytest.raises(ConfigError, match="wide"):
        plan([Item("wide", "holding", 0, 4)], limits(3, 0))


def test_a_value_on_a_forbidden_address_is_a_configuration_error():
    with pytest.raises(ConfigError, match="x: addresses 10 to 13 touch the forbidden 13 to 20"):
        plan([Item("x", "holding", 10, 4)], limits(125, 8, (range(13, 21),)))


@given(items=item_lists(), wall=st.integers(1, 300))
def test_a_value_is_never_divided_by_a_cut(items, wall):
    cuts = {Cut(table, wall) for table in TABLES}
    blocks = plan(items, limits(125, 20), cuts)
    assert sorted(i.key for b in blocks for i in b.items) == sorted(i.key for i in items)
    for block in blocks:
        assert all(block.address <= i.address for i in block.items)
        assert all(i.end <= block.address + block.count for i in block.items)


@given(items=item_lists(most=9))
def test_cutting_again_and_again_ends_with_values_that_only_share_registers(items):
    cuts = set()
    for _ in range(9):
        cuts |= {cut for block in plan(items, limits(125, 20), cuts) if (cut := split(block))}
    for block in plan(items, limits(125, 20), cuts):
        assert split(block) is None
        covered = sorted(a for i in block.items for a in range(i.address, i.end))
        assert covered[0] == block.address
        assert set(covered) == set(range(block.address, block.address + block.count))


def test_a_refused_block_is_cut_in_the_hole_near_its_middle():
    addresses = (0, 1, 2, 3, 10, 11, 12, 13, 14)
    items = [Item(f"t{a:02}", "holding", a, 1) for a in addresses]
    (block,) = plan(items, limits(125, 8))
    assert split(block) == Cut("holding", 10)
    (whole,) = plan(items[:4], limits(125, 8))
    assert split(whole) == Cut("holding", 2)


def test_bits_of_one_register_are_not_cut_apart():
    (block,) = plan([Item(f"b{n}", "holding", 7, 1) for n in range(9)], limits(125, 8))
    assert split(block) is None
