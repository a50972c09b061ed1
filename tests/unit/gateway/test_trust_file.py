"""A trust file that is wrong is named by key and value, and nothing is verified with it."""

import pytest

from gateway import trust_file
from gateway.bundle import BundleError
from gateway.trust import authority

NOW = 1_767_196_800 * 10**9


@pytest.fixture
def text(tmp_path, signer):
    """A trust file with a CA and an operator."""
    ca = authority.init(tmp_path / "ca", "plant-ca", NOW).certificate
    return (
        "trusted = []\n"
        f"[[ca]]\ncertificate = '''\n{authority.to_pem(ca).decode()}'''\n"
        f'[[person]]\nname = "li"\nkey = "{signer.public_spki().hex()}"\nroles = ["operator"]\n'
        "revoked = 2026-10-01T00:00:00+08:00\n"
    )


def load(tmp_path, text):
    path = tmp_path / "trust.toml"
    path.write_text(text, encoding="utf-8")
    return trust_file.load(path)


def test_persons_are_trusted_keys_with_name_role_and_end(tmp_path, text, signer):
    trust = load(tmp_path, text)
    (person,) = trust.persons
    assert (person.name, person.roles) == ("li", frozenset({"operator"}))
    assert person.revoked_ns == 1_790_784_000 * 10**9
    assert trust.keys == {signer.kid}
    assert len(trust.cas) == 1
    assert not trust.approval


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('roles = ["operator"]', 'roles = ["approver"]', "ca: needs a .*role operator"),
        ('roles = ["operator"]', 'roles = ["boss"]', "person.0.roles.0: .*'boss'"),
        ('name = "li"', 'name = ""', "person.0.name"),
        ("+08:00", "", "person.0.revoked: .*timezone"),
        ("BEGIN CERT", "BEGIN SERT", "not a readable certificate"),
        ("302a300506", "302a300507", "person li: key: not a public key"),
        ("trusted = []", 'trusted = []\napproval = "maybe"', "approval: .*'maybe'"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, text, old, new, told):
    assert old in text
    with pytest.raises(BundleError, match=f"trust.toml: {told}"):
        load(tmp_path, text.replace(old, new))


def test_one_key_for_two_persons_is_refused(tmp_path, text):
    person = text[text.index("[[person]]") :]
    with pytest.raises(BundleError, match="one key stands for two persons"):
        load(tmp_path, text + person.replace("li", "wang"))
