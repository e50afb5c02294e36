"""Random streams by name: what is drawn depends on the name alone, never on what was drawn before."""

import hashlib

import numpy as np


def stream(*name: str | int) -> np.random.Generator:
    """Return the random stream of a name, the same on every machine and in every process."""
    digest = hashlib.blake2b("\0".join(str(part) for part in name).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
