"""Sizes as people write them on a command line."""

from __future__ import annotations

import re

from archiver.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def bytes_of(text: str, example: str) -> int:
    """500MB, 20GB, 1.5TB (powers of 1000). Raises UsageError, with `example` as its hint."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no size", hint=f"write it like {example}")
    return int(float(match[1]) * _UNITS[match[2]])
