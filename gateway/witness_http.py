"""The witness over HTTP: a small server, and the gateway's client.

Put a proxy with TLS in front of a witness that does not listen on loopback: cosignatures need no
secrecy, but the proxy limits who may ask.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edge_agent.errors import BadProfile, CarbonError
from edge_agent.wire import notes
from edge_agent.wire.notes import Head, NoteKey
from gateway.http_post import NoAnswer, post
from gateway.witness import MAX_REQUEST, Answer, Request, Witness

log = logging.getLogger(__name__)
_PATH = "/add-checkpoint"
_MAX_ANSWER = 16_384
_IDLE_S = 10
_CONFLICT = 409
_SIZE = re.compile(r"\s*[0-9]{1,19}\s*\Z")


class WitnessRefused(CarbonError):
    """The witness answered, but did not cosign."""


class WitnessUnreachable(CarbonError):
    """The witness did not answer."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_S
    witness: Witness

    def do_POST(self) -> None:
        """Answer one request."""
        length = self.headers.get("Content-Length", "")
        if self.path != _PATH:
            self._send(Answer(404, "no such path\n"))
        elif not length.isdecimal():
            self._send(Answer(411, "a Content-Length is needed\n"))
        elif int(length) > MAX_REQUEST:
            self._send(Answer(413, "the request is too large\n"))
        else:
            self._send(self.witness.add_checkpoint(self.rfile.read(int(length))))

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Log through the program's logger."""
        log.info("witness_request %s", format % args)


@contextmanager
def serving(witness: Witness, host: str, port: int) -> Iterator[tuple[str, int]]:
    """Serve a witness in threads; gives the address it listens on."""
    handler = type("Handler", (_Handler,), {"witness": witness})
    with ThreadingHTTPServer((host, port), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="witness", daemon=True)
        thread.start()
        try:
            yield str(server.server_address[0]), int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class WitnessClient:
    """How a gateway asks one witness."""

    key: NoteKey
    url: str
    timeout_s: float

    def cosign(
        self, note: str, head: Head, prove: Callable[[int], tuple[bytes, ...]], old_size: int
    ) -> tuple[str, int]:
        """The witness's signature line for a checkpoint, and the size it stands at now.

        Args:
            note: the checkpoint.
            head: what it states.
            prove: consistency proof from an old size to the checkpoint's.
            old_size: where the witness is believed to stand.

        Raises:
            WitnessRefused: it knows another history, or does not know the log.
            WitnessUnreachable: no answer within the time-out, or a redirect.
        """
        status, text = self._post(note, prove, old_size)
        if status == _CONFLICT and _SIZE.match(text) and int(text) <= head.size:
            status, text = self._post(note, prove, int(text))
        if status != 200:
            message = f"witness {self.key.name} answered {status}: {text.strip()[:200]}"
            raise WitnessRefused(message)
        lines = [f"{line}\n" for line in text.splitlines()]
        if notes.cosigned_at(head, lines, self.key) is None:
            message = f"witness {self.key.name} answered without its cosignature"
            raise WitnessRefused(message)
        return next(line for line in lines if notes.cosigned_at(head, [line], self.key)), head.size

    def _post(
        self, note: str, prove: Callable[[int], tuple[bytes, ...]], old_size: int
    ) -> tuple[int, str]:
        body = Request(old_size, prove(old_size), note).text().encode()
        named, url = f"witness {self.key.name} at {self.url}", self.url.rstrip("/") + _PATH
        try:
            reply = post(url, body, {}, timeout_s=self.timeout_s, most=_MAX_ANSWER)
        except NoAnswer as error:
            raise WitnessUnreachable(f"{named}: {error}") from error
        if reply.location:
            raise WitnessUnreachable(f"{named} answered {reply}")
        if len(reply.body) > _MAX_ANSWER:
            raise WitnessRefused(f"{named}: an answer has at most {_MAX_ANSWER} bytes")
        return reply.status, _text(reply.body)


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadProfile("the witness's answer is not UTF-8") from error
