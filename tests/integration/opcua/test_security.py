"""The secure channel against node-opcua's server: policies, logins, pins, no downgrade."""

import asyncio
import re
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from edge_agent import cli
from edge_agent.clock import SystemClock
from edge_agent.drivers.opcua import opcua_driver
from edge_agent.drivers.opcua.pki import fingerprint
from edge_agent.errors import Refused
from edge_agent.wire import keys

ALL = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
MODES = ["Sign", "SignAndEncrypt"]
FINGERPRINT = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){31}")


@pytest.fixture(scope="session")
def trusting(tmp_path_factory):
    """A folder of certificates that all tests of a worker share: keys take long to make."""
    return tmp_path_factory.mktemp("pki")


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory):
    """The certificates of one server, kept through its restarts."""
    return tmp_path_factory.mktemp("server")


async def refusal(config):
    """The message with which the driver refuses to connect."""
    with pytest.raises(Refused) as caught:
        async with opcua_driver(config, SystemClock()):
            pass
    return str(caught.value)


def trust(pki, message):
    """Do what the message says."""
    kept, place = re.search(r"move (\S+) to (\S+)", message).groups()
    assert kept.startswith(str(pki / "rejected"))
    target = pki / "trusted" / "pots"
    target.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(kept, place))


async def trusted(pki, config):
    """Trust the server, if that was not done before."""
    try:
        async with opcua_driver(config, SystemClock()):
            pass
    except Refused as error:
        trust(pki, str(error))


async def test_every_policy_and_mode_delivers_once_the_servers_certificate_is_placed(
    node_server, device, first_readings, server_folder, tmp_path
):
    async with node_server(folder=server_folder, policies=ALL, modes=MODES) as server:
        await server.send(set="v", value=4.25, ms=1_772_366_400_250)
        security = {"pki": tmp_path}
        message = await refusal(device(server.url, "v", security=security))
        assert "not trusted yet" in message
        placed = trust(tmp_path, message)
        assert FINGERPRINT.search(message)[0] == fingerprint(placed.read_bytes())
        for policy in ALL:
            for mode in MODES:
                config = device(
                    server.url, "v", security={**security, "policy": policy, "mode": mode}
                )
                (sample,) = await first_readings(config)
                assert (sample.value, sample.time_ns) == (4.25, 1_772_366_400_250_000_000)


async def test_our_own_certificate_is_made_once_for_its_owner_alone(
    node_server, device, trusting, server_folder
):
    setup = {"policies": ALL, "modes": MODES}
    async with node_server(folder=server_folder, **setup) as server:
        config = device(server.url, "v", security={"pki": trusting})
        await trusted(trusting, config)
        key = trusting / "own" / "key.pem"
        before = key.read_bytes()
        async with opcua_driver(config, SystemClock()):
            pass
    assert key.read_bytes() == before
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    made = x509.load_der_x509_certificate((key.parent / "certificate.der").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert re.fullmatch(r"urn:[^:]+:plant-carbon-monitor:edge-agent", uri)


def user_certificate(folder):
    """A user's certificate and key."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "reader")])
    now = datetime.fromtimestamp(SystemClock().utc_ns() / 1e9, UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "user.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "user-key.pem").write_bytes(pem)
    return {"certificate": folder / "user.pem", "key": folder / "user-key.pem"}


async def test_a_server_without_anonymous_users_takes_a_password_or_a_certificate(
    node_server, device, first_readings, trusting, server_folder, tmp_path
):
    password = tmp_path / "password"
    password.write_text("sésame\n", encoding="utf-8")
    password.chmod(0o600)
    by_name = {"username": "reader", "password_file": password}
    setup = {"policies": ALL, "modes": MODES, "anonymous": False}
    async with node_server(folder=server_folder, **setup) as server:
        await server.send(set="v", value=4.5)
        security = {"pki": trusting, "mode": "Sign", "policy": "Aes256_Sha256_RsaPss"}
        await trusted(trusting, device(server.url, "v", security=security, login=by_name))
        for login in (by_name, user_certificate(tmp_path)):
            (sample,) = await first_readings(
                device(server.url, "v", security=security, login=login)
            )
            assert sample.value == 4.5
        assert "Bad" in await refusal(device(server.url, "v", security=security))
        password.write_text("wrong")
        wrong = device(server.url, "v", security=security, login=by_name)
        assert "Bad" in await refusal(wrong)
        password.chmod(0o644)
        assert "open to others" in await refusal(wrong)


async def test_a_changed_certificate_stops_with_both_fingerprints_and_the_file_to_place(
    node_server, device, listen, trusting, server_folder, tmp_path
):
    setup = {"policies": ALL[:1], "modes": MODES}
    async with node_server(folder=server_folder, **setup) as server:
        config = device(server.url, "v", security={"pki": trusting})
        await trusted(trusting, config)
        async with listen(config) as listener:
            await listener.until(lambda li: li.found)
            await server.kill()
            async with node_server(server.port, folder=tmp_path / "new", **setup) as other:
                await other.send(set="v", value=666.0)
                await listener.until(lambda li: "changed" in li.status.last_error)
                shown, known = FINGERPRINT.findall(listener.status.last_error)
                assert shown != known
                assert fingerprint(_only(trusting / "trusted" / "pots")) == known
                assert 666.0 not in listener.values("v")
                placed = trust(trusting, listener.status.last_error)
                await listener.until(lambda li: 666.0 in li.values("v"))
                assert fingerprint(placed.read_bytes()) == shown
    placed.unlink()


def _only(folder):
    (file,) = folder.iterdir()
    return file.read_bytes()


@pytest.mark.parametrize(
    "setup",
    [
        {"policies": ["None"], "modes": ["None"]},
        {"policies": ["None", "Basic128Rsa15", "Basic256"], "modes": ["None", "SignAndEncrypt"]},
        {"policies": ["Basic256Sha256"], "modes": ["Sign"]},
    ],
    ids=("none", "deprecated", "only_signed"),
)
async def test_a_server_that_offers_less_is_not_used(
    node_server, device, trusting, server_folder, setup
):
    async with node_server(folder=server_folder, **setup) as server:
        message = await refusal(device(server.url, "v", security={"pki": trusting}))
        assert "offers no Basic256Sha256 with SignAndEncrypt, only" in message
        assert setup["policies"][-1] in message
        assert message.endswith("not used with less")


async def test_weaker_endpoints_offered_first_do_not_matter(
    node_server, device, first_readings, trusting, server_folder
):
    policies = ["None", "Basic128Rsa15", "Basic256", *ALL]
    modes = ["None", *MODES]
    async with node_server(folder=server_folder, policies=policies, modes=modes) as server:
        await server.send(set="v", value=2.5)
        config = device(
            server.url, "v", security={"pki": trusting, "policy": "Aes256_Sha256_RsaPss"}
        )
        await trusted(trusting, config)
        (sample,) = await first_readings(config)
        assert sample.value == 2.5


async def test_what_passes_an_encrypted_cable_does_not_show_the_values(
    node_server, device, first_readings, trusting, server_folder
):
    seen = bytearray()

    async def relay(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", server.port)

        async def pipe(source, target):
            while chunk := await source.read(65_536):
                seen.extend(chunk)
                target.write(chunk)
            target.close()

        await asyncio.gather(pipe(reader, back), pipe(there, writer), return_exceptions=True)

    async with node_server(folder=server_folder, policies=ALL, modes=["None", *MODES]) as server:
        await server.send(set="text", value="in clear text")
        listening = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        url = f"opc.tcp://127.0.0.1:{port}"
        await trusted(trusting, device(url, "text", security={"pki": trusting}))
        await first_readings(device(url, "text", security={"pki": trusting}))
        assert b"in clear text" not in seen
        await first_readings(device(url, "text"))
        assert b"in clear text" in seen
        listening.close()


async def test_a_probe_says_how_to_trust_the_server_and_then_reads_it_securely(
    node_server, server_folder, tmp_path, capsys
):
    keys.create_signer(tmp_path / "k.pem")
    async with node_server(folder=server_folder, policies=ALL, modes=MODES) as server:
        await server.send(set="v", value=4.25, ms=1_772_366_400_250)
        path = tmp_path / "agent.yaml"
        path.write_text(
            "site: s\nagent: a\nstate_dir: state\nfactor_set: cets-ag-04.01-v01-2024\n"
            "keys: {signing: k.pem, gateway: [k.pub.pem]}\nmqtt: {port: 1}\ndevices:\n"
            f"  - {{id: pots, driver: opcua, url: '{server.url}', security: {{pki: pki}},\n"
            f"     timeout_s: 10, tags: [{{id: v, node: 'nsu=urn:test:potline;s=v'}}]}}\n"
        )
        assert await asyncio.to_thread(cli.main, ["probe", str(path)]) == 1
        first = capsys.readouterr().out
        assert "not trusted yet" in first
        trust(tmp_path / "pki", first)
        await asyncio.to_thread(cli.main, ["probe", str(path)])
        (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("pots ")]
    assert " ok " in row
    assert "v=4.25" in row
