"""A zip writer that does what no decent one would: every field of every header can be set."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Raw:
    """One entry. `local` overrides fields of its local header only; `before` bytes stand before it."""

    name: str | bytes
    data: bytes = b"x"
    method: int = 0
    flags: int = 0
    mode: int = 0o100644
    extra: bytes = b""
    local: dict[str, int | bytes] = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""
    listed: bool = True
    offset: int | None = None
    size: int | None = None

    @property
    def raw_name(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    def packed(self) -> bytes:
        if self.method != 8:
            return self.data
        engine = zlib.compressobj(9, zlib.DEFLATED, -15)
        return engine.compress(self.data) + engine.flush()

    def facts(self) -> dict[str, int | bytes]:
        size = len(self.data) if self.size is None else self.size
        packed = len(self.packed())
        return {
            "name": self.raw_name,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.data),
            "packed": packed,
            "size": size,
            "extra": self.extra,
        }


def write_zip(path: Path, entries: list[Raw], *, prefix: bytes = b"", comment: bytes = b"") -> Path:
    """Write the entries as they are, however wrong."""
    body, directory, count = prefix, b"", 0
    for entry in entries:
        body += entry.before
        offset = len(body) if entry.offset is None else entry.offset
        if entry.offset is None:
            body += _local({**entry.facts(), **entry.local}) + entry.packed() + entry.after
        if entry.listed:
            directory += _central(entry.facts(), entry.mode, offset)
            count += 1
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), len(comment))
    path.write_bytes(body + directory + end + comment)
    return path


def _local(facts: dict) -> bytes:
    head = (b"PK\3\4", 20, facts["flags"], facts["method"], 0, 33, facts["crc"], facts["packed"], facts["size"])
    lengths = (len(facts["name"]), len(facts["extra"]))
    return struct.pack("<4sHHHHHIIIHH", *head, *lengths) + facts["name"] + facts["extra"]


def _central(facts: dict, mode: int, offset: int) -> bytes:
    head = (b"PK\1\2", 20, 3, 20, facts["flags"], facts["method"], 0, 33)
    sizes = (facts["crc"], facts["packed"], facts["size"], len(facts["name"]), len(facts["extra"]), 0, 0, 0)
    packed = struct.pack("<4sBBHHHHHIIIHHHHHII", *head, *sizes, mode << 16, offset)
    return packed + facts["name"] + facts["extra"]
