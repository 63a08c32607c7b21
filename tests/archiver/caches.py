"""Compiled code and environments as they are left in the cache, without a compiler and without pip."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path


def make_compiled(root: Path, key: str, *, size: int, used: float | None = None) -> Path:
    """The folder of an entry of this size (bytes), with its fields, seal and lock beside it."""
    folder = root / key
    (folder / "graphs").mkdir(parents=True)
    (folder / "graphs" / "code.so").write_bytes(bytes(size))
    fields = {"torch": ["2.13.0", "f00"], "archive": "a" * 64, "device": ["cpu", ["avx2"]]}
    (root / f"{key}.json").write_text(json.dumps(fields))
    (root / f"{key}.seal.json").write_text("{}")
    (root / f"{key}.lock").touch()
    if used is not None:
        os.utime(root / f"{key}.json", (used, used))
    return folder


def make_environment(
    root: Path, key: str, *, size: int, packages: Sequence[str] = (), used: float | None = None
) -> Path:
    """The folder of a whole environment of this size (bytes), with its seal, log and lock beside it."""
    folder = root / key
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tool").write_bytes(bytes(size))
    (root / f"{key}.json").write_text(json.dumps({"installed": [*packages]}))
    (root / f"{key}.log").write_text("Successfully installed\n")
    (root / f"{key}.lock").touch()
    if used is not None:
        os.utime(root / f"{key}.json", (used, used))
    return folder
