"""Which certificates the agent's connections rest on, and which of them end soon."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.config import AgentConfig
from edge_agent.later import Later

log = logging.getLogger(__name__)
_FILE_WARNING = Later("edge_agent.wire.certificates", "file_warning")


def files_of(config: AgentConfig) -> dict[str, Path]:
    """Certificate files by the place in the configuration that names them."""
    found: dict[str, Path] = {}
    tls = config.mqtt.tls
    if tls is not None:
        found["mqtt.tls.ca"] = tls.ca
        if tls.cert is not None:
            found["mqtt.tls.cert"] = tls.cert
    for device in config.devices:
        if device.enabled:
            for path in device.certificate_files():
                found[f"device {device.id} {path.name}"] = path
    return found


@dataclass(slots=True)
class Watch:
    """Says 30, 7 and 1 days before a certificate's end that it comes, once each."""

    files: dict[str, Path]
    _told: dict[str, str] = field(default_factory=dict)

    def warnings(self, now_ns: int) -> str:
        """All that is to be said now [ns UTC], empty when nothing is. Reads files: blocking."""
        found = {
            name: said for name, path in self.files.items() if (said := _FILE_WARNING(path, now_ns))
        }
        for name, said in found.items():
            if self._told.get(name) != said:
                log.warning("certificate_warning what=%s %s file=%s", name, said, self.files[name])
        self._told = found
        return "; ".join(f"{name} {said}" for name, said in found.items())
