"""Which bytes are pickles. A file's name does not count against it: any file can be given to an unpickler.

Strategy: walk the file's first instructions. Tensors and text stop being instructions within a few bytes. What begins
with the mark of a protocol, or has the name of a pickle, counts as soon as it names a global; anything else counts
when it calls one, or ends as a pickle does. What follows a pickle may be the next one, as in torch's files before
1.6.
"""

from __future__ import annotations

from typing import Protocol

from archiver.containers.source import Extent
from archiver.scan.machine import Gate, Pickle, follow

_SUFFIXES = frozenset(
    (
        ".pkl",
        ".pickle",
        ".pck",
        ".p",
        ".pt",
        ".pth",
        ".ckpt",
        ".joblib",
        ".dill",
        ".cloudpickle",
        ".sav",
        ".debug_pkl",
    )
)
_NEWEST_PROTOCOL = 5


class Purse(Protocol):
    """Where instructions are paid from."""

    instructions: int


def pickles(extent: Extent, start: int, suffix: str, purse: Purse, allows: Gate) -> list[Pickle]:
    """The pickles that lie one after the other from `start`; none for what is no pickle. Raises TooLong."""
    found: list[Pickle] = []
    named = suffix in _SUFFIXES
    while start < extent.length:
        one = follow(extent, start, purse.instructions, allows)
        purse.instructions -= one.spent
        if not _counts(one, named or _is_headed(extent, start)):
            break
        found.append(one)
        if not one.whole:
            break
        start = one.end
    return found if named or found and (_is_headed(extent, 0) or any(map(_does_something, found))) else []


def _counts(one: Pickle, marked: bool) -> bool:
    if one.whole:
        return True
    return bool(one.globals) or one.acts if marked else one.acts and _importable(one)


def _does_something(one: Pickle) -> bool:
    return one.acts or (bool(one.globals) and _importable(one)) or bool(one.refused and not one.globals)


def _importable(one: Pickle) -> bool:
    """Whether the names it has could be modules at all: the lines of a text could not."""
    return all(all(part.isidentifier() for part in name.split(".")) for name in one.globals)


def _is_headed(extent: Extent, start: int) -> bool:
    head = extent.read(start, 2)
    return len(head) == 2 and head[0] == 0x80 and head[1] <= _NEWEST_PROTOCOL
