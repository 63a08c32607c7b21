"""The bytes of a zip: headers and directory records, packed and parsed. Pure: bytes in, values out.

Writing follows the strict profile (DESIGN 3): stored members, DOS time 1980-01-01, mode 0644, UTF-8 names, zip64
only where a number does not fit, large members aligned through extra field 0xD935 in their local header.
Reading takes what others write too. Layouts: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from archiver.safety import Header

LOCAL = struct.Struct("<4sHHHHHIIIHH")
CENTRAL = struct.Struct("<4sBBHHHHHIIIHHHHHII")
END = struct.Struct("<4sHHHHIIH")
END64 = struct.Struct("<4sQBBHIIQQQQ")
LOCATOR = struct.Struct("<4sIQI")

LOCAL_SIGNATURE = b"PK\x03\x04"
CENTRAL_SIGNATURE = b"PK\x01\x02"
END_SIGNATURE = b"PK\x05\x06"
END64_SIGNATURE = b"PK\x06\x06"
LOCATOR_SIGNATURE = b"PK\x06\x07"

#: Large members start on a page, so that a memory map and a reflink need no copy.
PAGE = 4096

#: Where the CRC stands in a local header; it is known only after the data.
CRC_OFFSET = 14

ENCRYPTED = 0x0001
DESCRIPTOR = 0x0008
STRONG_ENCRYPTION = 0x0040
UTF8 = 0x0800

UNIX = 3
MACOS = 19

_ZIP64 = 0x0001
_ALIGNMENT = 0xD935
_FULL16 = 0xFFFF
_FULL32 = 0xFFFFFFFF
_DOS_DATE_1980 = 0x0021
_MODE_0644 = 0o100644 << 16
_STORED = 0


class Malformed(ValueError):
    """The bytes are no record of a zip; the text says which one and why."""


@dataclass(frozen=True, slots=True)
class Central:
    """One record of the zip directory. `offset` of the local header; `system` wrote it with `attributes`."""

    header: Header
    offset: int
    system: int
    attributes: int
    length: int


@dataclass(frozen=True, slots=True)
class Local:
    """A local header; `length` bytes long, the data follows."""

    header: Header
    length: int


@dataclass(frozen=True, slots=True)
class End:
    """Where the zip directory is: `count` records in `size` bytes at `offset`, as the file claims."""

    count: int
    size: int
    offset: int


def pack_local(name: str, size: int, offset: int, *, align: int, zip64_from: int = _FULL32) -> bytes:
    """A stored member's local header for `offset`, its CRC left 0. `align` 1 leaves the data where it falls."""
    raw, flags = _encoded(name)
    big = size >= zip64_from
    extra = struct.pack("<HHQQ", _ZIP64, 16, size, size) if big else b""
    extra += _padding(offset + LOCAL.size + len(raw) + len(extra), align)
    claimed = _FULL32 if big else size
    version = 45 if big else 20
    head = (
        LOCAL_SIGNATURE,
        version,
        flags,
        _STORED,
        0,
        _DOS_DATE_1980,
        0,
        claimed,
        claimed,
        len(raw),
        len(extra),
    )
    return LOCAL.pack(*head) + raw + extra


def pack_central(name: str, size: int, crc: int, offset: int, *, zip64_from: int = _FULL32) -> bytes:
    """A stored member's record in the zip directory."""
    raw, flags = _encoded(name)
    wide = [size, size] if size >= zip64_from else []
    wide += [offset] if offset >= zip64_from else []
    extra = struct.pack(f"<HH{len(wide)}Q", _ZIP64, 8 * len(wide), *wide) if wide else b""
    claimed = _FULL32 if size >= zip64_from else size
    place = _FULL32 if offset >= zip64_from else offset
    version = 45 if wide else 20
    head = (
        CENTRAL_SIGNATURE,
        version,
        UNIX,
        version,
        flags,
        _STORED,
        0,
        _DOS_DATE_1980,
        crc,
        claimed,
        claimed,
    )
    return CENTRAL.pack(*head, len(raw), len(extra), 0, 0, 0, _MODE_0644, place) + raw + extra


def pack_end(count: int, size: int, offset: int, *, zip64_from: int = _FULL32) -> bytes:
    """The end of the file: the zip64 records where a number needs them, then the classic one."""
    big = count >= _FULL16 or size >= zip64_from or offset >= zip64_from
    classic = END.pack(END_SIGNATURE, 0, 0, *([_FULL16] * 2), *([_FULL32] * 2), 0)
    if not big:
        return END.pack(END_SIGNATURE, 0, 0, count, count, size, offset, 0)
    wide = END64.pack(END64_SIGNATURE, END64.size - 12, 45, UNIX, 45, 0, 0, count, count, size, offset)
    return wide + LOCATOR.pack(LOCATOR_SIGNATURE, 0, offset + size, 1) + classic


def parse_end(record: bytes) -> tuple[End, int]:
    """The classic end record and the length of the comment behind it. Raises Malformed."""
    if len(record) < END.size:
        raise Malformed("it is cut off")
    _, disk, start, here, count, size, offset, comment = END.unpack(record)
    if disk not in (0, _FULL16) or start not in (0, _FULL16) or here != count:
        raise Malformed("it is one part of a zip split over several files")
    return End(count, size, offset), comment


def settled(end: End, wide: End) -> End:
    """What the classic end record and the zip64 one say together. torch writes both, always. Raises Malformed where
    they differ: readers do not agree on which one counts."""
    pairs = ((end.count, wide.count, _FULL16), (end.size, wide.size, _FULL32), (end.offset, wide.offset, _FULL32))
    if any(narrow not in (full, number) for narrow, number, full in pairs):
        raise Malformed("its two end records differ")
    return wide


def parse_end64(record: bytes) -> End:
    """The zip64 end record."""
    signature, size, _, _, _, disk, start, here, count, length, offset = END64.unpack(record)
    if signature != END64_SIGNATURE or size != END64.size - 12 or disk or start or here != count:
        raise Malformed("its zip64 end record is broken")
    return End(count, length, offset)


def parse_central(data: memoryview) -> Central:
    """The record at the start of `data`. Raises Malformed."""
    if len(data) < CENTRAL.size or bytes(data[:4]) != CENTRAL_SIGNATURE:
        raise Malformed("its directory at the end is broken")
    (
        _,
        _,
        system,
        _,
        flags,
        method,
        _,
        _,
        crc,
        packed,
        size,
        names,
        extras,
        comments,
        disk,
        _,
        attributes,
        place,
    ) = CENTRAL.unpack_from(data)
    length = CENTRAL.size + names + extras + comments
    if len(data) < length or disk not in (0, _FULL16):
        raise Malformed("its directory at the end is broken")
    name = bytes(data[CENTRAL.size : CENTRAL.size + names])
    fields, rest = _fields(bytes(data[CENTRAL.size + names : length - comments]))
    (size, packed, place), unused = _widened(fields, [size, packed, place])
    tags, loose = tuple(tag for tag, _ in fields), _is_loose(fields, rest + unused)
    return Central(Header(name, method, flags, crc, packed, size, tags, loose), place, system, attributes, length)


def parse_local(data: bytes) -> Local:
    """The local header at the start of `data`, which must hold all of it. Raises Malformed."""
    if len(data) < LOCAL.size or data[:4] != LOCAL_SIGNATURE:
        raise Malformed("has no header where the zip directory says")
    _, _, flags, method, _, _, crc, packed, size, names, extras = LOCAL.unpack_from(data)
    length = LOCAL.size + names + extras
    if len(data) < length:
        raise Malformed("is cut off")
    fields, rest = _fields(data[LOCAL.size + names : length])
    (size, packed), unused = _widened(fields, [size, packed])
    name, tags = data[LOCAL.size : LOCAL.size + names], tuple(tag for tag, _ in fields)
    return Local(Header(name, method, flags, crc, packed, size, tags, _is_loose(fields, rest + unused)), length)


def _encoded(name: str) -> tuple[bytes, int]:
    return name.encode(), 0 if name.isascii() else UTF8


def _padding(place: int, align: int) -> bytes:
    if align == 1:
        return b""
    zeros = -(place + 6) % align
    return struct.pack("<HHH", _ALIGNMENT, 2 + zeros, align) + bytes(zeros)


def _fields(extra: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Tag and content of each extra field, and the rest. Fewer than four bytes at the end are padding, as zipalign
    leaves it."""
    fields = []
    at = 0
    while len(extra) - at >= 4:
        tag, length = struct.unpack_from("<HH", extra, at)
        if at + 4 + length > len(extra):
            raise Malformed("has an extra field that is longer than its header")
        fields.append((tag, extra[at + 4 : at + 4 + length]))
        at += 4 + length
    return fields, extra[at:]


def _is_loose(fields: list[tuple[int, bytes]], rest: bytes) -> bool:
    """Whether bytes that say nothing are not as we write them. `rest`: those outside of any field."""
    aligned = [content for tag, content in fields if tag == _ALIGNMENT]
    return bool(rest) or any(content[:2] != PAGE.to_bytes(2, "little") or any(content[2:]) for content in aligned)


def _widened(fields: list[tuple[int, bytes]], numbers: list[int]) -> tuple[list[int], bytes]:
    """The numbers, those that did not fit replaced by those in the zip64 field, which holds just them, in order; and
    what else it holds."""
    wide = next((content for tag, content in fields if tag == _ZIP64), b"")
    widened = []
    for number in numbers:
        if number == _FULL32 and len(wide) >= 8:
            number, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        widened.append(number)
    return widened, wide
