"""A party on the web that answers as it likes: nothing is followed, and all has one deadline (77)."""

import socket
import threading
from contextlib import contextmanager

import pytest

from edge_agent.wire import notes
from edge_agent.wire.notes import Head
from gateway.http_post import NoAnswer, post
from gateway.timestamp import Authority
from gateway.timestamp_http import AuthorityUnreachable, TimestampClient
from gateway.witness_http import WitnessClient, WitnessRefused, WitnessUnreachable

BODY = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nabc"
PLACES = ["http://[::1", "http://a..b/", "http://127.0.0.1:1/x", "file:///etc/passwd", "/tsa", "é"]


class Speaker:
    """Accepts connections and says the same to each, a byte at a time when told so."""

    def __init__(self, words, pause_s):
        self.words, self.pause_s = words, pause_s
        self.said = self.connections = 0
        self.stopped = threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.getsockname()[1]}"

    def run(self):
        while not self.stopped.is_set():
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                self.speak(connection)

    def speak(self, connection):
        try:
            if not self.pause_s:
                connection.recv(65_536)
                connection.sendall(self.words)
                return
            for place in range(len(self.words)):
                connection.sendall(self.words[place : place + 1])
                self.said += 1
                if self.stopped.wait(self.pause_s):
                    return
        except OSError:
            return

    def stop(self):
        self.stopped.set()
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join()


@contextmanager
def speaking(words, pause_s=0.0):
    speaker = Speaker(words, pause_s)
    try:
        yield speaker
    finally:
        speaker.stop()


def ask(url, timeout_s=20, most=100):
    return post(url, b"text", {}, timeout_s=timeout_s, most=most)


def redirect(place):
    return (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
        + place.encode("latin-1")
        + b"\r\n\r\n"
    )


@pytest.fixture
def key(neighbour):
    return notes.note_key("witness.example/1", neighbour.public_spki())


def test_an_answer_is_given_with_its_kind_and_cut_after_what_is_allowed():
    with speaking(BODY) as speaker:
        reply = ask(speaker.url)
        assert (reply.status, reply.kind, reply.location, reply.body) == (200, "a/b", "", b"abc")
        assert ask(speaker.url, most=1).body == b"ab"


@pytest.mark.parametrize("place", PLACES)
def test_a_redirect_of_an_authority_is_an_error_that_names_the_place(place):
    with speaking(redirect(place)) as speaker:
        client = TimestampClient(Authority("tsa", ()), speaker.url, 20)
        with pytest.raises(AuthorityUnreachable) as caught:
            client.stamp(b"text", bytes(8))
        assert f"302 Found, to {place!r}" in str(caught.value)
        assert speaker.connections == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_redirect_of_a_witness_is_an_error_that_names_the_place(place, key):
    with speaking(redirect(place)) as speaker:
        client = WitnessClient(key, speaker.url, 20)
        with pytest.raises(WitnessUnreachable) as caught:
            client.cosign("note", Head("log", 1, bytes(32)), lambda _: (), 0)
        assert f"302 Found, to {place!r}" in str(caught.value)
        assert speaker.connections == 1


@pytest.mark.parametrize("size", ["9" * 5_000, "\u0663", "-1", "12"])
def test_a_witness_s_size_that_is_none_is_not_believed(size, key):
    text = size.encode()
    words = b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
    with speaking(words) as speaker:
        client = WitnessClient(key, speaker.url, 20)
        with pytest.raises(WitnessRefused, match="answered 409"):
            client.cosign("note", Head("log", 10, bytes(32)), lambda _: (), 0)
        assert speaker.connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 300


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 200 " + b"O" * 500 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 90 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n" + b"x" * 600,
        CHUNKED,
    ],
    ids=["status", "headers", "continue", "body", "chunks"],
)
def test_all_of_an_answer_has_one_deadline(words):
    """Each byte comes long before a time-out of its own would be over."""
    with speaking(words, pause_s=0.03) as speaker:
        with pytest.raises(NoAnswer, match=r"not all came within 0\.3 s"):
            ask(speaker.url, timeout_s=0.3, most=10_000)
        assert speaker.said < len(words)


def test_a_tls_handshake_is_within_the_deadline():
    with speaking(b"\x16\x03\x03\x40\x00" + bytes(400), pause_s=0.03) as speaker:
        with pytest.raises(NoAnswer):
            ask(speaker.url.replace("http:", "https:"), timeout_s=0.3)
        assert speaker.said < 400


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://a..b/", "http://", "http://127.0.0.1:x/", "http://a\nb/"]
)
def test_an_address_that_is_none_is_no_answer(url):
    with pytest.raises(NoAnswer):
        ask(url)


@pytest.mark.parametrize(
    "words", [b"", b"\x00\xff", b"HTTP/1.1 9999999 x\r\n\r\n", b"220 smtp\r\n"]
)
def test_what_is_no_http_is_no_answer(words):
    with speaking(words) as speaker, pytest.raises(NoAnswer):
        ask(speaker.url)
