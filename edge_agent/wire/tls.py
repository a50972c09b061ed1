"""TLS towards the broker: its CA pinned, a client certificate of ours, renewed without a restart.

Nothing but the given CA is trusted, not the machine's list. TLS 1.2 is the least. The key file
must be its owner's alone. ``refresh`` is for the moment before a connection is made: a renewed
certificate is taken up when its files changed.
"""

import ssl
from pathlib import Path

from edge_agent.errors import KeyFileError
from edge_agent.wire.keys import read_secret


class TlsClient:
    """A context that follows its certificate's files."""

    def __init__(self, ca: Path, cert: Path | None = None, key: Path | None = None) -> None:
        self._ca, self._cert, self._key = ca, cert, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._stamp: tuple[int, ...] = ()
        try:
            self.context.load_verify_locations(cafile=str(ca))
        except (OSError, ssl.SSLError) as error:
            message = f"{ca}: cannot use the CA's certificate: {error}"
            raise KeyFileError(message) from error
        self.refresh()

    def changed(self) -> bool:
        """Whether the certificate's files are others than those in use."""
        return bool(self._files()) and self._stamps() != self._stamp

    def refresh(self) -> bool:
        """Take up changed files.

        Returns:
            Whether there were any.

        Raises:
            KeyFileError: they are unreadable, unsafe, or do not belong together; those that were
                loaded before stay in use.
        """
        if not self.changed():
            return False
        stamp = self._stamps()
        cert = self._cert
        assert cert is not None  # noqa: S101  there are files
        read_secret(self._key or cert, "TLS key")
        try:
            # A key with a passphrase must fail here, not ask at a terminal.
            self.context.load_cert_chain(
                str(cert), str(self._key) if self._key else None, password=lambda: b""
            )
        except (OSError, ssl.SSLError, ValueError) as error:
            message = f"{cert}: cannot use certificate and key: {type(error).__name__}"
            raise KeyFileError(message) from error
        self._stamp = stamp
        return True

    def _files(self) -> list[Path]:
        return [path for path in (self._cert, self._key) if path is not None]

    def _stamps(self) -> tuple[int, ...]:
        stamps: list[int] = []
        for path in self._files():
            try:
                info = path.stat()
            except OSError:
                stamps += (0, 0)
            else:
                stamps += (info.st_ino, info.st_mtime_ns)
        return tuple(stamps)
