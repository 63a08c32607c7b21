"""What holds for all tests."""

from __future__ import annotations


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are called by their argument: zip and gzip hold the time at which they were made, and workers of one run
    must find the same names."""
    return argname if isinstance(val, bytes) else None
