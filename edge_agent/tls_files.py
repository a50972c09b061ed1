"""TLS as a client, with files that may be renewed while the program runs.

``context`` is given to a library once. ``look`` is called now and then, and before each connection:
where files changed it loads them into a fresh context, and only when all of it fits (the
certificate is readable and not expired, the key is its own, the CA can be used) new connections
get that one. Otherwise the old one stays in use and ``problem`` says what is wrong; the files are
tried again when they change again. TLS 1.2 is the least.
"""

import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cryptography import x509

from edge_agent.errors import KeyFileError

log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int, int], ...]


class _Following(ssl.SSLContext):
    """A context whose new connections are made by the newest good one."""

    newest: ssl.SSLContext | None = None

    def __new__(cls) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """A connection by the newest context."""
        assert self.newest is not None  # noqa: S101  set when it was made
        return self.newest.wrap_socket(*args, **kwargs)


class TlsFiles:
    """A context that follows its files.

    Args:
        ca: the only authorities that are trusted; None for the machine's list.
        cert: our certificate with its chain, when the server asks for one.
        key: its private key; None when it stands in ``cert``.
        check_key: raises KeyFileError when the key file may not be used.
        socket_class: for connections, in place of the library's own.

    Raises:
        KeyFileError: the files cannot be used at the start.
    """

    def __init__(
        self,
        ca: Path | None,
        cert: Path | None = None,
        key: Path | None = None,
        check_key: Callable[[Path], object] = lambda _path: None,
        socket_class: type[ssl.SSLSocket] | None = None,
    ) -> None:
        self._ca, self._cert, self._key = ca, cert, key
        self._check_key, self._socket_class = check_key, socket_class
        self.problem = ""
        self.expires: datetime | None = None
        self.context = _Following()
        self._stamp = self._stamps()
        self.context.newest = self._load(None)

    def look(self, now_ns: int) -> bool:
        """Take up changed files; blocks for as long as reading them takes.

        Args:
            now_ns: UTC, in ns since 1970.

        Returns:
            Whether there are new ones in force, so that the connection should be made anew.
        """
        stamp = self._stamps()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            fresh = self._load(datetime.fromtimestamp(now_ns / 1e9, UTC))
        except KeyFileError as error:
            self.problem = str(error)
            log.warning("tls_files_not_taken keeping=old error=%s", error)
            return False
        self.context.newest, self.problem = fresh, ""
        log.info("tls_files_taken cert=%s until=%s", self._cert, self.expires)
        return True

    def _load(self, now: datetime | None) -> ssl.SSLContext:
        """A context of the files as they are; an expired certificate is refused when told the time."""
        expires = self._end(now)
        context = ssl.create_default_context() if self._ca is None else _pinned(self._ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._socket_class is not None:
            context.sslsocket_class = self._socket_class
        if self._cert is not None:
            self._check_key(self._key or self._cert)
            try:
                # A key with a passphrase must fail here, not ask at a terminal.
                context.load_cert_chain(
                    str(self._cert), str(self._key) if self._key else None, password=lambda: b""
                )
            except (OSError, ssl.SSLError, ValueError) as error:
                reason = getattr(error, "reason", None) or type(error).__name__
                message = (
                    f"{self._cert}: cannot use certificate and key ({self._key or 'in one file'}):"
                    f" {reason}; a certificate and the private key that it is for are right"
                )
                raise KeyFileError(message) from error
        self.expires = expires
        return context

    def _end(self, now: datetime | None) -> datetime | None:
        if self._cert is None:
            return None
        try:
            end = x509.load_pem_x509_certificates(self._cert.read_bytes())[0].not_valid_after_utc
        except (OSError, ValueError) as error:
            message = f"{self._cert}: cannot use the certificate: {error}"
            raise KeyFileError(message) from error
        if now is not None and end <= now:
            message = f"{self._cert}: the certificate ended at {end}; one in force is right"
            raise KeyFileError(message)
        return end

    def _stamps(self) -> _Stamp:
        """What tells one state of the files from another; a missing file has a stamp too."""
        stamps: list[tuple[int, int, int]] = []
        for path in (self._ca, self._cert, self._key):
            try:
                info = path.stat() if path is not None else None
            except OSError:
                info = None
            stamps.append((info.st_ino, info.st_mtime_ns, info.st_size) if info else (0, 0, 0))
        return tuple(stamps)


def _pinned(ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        message = f"{ca}: cannot use the CA's certificate: {error}"
        raise KeyFileError(message) from error
    return context
