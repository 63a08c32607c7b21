"""Zip archives. What we read and verify, Python's own reader reads the same: two readers that differ are how a
scanner is shown one thing and a server runs another."""

from __future__ import annotations

import io
import zipfile

from tests.fuzz.targets.opened import read_all


def one(data: bytes) -> None:
    ours = read_all(data)
    if ours is not None:
        theirs = _standard_reader(data)
        assert theirs is None or theirs == ours, "two readers see different archives"


def _standard_reader(data: bytes) -> dict[str, bytes] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError, RuntimeError):
        return None  # it takes less than we do: no difference that could be used
