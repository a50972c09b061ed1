"""The planner: every item once, within the limits, with the fewest requests."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.blocks import Item, Limits, halves, plan
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


def limits(max_span, max_gap):
    return dict.fromkeys(TABLES, Limits(max_span, max_gap))


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
)
def test_a_plan_needs_no_more_requests_than_any_other_cut(addresses, max_span, max_gap):
    addresses.sort()
    items = [Item(f"t{a}", "holding", a, 1) for a in addresses]
    best = len(addresses)
    for cuts in product((False, True), repeat=len(addresses) - 1):
        groups = [[addresses[0]]]
        for cut, address in zip(cuts, addresses[1:], strict=True):
            if cut:
                groups.append([address])
            else:
                groups[-1].append(address)
        is_legal = all(g[-1] - g[0] < max_span for g in groups) and all(
            b - a <= max_gap + 1 for g in groups for a, b in pairwise(g)
        )
        best = min(best, len(groups)) if is_legal else best
    assert len(plan(items, limits(max_span, max_gap))) == best


@pytest.mark.parametrize(("hole", "requests"), [(8, 1), (9, 2)])
def test_a_hole_of_exactly_max_gap_is_read_over(hole, requests):
    items = [Item("a", "holding", 100, 2), Item("b", "holding", 102 + hole, 1)]
    assert len(plan(items, limits(125, 8))) == requests


def test_an_item_wider_than_a_request_is_a_configuration_error():
    with pytest.raises(ConfigError, match="wide"):
        plan([Item("wide", "holding", 0, 4)], limits(3, 0))


@given(items=item_lists(most=9))
def test_halving_keeps_every_item_until_each_is_alone(items):
    blocks = list(plan(items, limits(125, 20)))
    for _ in range(4):
        blocks = [part for block in blocks for part in halves(block)]
    assert sorted(i.key for b in blocks for i in b.items) == sorted(i.key for i in items)
    assert all(len(b.items) == 1 for b in blocks)
    assert all((b.address, b.count) == (b.items[0].address, b.items[0].width) for b in blocks)
