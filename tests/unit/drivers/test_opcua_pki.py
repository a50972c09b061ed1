"""Our own certificate, the servers' pins, and files that are not what they should be."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from edge_agent.drivers.opcua import pki
from edge_agent.errors import ConfigError, Refused

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def certificate_of(key, *, days=10):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    return folder, pki.identity(folder, NOW)


def test_our_certificate_says_who_we_are_and_how_long(made):
    folder, ours = made
    certificate = x509.load_der_x509_certificate(ours.certificate)
    assert certificate.not_valid_after_utc - NOW == timedelta(days=5 * 365)
    assert ours.expires == certificate.not_valid_after_utc
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [ours.application_uri]
    assert names.get_values_for_type(x509.DNSName)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.data_encipherment
    assert [stat.S_IMODE(p.stat().st_mode) for p in sorted((folder / "own").iterdir())] == [
        0o600,
        0o600,
    ]
    assert pki.identity(folder, NOW) == ours


def test_devices_that_begin_at_once_share_one_certificate(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: pki.identity(tmp_path, NOW), range(4)))
    assert len(made) == 1
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"certificate.der", "key.pem"}


def test_an_end_in_sight_is_warned_of_and_a_past_one_is_an_error(made, caplog):
    folder, ours = made
    pki.identity(folder, ours.expires - timedelta(days=31))
    assert not caplog.records
    pki.identity(folder, ours.expires - timedelta(days=29))
    assert f"{ours.expires:%Y-%m-%d}" in caplog.text
    with pytest.raises(ConfigError, match="expired") as caught:
        pki.identity(folder, ours.expires)
    assert "certificate.der" in str(caught.value)


def test_a_key_that_others_can_read_or_that_is_another_ones_is_refused(made, tmp_path, rsa_key):
    folder, _ = made
    own = tmp_path / "own"
    own.mkdir()
    for name in ("certificate.der", "key.pem"):
        (own / name).write_bytes((folder / "own" / name).read_bytes())
    (own / "key.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        pki.identity(tmp_path, NOW)
    pem = rsa_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (own / "key.pem").write_bytes(pem)
    (own / "key.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="does not fit"):
        pki.identity(tmp_path, NOW)
    (own / "certificate.der").write_bytes(b"no certificate")
    with pytest.raises(ConfigError, match="cannot be used"):
        pki.identity(tmp_path, NOW)
    (own / "key.pem").unlink()
    with pytest.raises(ConfigError, match="missing"):
        pki.identity(tmp_path, NOW)


def test_only_the_devices_own_pin_opens(tmp_path, rsa_key):
    shown = der(certificate_of(rsa_key))
    with pytest.raises(Refused, match="not trusted yet") as caught:
        pki.check_server(tmp_path, "potroom", shown, NOW)
    (kept,) = (tmp_path / "rejected").iterdir()
    assert kept.read_bytes() == shown
    assert pki.fingerprint(shown) in str(caught.value)
    assert str(kept) in str(caught.value)
    kept.rename(tmp_path / "trusted" / "potroom" / "any-name.der")
    pki.check_server(tmp_path, "potroom", shown, NOW)
    with pytest.raises(Refused, match="not trusted yet"):
        pki.check_server(tmp_path, "kiln", shown, NOW)


def test_a_pin_may_be_pem_and_two_may_overlap(tmp_path, rsa_key):
    old, new = certificate_of(rsa_key), certificate_of(rsa_key, days=20)
    folder = tmp_path / "trusted" / "potroom"
    folder.mkdir(parents=True)
    (folder / "old.pem").write_bytes(old.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(Refused, match="changed") as caught:
        pki.check_server(tmp_path, "potroom", der(new), NOW)
    assert pki.fingerprint(der(old)) in str(caught.value)
    assert pki.fingerprint(der(new)) in str(caught.value)
    (folder / "new.der").write_bytes(der(new))
    for certificate in (old, new):
        pki.check_server(tmp_path, "potroom", der(certificate), NOW)


@pytest.mark.parametrize("kind", ["short", "elliptic"])
def test_a_pinned_certificate_with_a_key_the_policies_do_not_take_is_refused(tmp_path, kind):
    key = (
        rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505 (weak on purpose)
        if kind == "short"
        else ec.generate_private_key(ec.SECP256R1())
    )
    shown = der(certificate_of(key))
    folder = tmp_path / "trusted" / "potroom"
    folder.mkdir(parents=True)
    (folder / "pin.der").write_bytes(shown)
    with pytest.raises(Refused, match="2048"):
        pki.check_server(tmp_path, "potroom", shown, NOW)


def test_an_expired_pin_is_used_with_a_warning(tmp_path, rsa_key, caplog):
    shown = der(certificate_of(rsa_key, days=1))
    folder = tmp_path / "trusted" / "potroom"
    folder.mkdir(parents=True)
    (folder / "pin.der").write_bytes(shown)
    pki.check_server(tmp_path, "potroom", shown, NOW + timedelta(days=2))
    assert "server_certificate_out_of_date" in caplog.text


def test_a_trusted_file_that_is_no_certificate_is_named(tmp_path, rsa_key):
    folder = tmp_path / "trusted" / "potroom"
    folder.mkdir(parents=True)
    (folder / "readme.txt").write_text("put certificates here")
    with pytest.raises(ConfigError, match=r"readme\.txt"):
        pki.check_server(tmp_path, "potroom", der(certificate_of(rsa_key)), NOW)


def test_a_flood_of_certificates_does_not_fill_the_disk(tmp_path):
    for number in range(150):
        with pytest.raises(Refused):
            pki.check_server(tmp_path, "potroom", b"%d" % number, NOW)
    assert len(list((tmp_path / "rejected").iterdir())) == 100


@pytest.mark.parametrize(
    "chain", [b"", b"\x30", b"\x30\x82\xff\xff", b"\x30\x82\x00\x01\x00", b"x"]
)
def test_an_endpoint_without_a_readable_certificate_is_refused(chain):
    with pytest.raises(Refused):
        pki.first_of(chain)


def test_the_first_certificate_of_a_chain_is_the_servers(rsa_key):
    leaf, root = der(certificate_of(rsa_key)), der(certificate_of(rsa_key, days=30))
    assert pki.first_of(leaf + root) == leaf


def test_a_password_is_the_first_line_of_a_private_file(tmp_path):
    file = tmp_path / "password"
    file.write_bytes("sésame\r\nnot this\n".encode())
    file.chmod(0o600)
    assert pki.secret(file) == "sésame"
    for content in (b"", b"\xff\xfe", b"x" * 70_000):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="password"):
            pki.secret(file)
    with pytest.raises(ConfigError, match="absent"):
        pki.secret(tmp_path / "absent")
