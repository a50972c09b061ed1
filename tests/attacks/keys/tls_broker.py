"""A real mosquitto with the generated configuration, and clients with certificates."""

import shutil
import socket
import subprocess
import threading
import time

from cryptography import x509
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.clock import SystemClock
from edge_agent.wire import enrolment as wire_enrolment
from edge_agent.wire.certificates import Purpose
from edge_agent.wire.keys import create_signer
from edge_agent.wire.tls import TlsClient
from gateway import cli
from gateway.trust import authority

DEADLINE_S = 30
PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
NOW_NS = SystemClock().utc_ns()


def until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true in time"
        time.sleep(0.01)


class Site:
    """A CA, a broker with the generated files, and clients with certificates."""

    def __init__(self, folder, connections=10_000):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        assert cli.main(["ca", "init", str(folder / "ca")]) == 0
        self.ca = authority.open_(folder / "ca")
        for name, host in (("broker", ["--host", "127.0.0.1"]), ("ingest", [])):
            command = ["ca", "service", str(folder / "ca"), name, "--out", str(folder / "tls")]
            assert cli.main([*command, *host]) == 0
        assert cli.main(["ca", "revoke", str(folder / "ca")]) == 0
        done = cli.main(
            ["broker-config", "--out", str(folder / "broker"), "--port", str(self.port),
             "--ca", str(folder / "ca/ca.crt"), "--certificate", str(folder / "tls/broker.crt"),
             "--key", str(folder / "tls/broker.pem"), "--crl", str(folder / "ca/ca.crl"),
             "--connections", str(connections)]
        )  # fmt: skip
        assert done == 0
        # Started by root, mosquitto would give up its rights and could not read the files.
        configuration = folder / "broker/mosquitto.conf"
        configuration.write_text("user root\n" + configuration.read_text())
        self.log = (folder / "broker.log").open("wb")
        self.start()

    def start(self):
        command = [PROGRAM, "-c", str(self.folder / "broker/mosquitto.conf")]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        until(self._listens, "the broker's start")

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def _listens(self):
        assert self.process.poll() is None, (self.folder / "broker.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self):
        self.stop()
        self.log.close()

    def logged(self):
        return (self.folder / "broker.log").read_text(errors="replace")

    def files(self, agent, purpose=Purpose.TLS):
        """Key and certificate of an agent."""
        key = self.folder / "tls" / f"{agent}-{purpose.value}.pem"
        certificate = key.with_suffix(".crt")
        if not key.exists():
            signer = create_signer(key)
            raw = wire_enrolment.make_request(signer, "al-001", agent, purpose, bytes(32))
            made = authority.issue(self.ca, wire_enrolment.open_request(raw), NOW_NS)
            certificate.write_bytes(authority.to_pem(made))
        return certificate, key

    def raw_files(self, common):
        """A certificate that this CA would never issue: any common name."""
        key = self.folder / "tls" / f"raw-{common.encode().hex()}.pem"
        signer = create_signer(key)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        said = authority.certificates.extensions(Purpose.TLS, "al-001", "gw-01")
        made = authority._sign(
            self.ca.signer, self.ca.certificate.subject, name, signer.public_spki(),
            (said, NOW_NS, 1),
        )  # fmt: skip
        key.with_suffix(".crt").write_bytes(authority.to_pem(made))
        return key.with_suffix(".crt"), key

    def client(self, files, client_id=None):
        return Peer(self, files, client_id)

    def ingest(self):
        folder = self.folder / "tls"
        return Peer(self, (folder / "ingest.crt", folder / "ingest.pem"), "ingest")


class Peer:
    """One MQTT client over TLS that remembers what it was given."""

    def __init__(self, site, files, client_id):
        self.received, self.connected, self.granted = [], threading.Event(), threading.Event()
        self.refused = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or "", protocol=MQTTv311,
            reconnect_on_failure=False,
        )  # fmt: skip
        self.client.tls_set_context(TlsClient(site.folder / "ca/ca.crt", *files).context)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self.granted.set()
        self.client.on_disconnect = lambda *_: self.refused.set()
        self.client.on_message = lambda _c, _u, message: self.received.append(
            (message.topic, message.payload)
        )
        self.client.connect("127.0.0.1", site.port)
        self.client.loop_start()

    def _on_connect(self, _client, _data, _flags, reason, _properties):
        (self.refused if reason.is_failure else self.connected).set()

    def up(self):
        assert self.connected.wait(DEADLINE_S)
        return self

    def subscribe(self, *topics):
        self.granted.clear()
        self.client.subscribe([(topic, 1) for topic in topics])
        assert self.granted.wait(DEADLINE_S)
        return self

    def publish(self, topic, payload=b"x", *, retain=False):
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(DEADLINE_S)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def topic(agent, kind):
    return f"carbon/v1/al-001/{agent}/{kind}"
