"""Which bytes are pickles. A file's name does not count against it: any file can be given to an unpickler.

Strategy: walk the file's first instructions. Tensors and text stop being instructions within a few bytes. What begins
with the mark of a protocol counts as soon as it imports something; anything else counts when it calls that, too, or
ends as a pickle does. What follows a pickle may be the next one, as in torch's files before 1.6.
"""

from __future__ import annotations

from typing import Protocol

from archiver.containers.source import Extent
from archiver.scan.instructions import Reader
from archiver.scan.machine import Gate, Pickle, TooLong, follow

_SUFFIXES = (".pkl", ".pickle", ".pck", ".p", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".sav", ".debug_pkl")
_NEWEST_PROTOCOL = 5
#: Pickles one behind the other; torch's old files have five.
_MOST = 10_000


class Purse(Protocol):
    """Where instructions are paid from."""

    instructions: int


def pickles(extent: Extent, start: int, suffix: str, purse: Purse, allows: Gate) -> list[Pickle]:
    """The pickles that lie one after the other from `start`; none for what is no pickle. Raises TooLong."""
    found: list[Pickle] = []
    named = suffix in _SUFFIXES
    headed = named or _is_headed(extent, start)
    reader = Reader(extent, start)
    while reader.at < extent.length:
        if len(found) >= _MOST:
            raise TooLong
        start = reader.at
        one = _followed(reader, purse, allows)
        if not (one.whole or (named and (one.globals or one.acts)) or _is_harmful(one, _is_headed(extent, start))):
            break
        found.append(one)
        if not one.whole:
            break
    return found if headed or any(_is_harmful(one, one.whole) for one in found) else []


def _followed(reader: Reader, purse: Purse, allows: Gate) -> Pickle:
    most, purse.instructions = purse.instructions, 0  # what takes too long has spent it all
    one = follow(reader, most, allows)
    purse.instructions = most - one.spent
    return one


def _is_harmful(one: Pickle, headed: bool) -> bool:
    """Whether unpickling gets to an import: it ends at the first that fails, as that of a line of text would."""
    if one.globals:
        return (headed or one.acts) and _is_importable(one.globals[0])
    return one.acts and one.whole and bool(one.refused)


def _is_importable(name: str) -> bool:
    return name.isprintable() and not set(" \\").intersection(name)


def _is_headed(extent: Extent, start: int) -> bool:
    head = extent.read(start, 2)
    return len(head) == 2 and head[0] == 0x80 and head[1] <= _NEWEST_PROTOCOL
