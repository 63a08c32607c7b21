"""Bytes → the instructions of a pickle, one at a time, with a bound on what is kept of each. Nothing is decoded.

The table of instructions is the standard library's; its reader (`pickletools.genops`) is not used: it decodes module
names otherwise than the unpickler does, and reads arguments of any length.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator

from archiver.containers.source import Extent

#: Of longer arguments the beginning is kept, one byte more than this: no name on torch's list is so long.
LONGEST = 512

_CHUNK = 1 << 16
_LINE = pickletools.UP_TO_NEWLINE
#: pickletools' mark of an argument that begins with its length → bytes of that length.
_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_TWO_LINES = frozenset({"GLOBAL", "INST"})
#: Instruction's byte → its name and what follows it.
_TABLE = {ord(each.code): (each.name, each.arg.n if each.arg else 0) for each in pickletools.opcodes}

#: Name and raw argument of an instruction, b"" where there is none.
Instruction = tuple[str, bytes]


class Broken(Exception):
    """From here on it is no pickle."""


class Reader:
    """Reads an extent from front to back."""

    def __init__(self, extent: Extent, start: int) -> None:
        self._extent = extent
        self._buffer = b""
        self._next = 0
        self._base = start
        #: Bytes of the last argument without a fixed length, also of those that were not kept.
        self.counted = 0

    @property
    def at(self) -> int:
        """Offset of the next byte."""
        return self._base + self._next

    def take(self, count: int) -> bytes:
        """So many bytes. Raises Broken at the end."""
        end = self._next + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        data = self._buffer[self._next : end]
        self._next = end
        return data

    def skip(self, count: int) -> None:
        """Pass over so many bytes. Raises Broken at the end."""
        if self.at + count > self._extent.length:
            raise Broken
        self._base, self._buffer, self._next = self.at + count, b"", 0

    def line(self) -> bytes:
        """Up to the next line feed, its beginning if it is long, and past it. Raises Broken where there is none."""
        kept, start = b"", self.at
        while (end := self._buffer.find(b"\n", self._next)) < 0:
            kept = (kept + self._buffer[self._next :])[: LONGEST + 1]
            self._next = len(self._buffer)
            self._fill(1)
        kept += self._buffer[self._next : end]
        self._next = end + 1
        self.counted = self.at - start
        return kept[: LONGEST + 1]

    def _fill(self, count: int) -> None:
        """At least so many bytes in the buffer, which begins with the next one."""
        self._base, self._next = self.at, 0
        self._buffer = self._extent.read(self._base, max(count, _CHUNK))
        if len(self._buffer) < count:
            raise Broken


def instructions(reader: Reader) -> Iterator[Instruction]:
    """The instructions up to STOP. Raises Broken where the bytes are none, or end."""
    name = ""
    while name != "STOP":
        name, argument = _TABLE.get(reader.take(1)[0], ("", 0))
        if not name:
            raise Broken
        yield name, _argument(reader, name, argument) if argument else b""


def _argument(reader: Reader, name: str, kind: int) -> bytes:
    if kind > 0:
        return reader.take(kind)
    if kind == _LINE:
        # A line feed can be in neither of the two.
        return b"\n".join([reader.line(), reader.line()]) if name in _TWO_LINES else reader.line()
    reader.counted = count = int.from_bytes(reader.take(_COUNTED[kind]), "little")
    kept = reader.take(min(count, LONGEST + 1))
    if count > len(kept):
        reader.skip(count - len(kept))
    return kept
