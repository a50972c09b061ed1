"""Row 75: a witness never signs a smaller, other or unproven tree, and of two that race one."""

import base64
import hashlib
import http.client
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_agent.wire import merkle, notes
from edge_agent.wire.notes import Head
from gateway.witness import Request, Witness
from gateway.witness_http import WitnessClient, WitnessRefused, WitnessUnreachable, serving

ORIGIN, NAME = "carbon-log/test", "witness.example/1"


class Log:
    def __init__(self, signer, fork=None):
        self.signer, self.fork = signer, fork

    def hashes(self, size):
        return [
            merkle.leaf_hash(
                f"{number}{'x' * (self.fork is not None and number >= self.fork)}".encode()
            )
            for number in range(size)
        ]

    def head(self, size):
        return Head(ORIGIN, size, merkle.root(self.hashes(size)))

    def note(self, size):
        return notes.sign_checkpoint(self.head(size), self.signer)

    def proof(self, old, new):
        hashes = self.hashes(new)
        if old == 0:
            return ()
        return tuple(
            merkle.consistency(
                old,
                new,
                lambda level, place: merkle.root(hashes[place << level : place + 1 << level]),
            )
        )

    def request(self, old, new):
        return Request(old, self.proof(old, new), self.note(new)).text().encode()


@pytest.fixture
def log(gateway_signer):
    return Log(gateway_signer)


@pytest.fixture
def forked(gateway_signer):
    return Log(gateway_signer, fork=3)


@pytest.fixture
def witness(tmp_path, neighbour, gateway_signer, clock):
    known = notes.note_key(ORIGIN, gateway_signer.public_spki())
    return Witness(tmp_path / "witness.sqlite", NAME, neighbour, [known], clock)


@pytest.fixture
def key(neighbour):
    return notes.note_key(NAME, neighbour.public_spki())


def test_growth_is_cosigned_with_the_witnesss_time(witness, log, key, clock):
    for old, new in ((0, 4), (4, 9), (9, 9), (9, 30)):
        answer = witness.add_checkpoint(log.request(old, new))
        assert answer.status == 200, answer.body
        assert notes.cosigned_at(log.head(new), [answer.body], key) == clock.now_ns // 10**9
    assert witness.state(ORIGIN) == (30, log.head(30).root)


@pytest.mark.parametrize(("old", "new", "body"), [(0, 12, "9\n"), (4, 12, "9\n"), (4, 4, "9\n")])
def test_a_wrong_old_size_is_answered_with_the_right_one(witness, log, old, new, body):
    witness.add_checkpoint(log.request(0, 9))
    answer = witness.add_checkpoint(log.request(old, new))
    assert (answer.status, answer.body, answer.content_type) == (409, body, "text/x.tlog.size")
    assert witness.state(ORIGIN) == (9, log.head(9).root)


def test_another_history_is_never_cosigned(witness, log, forked):
    witness.add_checkpoint(log.request(0, 9))
    assert witness.add_checkpoint(forked.request(9, 20)).status == 422
    assert witness.add_checkpoint(forked.request(9, 9)).status == 409
    smaller = b"old 9\n\n" + log.note(8).encode()
    assert witness.add_checkpoint(smaller).status == 400
    assert witness.state(ORIGIN) == (9, log.head(9).root)


def test_a_proof_with_anything_changed_is_refused(witness, log):
    witness.add_checkpoint(log.request(0, 6))
    proof = log.proof(6, 20)
    for spoilt in (
        proof[:-1],
        (*proof, bytes(32)),
        proof[::-1],
        (hashlib.sha256().digest(), *proof[1:]),
    ):
        body = Request(6, spoilt, log.note(20)).text().encode()
        assert witness.add_checkpoint(body).status == 422
    assert witness.add_checkpoint(Request(0, proof, log.note(20)).text().encode()).status == 409


def test_who_may_not_ask_is_told_so(witness, log, signer):
    stranger = Log(signer)
    assert witness.add_checkpoint(stranger.request(0, 4)).status == 403
    other = notes.sign_checkpoint(Head("carbon-log/other", 4, bytes(32)), signer)
    assert witness.add_checkpoint(Request(0, (), other).text().encode()).status == 404
    assert witness.state(ORIGIN) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"old x\n\n",
        b"old 1",
        b"old -1\n\nx",
        b"old 99999999999999999\n\nx",
        b"old 0\nnot base64!\n\nx",
        b"old 0\n" + base64.b64encode(b"short") + b"\n\nx",
        b"old 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\nx",
    ],
)
def test_what_is_no_request_is_refused(witness, body):
    assert witness.add_checkpoint(body).status == 400


def test_of_two_histories_that_race_exactly_one_wins(witness, log, forked):
    witness.add_checkpoint(log.request(0, 2))
    bodies = [log.request(2, 9), forked.request(2, 9)] * 8
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(witness.add_checkpoint, bodies))
    winners = {number % 2 for number, answer in enumerate(answers) if answer.status == 200}
    assert len(winners) == 1
    assert {answer.status for answer in answers} <= {200, 409}


def test_the_state_survives_a_restart(witness, log, tmp_path, neighbour, gateway_signer, clock):
    witness.add_checkpoint(log.request(0, 9))
    known = notes.note_key(ORIGIN, gateway_signer.public_spki())
    again = Witness(tmp_path / "witness.sqlite", NAME, neighbour, [known], clock)
    assert again.add_checkpoint(log.request(0, 12)).status == 409
    assert again.add_checkpoint(log.request(9, 12)).status == 200


def test_the_client_finds_its_place_by_the_witnesss_answer(witness, log, key):
    with serving(witness, "127.0.0.1", 0) as (host, port):
        client = WitnessClient(key, f"http://{host}:{port}", 5)
        for new in (5, 11):
            line, size = client.cosign(
                log.note(new), log.head(new), lambda old, new=new: log.proof(old, new), 0
            )
            assert size == new
            assert notes.cosigned_at(log.head(new), [line], key)


def test_the_client_says_when_a_witness_knows_another_history(witness, log, forked, key):
    with serving(witness, "127.0.0.1", 0) as (host, port):
        client = WitnessClient(key, f"http://{host}:{port}/", 5)
        client.cosign(log.note(9), log.head(9), lambda old: log.proof(old, 9), 0)
        with pytest.raises(WitnessRefused, match="422"):
            client.cosign(forked.note(12), forked.head(12), lambda old: forked.proof(old, 12), 9)
    with pytest.raises(WitnessUnreachable):
        client.cosign(log.note(12), log.head(12), lambda old: log.proof(old, 12), 9)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/", {"Content-Length": "0"}, 404),
        ("POST", "/add-checkpoint", {"Content-Length": "x"}, 411),
        ("POST", "/add-checkpoint", {"Content-Length": "99999999"}, 413),
        ("GET", "/add-checkpoint", {}, 501),
    ],
)
def test_the_server_answers_nothing_else(witness, method, path, headers, status):
    with serving(witness, "127.0.0.1", 0) as (host, port):
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.putrequest(method, path)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
