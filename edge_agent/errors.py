"""The exception classes, by who must act.

CarbonError
├── ConfigError          the operator: file, line, key, value, what would be right
│   └── ConfigErrors     all of them at once
├── DeviceError          the acquisition supervisor retries
│   ├── NoAnswer         nothing came in time, or the connection broke
│   ├── BadAnswer        something came that is not an answer to the question
│   └── Refused          the device answered with an error of its own
├── EvidenceError        the gateway quarantines under ``reason``
│   ├── WrongSize, WrongTopic, BadEnvelope, BadHeader, WrongType
│   ├── UnknownKey, WrongAgent, BadSignature, KeyNotValid, RevokedKey, LateKey
│   ├── BadProfile, BadIdentity
│   ├── Replay, Gap, Fork      chain rules
│   └── LogConflict            the gateway's log contradicts what was seen of it
├── KeyFileError         the operator: a key file is unsafe or unreadable
├── SignerUnavailable    the key store does not answer now: measure on, sign later
├── TrustError           the operator: an enrolment, certificate or approval breaks a rule
├── StoreError           retry, never drop
└── CalculationError     factor missing or input out of range: the value is absent and says why
"""

from collections.abc import Sequence


class CarbonError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(CarbonError):
    """A configuration value is wrong; names where and what would be right."""

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, key: str = "", right: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = 0
        self.key = key
        self.right = right

    def at_column(self, column: int) -> "ConfigError":
        """The same error with the column of its key, counted from 1."""
        self.column = column
        return self

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        where += f":{self.column}" if self.line and self.column else ""
        parts = [part for part in (where, self.key, self.message) if part]
        text = ": ".join(parts)
        return f"{text} ({self.right})" if self.right else text


class WrongPart(ValueError):
    """A model's value is wrong in one of its parts; ``key`` is the way from the model to it."""

    def __init__(self, message: str, *key: str | int) -> None:
        super().__init__(message)
        self.key = key


class ConfigErrors(ConfigError):
    """Several things are wrong in one configuration; each stands on a line of its own."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(
            first.message, file=first.file, line=first.line, key=first.key, right=first.right
        )
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


class DeviceError(CarbonError):
    """Talking to a device failed; the supervisor retries."""


class NoAnswer(DeviceError):
    """Nothing came in time, or the connection broke."""


class BadAnswer(DeviceError):
    """Something came that is not an answer to the question."""


class Refused(DeviceError):
    """The device answered with an error of its own."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class EvidenceError(CarbonError):
    """A message is not acceptable as evidence; ``reason`` is its quarantine reason."""

    reason = "evidence"


class WrongSize(EvidenceError):
    """The message is larger than the wire allows."""

    reason = "size"


class WrongTopic(EvidenceError):
    """The topic is not ``carbon/v1/{site}/{agent}/{kind}``."""

    reason = "topic"


class BadEnvelope(EvidenceError):
    """The bytes do not have the one fixed shape of a COSE_Sign1 envelope."""

    reason = "envelope"


class BadHeader(EvidenceError):
    """The protected header is not exactly algorithm, content type and key id."""

    reason = "header"


class WrongType(EvidenceError):
    """The content type is not the one this topic carries."""

    reason = "type"


class UnknownKey(EvidenceError):
    """No enrolled key has this key id."""

    reason = "unknown_key"


class WrongAgent(EvidenceError):
    """The key is enrolled for another site or agent."""

    reason = "wrong_agent"


class BadSignature(EvidenceError):
    """The signature does not verify under the enrolled key."""

    reason = "signature"


class KeyNotValid(EvidenceError):
    """The key is not valid at the batch's last time."""

    reason = "key_time"


class RevokedKey(EvidenceError):
    """The key is revoked, and the batch is after its last good one."""

    reason = "revoked"


class LateKey(EvidenceError):
    """The batch came too long after its key's end; held until an operator releases it."""

    reason = "late_key"


class BadProfile(EvidenceError):
    """The payload is not deterministic CBOR of the allowed profile."""

    reason = "profile"


class BadIdentity(EvidenceError):
    """Site or agent inside the payload differ from the topic or the enrolment."""

    reason = "identity"


class Replay(EvidenceError):
    """The batch is already in the ledger, byte for byte."""

    reason = "replay"


class Gap(EvidenceError):
    """Batches between the chain's head and this one are missing."""

    reason = "gap"


class Fork(EvidenceError):
    """Another batch already stands at this place of the chain."""

    reason = "fork"


class LogConflict(EvidenceError):
    """The log's history contradicts a head of it that was verified before."""

    reason = "log_conflict"


class KeyFileError(CarbonError):
    """A key file is unsafe (rights, owner, link) or unreadable."""


class SignerUnavailable(CarbonError):
    """A key store does not answer now: removed, locked, or its PIN was refused."""


class TrustError(CarbonError):
    """An enrolment, certificate, revocation or approval breaks a rule; names which."""


class StoreError(CarbonError):
    """The store cannot be written or read now; retry, never drop."""


class CalculationError(CarbonError):
    """A factor is missing or an input is out of range; the value is absent and says why."""
