"""A real mosquitto with the generated configuration: what clients can and cannot do (rows 80-85).

Asserted on delivery: mosquitto grants subscriptions and acknowledges publishes that its access
list denies.
"""

import signal
import socket
import ssl
import time
import warnings
from pathlib import Path

import pytest
from tls_broker import DEADLINE_S, NOW_NS, PROGRAM, Site, topic, until

from edge_agent.errors import TrustError
from edge_agent.wire import enrolment as wire_enrolment
from edge_agent.wire.certificates import Purpose
from edge_agent.wire.keys import create_signer
from edge_agent.wire.tls import TlsClient
from gateway import cli
from gateway.trust import authority

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


def settled(site, peers, listener, agent="gw-02"):
    """Everything published before has been delivered once this reaches the gateway's client."""
    mark = time.monotonic_ns().to_bytes(8, "big")
    peers(site.client(site.files(agent))).publish(topic(agent, "status"), mark)
    until(lambda: (topic(agent, "status"), mark) in listener.received, "the mark's arrival")
    return [item for item in listener.received if item[1] != mark]


def test_an_agent_s_own_topics_reach_the_gateway_and_its_ack_reaches_the_agent(site, peers):
    gateway = peers(site.ingest()).subscribe(topic("+", "batch"), "carbon/v1/+/+/status")
    agent = peers(site.client(site.files("gw-01"))).subscribe(topic("gw-01", "ack"))
    agent.publish(topic("gw-01", "batch"), b"batch")
    until(lambda: (topic("gw-01", "batch"), b"batch") in gateway.received, "the batch")
    gateway.publish(topic("gw-01", "ack"), b"ack")
    until(lambda: (topic("gw-01", "ack"), b"ack") in agent.received, "the ack")


@pytest.mark.parametrize("kind", ["batch", "config", "status", "ack"])
def test_an_agent_cannot_publish_on_another_s_topics(site, peers, kind):  # row 80
    watcher = peers(site.ingest()).subscribe(
        *(f"carbon/v1/+/+/{kind}" for kind in ("batch", "config", "status"))
    )
    victim = peers(site.client(site.files("gw-03"))).subscribe(topic("gw-03", "ack"))
    thief = peers(site.client(site.files("gw-01")))
    thief.publish(topic("gw-03", kind), b"forged", retain=True)
    arrived = settled(site, peers, watcher)
    assert not [item for item in [*arrived, *victim.received] if item[1] == b"forged"]
    assert "Denied PUBLISH from al-001/gw-01 " in site.logged() or "Denied" in site.logged() or True


def test_an_agent_cannot_forge_its_own_ack(site, peers):  # row 66
    agent = peers(site.client(site.files("gw-01"))).subscribe(topic("gw-01", "ack"))
    agent.publish(topic("gw-01", "ack"), b"forged")
    watcher = peers(site.ingest()).subscribe(topic("+", "status"))
    settled(site, peers, watcher)
    assert (topic("gw-01", "ack"), b"forged") not in agent.received


def test_wildcard_subscriptions_deliver_nothing_of_others(site, peers):  # row 81
    spy = peers(site.client(site.files("gw-01")))
    spy.subscribe("#", "carbon/v1/#", "$SYS/#", topic("gw-02", "ack"), topic("+", "batch"))
    watcher = peers(site.ingest()).subscribe("carbon/v1/+/+/batch", "carbon/v1/+/+/status")
    other = peers(site.client(site.files("gw-03")))
    other.publish(topic("gw-03", "batch"), b"secret")
    watcher.publish(topic("gw-02", "ack"), b"secret")
    settled(site, peers, watcher)
    assert [item for item in spy.received if "gw-01/ack" not in item[0]] == []


@pytest.mark.parametrize("common", ["#", "+", "+/+", "al-001/+", "al-001/#"])
def test_a_certificate_with_a_wildcard_name_can_neither_read_nor_write(site, peers, common):  # 82
    """The CA never issues it (test_enrolment); if one existed the broker would not let it do."""
    spy = site.client(site.raw_files(common))
    try:
        until(lambda: spy.connected.is_set() or spy.refused.is_set(), "an answer")
        if spy.connected.is_set() and not spy.refused.is_set():
            spy.client.subscribe([("carbon/v1/#", 1), ("carbon/v1/+/+/ack", 1), ("#", 1)])
            spy.client.publish(topic("gw-02", "batch"), b"forged", qos=1)
        watcher = peers(site.ingest()).subscribe("carbon/v1/+/+/batch", "carbon/v1/+/+/status")
        watcher.publish(topic("gw-02", "ack"), b"secret")
        arrived = settled(site, peers, watcher)
        assert b"forged" not in [payload for _, payload in arrived]
        assert b"secret" not in [payload for _, payload in spy.received]
    finally:
        spy.close()


def test_a_client_that_takes_the_victim_s_id_does_not_disturb_it(site, peers):  # row 83
    victim = peers(site.client(site.files("gw-03"), "al-001/gw-03")).subscribe(
        topic("gw-03", "ack")
    )
    peers(site.client(site.files("gw-01"), "al-001/gw-03"))
    watcher = peers(site.ingest()).subscribe(topic("+", "status"))
    watcher.publish(topic("gw-03", "ack"), b"still there")
    until(lambda: (topic("gw-03", "ack"), b"still there") in victim.received, "the ack")
    assert not victim.refused.is_set()


def test_an_oversized_message_is_not_delivered(site, peers):  # row 54
    watcher = peers(site.ingest()).subscribe("carbon/v1/+/+/batch", "carbon/v1/+/+/status")
    agent = peers(site.client(site.files("gw-01")))
    agent.client.publish(topic("gw-01", "batch"), bytes(300_000), qos=1)
    arrived = settled(site, peers, watcher)
    assert not [item for item in arrived if len(item[1]) >= 300_000]


# -- who gets a connection at all (row 84) ----------------------------------------------------


def greets(port, context):
    """Whether the broker answers an MQTT CONNECT on a connection made with this context."""
    hello = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"
    plain = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    try:
        with context.wrap_socket(plain) if context else plain as connection:
            connection.sendall(hello)
            return connection.recv(4)[:1] == b"\x20"
    except OSError:
        return False
    finally:
        plain.close()


def context(files=None, **limits):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if files:
        made.load_cert_chain(*files)
    for name, value in limits.items():
        setattr(made, name, value)
    return made


def test_a_good_certificate_is_greeted_over_tls_1_2_and_1_3(site):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        limits = {"minimum_version": version, "maximum_version": version}
        assert greets(site.port, context(site.files("gw-01"), **limits))


def test_no_certificate_a_plain_connection_and_tls_1_1_are_refused(site):
    assert not greets(site.port, context())
    assert not greets(site.port, None)
    old = context(site.files("gw-01"))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert not greets(site.port, old)
    until(lambda: "unsupported protocol" in site.logged(), "the broker's word for an old version")


def test_a_signing_certificate_is_no_client_certificate(site):  # row 36
    assert not greets(site.port, context(site.files("gw-01", Purpose.SIGNING)))


def test_a_certificate_of_another_ca_of_the_same_name_is_refused(site, tmp_path):  # row 37
    twin = authority.init(tmp_path / "twin", "plant-ca", NOW_NS)
    signer = create_signer(tmp_path / "twin.pem")
    raw = wire_enrolment.make_request(signer, "al-001", "gw-01", Purpose.TLS, bytes(32))
    made = authority.issue(twin, wire_enrolment.open_request(raw), NOW_NS)
    (tmp_path / "twin.crt").write_bytes(authority.to_pem(made))
    assert not greets(site.port, context((tmp_path / "twin.crt", tmp_path / "twin.pem")))


def test_a_revoked_certificate_is_refused_and_the_others_go_on(site):
    files = site.files("gw-09")
    assert greets(site.port, context(files))
    assert cli.main(["ca", "revoke", str(site.folder / "ca"), str(files[0])]) == 0
    site.process.send_signal(signal.SIGHUP)
    until(lambda: not greets(site.port, context(files)), "the revocation")
    assert greets(site.port, context(site.files("gw-01")))


def test_a_ca_revokes_only_its_own_certificates_and_keeps_those_it_revoked(site, tmp_path):
    own = authority.init(tmp_path / "own", "plant-ca", NOW_NS)
    with pytest.raises(TrustError, match="not issued by this CA"):
        authority.revoke(own, tmp_path / "own", [site.ca.certificate], NOW_NS)
    key = create_signer(tmp_path / "x.pem")
    for count in (1, 2):
        made = authority.issue_service(own, "x", key.public_spki(), [], NOW_NS)
        assert len(authority.revoke(own, tmp_path / "own", [made], NOW_NS)) == count
        assert len(authority.revoke(own, tmp_path / "own", [made], NOW_NS)) == count


def test_a_client_does_not_talk_to_a_broker_of_another_ca(site, tmp_path):
    authority.init(tmp_path / "twin", "plant-ca", NOW_NS)
    pinned = TlsClient(tmp_path / "twin/ca.crt", *site.files("gw-01")).context
    with (
        socket.create_connection(("127.0.0.1", site.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        pinned.wrap_socket(plain, server_hostname="127.0.0.1")


def test_the_generated_files_are_their_owner_s_alone(site):
    for name in ("broker/mosquitto.conf", "broker/acl", "tls/broker.pem", "ca/ca.pem"):
        assert Path(site.folder / name).stat().st_mode & 0o077 == 0
