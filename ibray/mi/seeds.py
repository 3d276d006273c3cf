"""Seeds by name, so that one more subset or quantity leaves the random numbers of the others alone."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *names: str) -> int:
    """A 63-bit seed that depends on `seed` and the names only; the same on every machine."""
    text = "\0".join((str(int(seed)), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by `derive_seed`; the global random state is not touched."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))
