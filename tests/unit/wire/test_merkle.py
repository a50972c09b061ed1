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


def tree(count):
    """Leaf hashes and the look-up of complete subtrees, by plain recursion."""
    leaves = [bytes([number % 251, number // 251]) for number in range(count)]

    def node(level, place):
        return by_the_rfc(leaves[place << level : (place + 1) << level])

    return leaves, [merkle.leaf_hash(leaf) for leaf in leaves], node


SIZES = st.integers(1, 70)


@given(SIZES, st.data())
def test_an_inclusion_path_leads_to_the_root_and_no_other_does(size, data):
    leaves, hashes, node = tree(size)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion(index, size, node)
    assert merkle.root_by_inclusion(hashes[index], index, size, path) == by_the_rfc(leaves)
    wrong = data.draw(st.sampled_from(["index", "short", "long", "leaf", "swap", "size"]))
    leaf, place, whole, spoilt = hashes[index], index, size, list(path)
    match wrong:
        case "index":
            place = data.draw(st.integers(0, size).filter(lambda item: item != index))
        case "short":
            spoilt = spoilt[:-1]
        case "long":
            spoilt = [*spoilt, bytes(32)]
        case "leaf":
            leaf = merkle.leaf_hash(b"another")
        case "swap":
            spoilt = spoilt[::-1]
        case "size":
            whole = size + data.draw(st.integers(1, 3))
    changed = (leaf, place, spoilt) != (hashes[index], index, path) or whole != size
    try:
        found = merkle.root_by_inclusion(leaf, place, whole, spoilt)
    except merkle.ProofError:
        return
    # A larger size may give the same hash for a leaf at the left; its root is another tree's.
    assert found != by_the_rfc(leaves) or not changed or wrong == "size"


@given(st.data())
def test_a_consistency_proof_holds_for_true_growth_only(data):
    new = data.draw(SIZES)
    old = data.draw(st.integers(1, new))
    leaves, _, node = tree(new)
    roots = (old, by_the_rfc(leaves[:old])), (new, by_the_rfc(leaves))
    path = merkle.consistency(old, new, node)
    merkle.check_consistency(*roots, path)
    other = (old, by_the_rfc([*leaves[: old - 1], b"changed"]))
    with pytest.raises(merkle.ProofError):
        merkle.check_consistency(other, roots[1], path)
    with pytest.raises(merkle.ProofError):
        merkle.check_consistency(roots[0], (new, merkle.leaf_hash(b"x")), path)
    with pytest.raises(merkle.ProofError):
        merkle.check_consistency(*roots, [*path, bytes(32)])
    if path:
        with pytest.raises(merkle.ProofError):
            merkle.check_consistency(*roots, path[:-1])


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_a_tree_cannot_follow_a_larger_or_an_empty_one(old, new):
    with pytest.raises(merkle.ProofError, match="cannot follow"):
        merkle.check_consistency((old, bytes(32)), (new, bytes(32)), [])


@pytest.mark.parametrize("bad", [[b"short"], ["text"], [None]])
def test_a_path_of_anything_but_hashes_is_refused(bad):
    with pytest.raises(merkle.ProofError, match="32-byte"):
        merkle.root_by_inclusion(bytes(32), 0, 2, bad)


@given(SIZES, st.data())
def test_many_leaves_at_once_give_the_root_with_the_fewest_hashes(size, data):
    leaves, hashes, node = tree(size)
    indexes = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    proof = merkle.many(sorted(indexes), size, node)
    known = {index: hashes[index] for index in indexes}
    assert merkle.root_by_many(known, size, proof) == by_the_rfc(leaves)
    assert len(proof) <= len(indexes) * size.bit_length()
    if len(indexes) == size:
        assert proof == []
    changed = known | {min(indexes): merkle.leaf_hash(b"another")}
    assert merkle.root_by_many(changed, size, proof) != by_the_rfc(leaves)
    with pytest.raises(merkle.ProofError, match="too many"):
        merkle.root_by_many(known, size, [*proof, bytes(32)])
    if proof:
        with pytest.raises(merkle.ProofError, match="too few"):
            merkle.root_by_many(known, size, proof[:-1])


def test_many_leaves_outside_the_tree_are_refused():
    with pytest.raises(merkle.ProofError, match="outside"):
        merkle.root_by_many({5: bytes(32)}, 5, [])
