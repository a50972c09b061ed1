"""Renewed certificate files are taken up while programs run; broken ones leave the old in use.

A real mosquitto that asks for client certificates, and certificates of seconds.
"""

import asyncio
import datetime as dt
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.clock import SystemClock
from edge_agent.drivers.mqtt_config import MqttConfig
from edge_agent.errors import KeyFileError
from edge_agent.tls_files import TlsFiles
from edge_agent.wire.tls import TlsClient

CLOCK = SystemClock()
LIMIT_S = 60
PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")


class Authority:
    """A CA that writes certificates for any name and time; files are replaced as a whole."""

    def __init__(self, folder, common="ca"):
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
        folder.mkdir(exist_ok=True)
        self.file = folder / f"{common}.crt"
        self.write(self.file, self.sign(self.name, self.key, 36_500 * 86_400, ca=True))

    def sign(self, name, key, lives_s, *, ca=False):
        start = dt.datetime.now(dt.UTC)  # noqa: TID251  TLS libraries read the machine's clock
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder(self.name, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - dt.timedelta(days=1))
            .not_valid_after(start + dt.timedelta(seconds=lives_s))
            .add_extension(address, critical=False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        return made.sign(self.key, hashes.SHA256())

    def write(self, path, certificate):
        part = path.with_suffix(".part")
        part.write_bytes(certificate.public_bytes(Encoding.PEM))
        part.replace(path)

    def pair(self, common, lives_s=86_400, files=None):
        """Certificate and key of a name, the key first."""
        cert, key = files or (self.folder / f"{common}.crt", self.folder / f"{common}.pem")
        private = ec.generate_private_key(ec.SECP256R1())
        part = key.with_suffix(".part")
        part.touch(0o600)
        part.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        part.replace(key)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
        self.write(cert, self.sign(name, private, lives_s))
        return cert, key


@pytest.fixture
def ca(tmp_path):
    return Authority(tmp_path / "tls")


# -- the files ---------------------------------------------------------------------------------


@pytest.fixture
def shown_to(ca):
    """Connects with a context; gives the name that the server saw."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*ca.pair("server"))
    server.load_verify_locations(ca.file)
    server.verify_mode = ssl.CERT_REQUIRED

    def connect(context):
        seen = []
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve():
                plain, _ = listener.accept()
                with server.wrap_socket(plain, server_side=True) as connection:
                    seen.append(connection.getpeercert()["subject"][0][0][1])
                    connection.sendall(b".")

            thread = threading.Thread(target=serve)
            thread.start()
            with (
                socket.create_connection(listener.getsockname(), timeout=20) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                assert connection.recv(1) == b"."
            thread.join()
        return seen[0]

    return connect


def test_a_renewed_pair_is_shown_by_the_next_connection(ca, shown_to):
    files = ca.pair("first")
    tls = TlsClient(ca.file, *files)
    assert shown_to(tls.context) == "first"
    assert not tls.look(CLOCK.utc_ns())
    ca.pair("second", files=files)
    assert tls.look(CLOCK.utc_ns())
    assert (shown_to(tls.context), tls.problem) == ("second", "")
    assert not tls.look(CLOCK.utc_ns()), "once"


def test_a_renewed_authority_is_taken_up_and_the_old_one_is_trusted_no_longer(
    ca, shown_to, tmp_path
):
    files = ca.pair("client")
    tls = TlsClient(ca.file, *files)
    other = Authority(tmp_path / "other", "other")
    shutil.copy(other.file, ca.file)
    assert tls.look(CLOCK.utc_ns())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(ca.folder / "server.crt", ca.folder / "server.pem")

        def serve():
            plain, _ = listener.accept()
            with plain, pytest.raises(OSError):
                server.wrap_socket(plain, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            socket.create_connection(listener.getsockname(), timeout=20) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            tls.context.wrap_socket(plain, server_hostname="127.0.0.1")
        thread.join()


def of_another_key(ca, files):
    shutil.copy(ca.pair("stranger")[0], files[0])


def garbage(_ca, files):
    files[0].write_text("no certificate")


def expired(ca, files):
    ca.pair("late", -60, files)


def readable_by_others(ca, files):
    ca.pair("open", files=files)
    files[1].chmod(0o644)


def no_key(_ca, files):
    files[1].unlink()


def broken_authority(ca, _files):
    ca.file.write_text("no authority")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (of_another_key, "first.crt: .*KEY_VALUES_MISMATCH.*private key that it is for"),
        (garbage, "first.crt: cannot use the certificate"),
        (expired, "first.crt: the certificate ended at"),
        (readable_by_others, "first.pem: .*0600"),
        (no_key, "first.pem: cannot open"),
        (broken_authority, "ca.crt: cannot use the CA"),
    ],
)
def test_broken_new_files_leave_the_old_in_use_until_good_ones_come(
    ca, shown_to, spoil, said, caplog
):
    files = ca.pair("first")
    authority = ca.file.read_bytes()
    tls = TlsClient(ca.file, *files)
    spoil(ca, files)
    assert not tls.look(CLOCK.utc_ns())
    assert len(caplog.records) == 1
    assert not tls.look(CLOCK.utc_ns())
    assert len(caplog.records) == 1, "said once"
    with pytest.raises(KeyFileError, match=said):
        raise KeyFileError(tls.problem)
    assert shown_to(tls.context) == "first"
    ca.file.write_bytes(authority)
    ca.pair("second", files=files)
    assert tls.look(CLOCK.utc_ns())
    assert (shown_to(tls.context), tls.problem) == ("second", "")


def test_files_that_change_one_after_the_other_are_taken_when_they_fit(ca, shown_to):
    files = ca.pair("first")
    tls = TlsClient(ca.file, *files)
    new = ca.pair("second")
    new[0].replace(files[0])
    assert not tls.look(CLOCK.utc_ns())
    assert shown_to(tls.context) == "first"
    new[1].replace(files[1])
    assert tls.look(CLOCK.utc_ns())
    assert shown_to(tls.context) == "second"


def test_a_start_with_broken_files_is_an_error_that_names_the_file(ca):
    cert, key = ca.pair("first")
    shutil.copy(ca.pair("other")[0], cert)
    with pytest.raises(KeyFileError, match=r"first.crt: .*KEY_VALUES_MISMATCH"):
        TlsClient(ca.file, cert, key)
    with pytest.raises(KeyFileError, match=r"gone.crt: cannot use the CA"):
        TlsFiles(ca.folder / "gone.crt")


# -- the MQTT driver ---------------------------------------------------------------------------


class Broker:
    """mosquitto with a listener that asks for certificates, and a plain one for a publisher."""

    def __init__(self, folder, ca):
        self.log = folder / "mosquitto.log"
        with socket.socket() as first, socket.socket() as second:
            for probe in (first, second):
                probe.bind(("127.0.0.1", 0))
            self.port, self.plain = first.getsockname()[1], second.getsockname()[1]
        cert, key = ca.pair("broker")
        conf = folder / "mosquitto.conf"
        conf.write_text(
            f"user root\nlog_dest file {self.log}\nlog_type all\nallow_anonymous true\n"
            f"listener {self.plain} 127.0.0.1\nlistener {self.port} 127.0.0.1\n"
            f"cafile {ca.file}\ncertfile {cert}\nkeyfile {key}\n"
            "require_certificate true\nuse_identity_as_username true\n"
        )
        self.process = subprocess.Popen([PROGRAM, "-c", str(conf)])

    def connects(self):
        """User names (from the certificates) of the driver's connections, in order."""
        text = self.log.read_text() if self.log.exists() else ""
        return [
            line.rsplit("u'", 1)[1].split("'")[0]
            for line in text.splitlines()
            if "New client connected" in line and "u'" in line
        ]


@pytest.fixture
def broker(tmp_path, ca):
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed")
    made = Broker(tmp_path, ca)
    end = time.monotonic() + LIMIT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", made.port)) == 0:
                break
        assert made.process.poll() is None, Path(made.log).read_text()
        assert time.monotonic() < end
        time.sleep(0.02)
    yield made
    made.process.terminate()
    made.process.wait(LIMIT_S)


class Plant:
    """Publishes numbers, each once, and keeps what the supervised driver delivered."""

    def __init__(self, broker, settings):
        self.broker, self.got, self.sent = broker, [], 0
        tag = {"id": "raw", "topic": "plant/raw"}
        fields = {"driver": "mqtt", "id": "plant", "host": "127.0.0.1", "client_id": "agent"}
        self.config = MqttConfig.model_validate(
            {**fields, "port": broker.port, "tags": (tag,), "tls": settings}
        )
        self.acquired = Acquisition([self.config], CLOCK, jitter=lambda: 0.0)
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)

    async def __aenter__(self):
        self.client.connect("127.0.0.1", self.broker.plain)
        self.client.loop_start()
        self.tasks = [asyncio.create_task(self.acquired.run()), asyncio.create_task(self.collect())]
        await self.until(lambda: self.acquired.status()[0].state is not DeviceState.DOWN)
        await self.until(lambda: len(self.broker.connects()) == 1)
        await asyncio.sleep(0.1)
        self.tasks.append(asyncio.create_task(self.publish()))
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.client.disconnect()
        self.client.loop_stop()

    async def collect(self):
        async for readings in self.acquired.batches():
            self.got += [int(reading.value) for reading in readings]
            self.acquired.kept(self.acquired.taken.place)

    async def publish(self):
        while True:
            self.client.publish("plant/raw", str(self.sent), 1)
            self.sent += 1
            await asyncio.sleep(0.02)

    async def until(self, condition):
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                assert not any(task.done() for task in self.tasks)
                await asyncio.sleep(0.02)

    async def flows(self):
        """What is published from now on arrives."""
        mark = self.sent
        await self.until(lambda: self.got and self.got[-1] >= mark)


async def test_the_mqtt_driver_goes_on_with_a_renewed_certificate_and_loses_no_message(ca, broker):
    files = ca.pair("first", 10)
    ends = time.monotonic() + 10
    settings = {"ca": ca.file, "cert": files[0], "key": files[1]}
    async with Plant(broker, settings) as plant:
        await plant.flows()
        ca.pair("second", files=files)
        await plant.until(lambda: broker.connects()[-1] == "second")
        await plant.until(lambda: time.monotonic() > ends)
        await plant.flows()
        last = plant.sent
        await plant.flows()
        assert broker.connects() == ["first", "second"], "once, and not after the first one's end"
        assert plant.acquired.status()[0].state is DeviceState.UP
    arrived = sorted(set(plant.got))
    first = arrived[0]
    assert [number for number in arrived if number < last] == list(range(first, last))


async def test_the_mqtt_driver_keeps_its_session_over_broken_files(ca, broker, caplog):
    files = ca.pair("first")
    settings = {"ca": ca.file, "cert": files[0], "key": files[1]}
    async with Plant(broker, settings) as plant:
        await plant.flows()
        of_another_key(ca, files)
        await plant.until(lambda: "tls_files_not_taken" in caplog.text)
        await plant.flows()
        assert broker.connects() == ["first"]
        ca.pair("second", files=files)
        await plant.until(lambda: broker.connects()[-1] == "second")
        await plant.flows()


async def test_an_mqtt_driver_that_starts_with_broken_files_says_so_and_comes_up_with_good_ones(
    ca, broker
):
    files = ca.pair("first")
    of_another_key(ca, files)
    settings = {"ca": ca.file, "cert": files[0], "key": files[1]}
    fields = {"driver": "mqtt", "id": "plant", "host": "127.0.0.1", "client_id": "agent"}
    tag = {"id": "raw", "topic": "plant/raw"}
    made = MqttConfig.model_validate(
        {**fields, "port": broker.port, "tags": (tag,), "tls": settings}
    )
    acquired = Acquisition([made], CLOCK, jitter=lambda: 0.0)
    task = asyncio.create_task(acquired.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            while "first.crt: cannot use" not in acquired.status()[0].last_error:
                await asyncio.sleep(0.02)
            ca.pair("second", files=files)
            while broker.connects() != ["second"]:
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
