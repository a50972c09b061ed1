"""Keys: stores that sign, public keys that verify, and enrolments that say who may.

public  algorithms, public keys, what is refused
files   private keys in files of their owner only
hsm     private keys in a PKCS#11 token
ring    which key speaks for which agent, when, and for which batches

``kid`` is the SHA-256 of the DER SubjectPublicKeyInfo: stable over certificate renewal. The
algorithm follows the enrolled key, never the message. Ed25519 is the default; ES256 is the one
alternative, because TPM 2.0 chips in the field do not sign with Ed25519.
"""

from edge_agent.wire.keys.files import FileSigner, create_signer, load_signer, read_secret
from edge_agent.wire.keys.public import (
    ED25519,
    ES256,
    PublicKey,
    Signer,
    algorithm_of,
    key_id,
    public_key,
)
from edge_agent.wire.keys.ring import Enrolment, KeyRing, check_place, check_time

__all__ = [
    "ED25519",
    "ES256",
    "Enrolment",
    "FileSigner",
    "KeyRing",
    "PublicKey",
    "Signer",
    "algorithm_of",
    "check_place",
    "check_time",
    "create_signer",
    "key_id",
    "load_signer",
    "public_key",
    "read_secret",
]
