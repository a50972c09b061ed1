"""The wire: deterministic CBOR, COSE_Sign1, chain rules, keys, Merkle hashing."""
