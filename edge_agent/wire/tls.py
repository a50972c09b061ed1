"""TLS towards the broker: its CA pinned, a client certificate of ours, renewed without a restart.

Nothing but the given CA is trusted, not the machine's list. The key file must be its owner's
alone. How renewed files are taken up stands in ``edge_agent.tls_files``.
"""

from pathlib import Path

from edge_agent.tls_files import TlsFiles
from edge_agent.wire.keys import read_secret


class TlsClient(TlsFiles):
    """A context that follows its files, with a key that nobody else can read."""

    def __init__(self, ca: Path, cert: Path | None = None, key: Path | None = None) -> None:
        super().__init__(ca, cert, key, lambda path: read_secret(path, "TLS key"))
