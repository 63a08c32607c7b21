"""MANIFEST.json: read, written, and read again it says the same."""

from __future__ import annotations

from dataclasses import replace

from archiver import manifest
from archiver.errors import ArchiveError


def one(data: bytes) -> None:
    try:
        found = manifest.parse(data, "fuzz.mar")
    except ArchiveError as error:
        assert str(error)
        return
    found.roles()
    found.content()
    again = manifest.parse(found.to_bytes(), "fuzz.mar")
    assert replace(again, raw={}) == replace(found, raw={})
