"""RFC 6962 tree hashes: known roots, and a second implementation by the RFC's own recursion."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.wire import merkle

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def by_the_rfc(leaves):
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + by_the_rfc(leaves[:split]) + by_the_rfc(leaves[split:])).digest()


@pytest.mark.parametrize("size", ROOTS)
def test_the_root_of_the_well_known_leaves_is_the_published_one(size):
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]
    assert merkle.root(hashes).hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=5), max_size=40))
def test_the_root_is_that_of_the_rfc_s_recursion_for_every_size(leaves):
    assert merkle.root([merkle.leaf_hash(leaf) for leaf in leaves]) == by_the_rfc(leaves)


def test_a_leaf_that_looks_like_an_inner_node_has_another_hash():  # row 76
    left, right = merkle.leaf_hash(LEAVES[1]), merkle.leaf_hash(LEAVES[2])
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
