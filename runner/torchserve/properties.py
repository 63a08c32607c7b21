"""Java's .properties format, as `java.util.Properties.load` reads it (its documentation is the grammar).

Rules of the room
1. Any text is read: the format has no errors but a `\\u` without four hexadecimal digits, which stays as it is.
2. Every property knows its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = " \t\f"
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_KEY = re.compile(r"(?:\\.|[^\\=: \t\f])*", re.DOTALL)
_SEPARATOR = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")


@dataclass(frozen=True, slots=True)
class Property:
    """`line` counts from 1: where the key stands."""

    key: str
    value: str
    line: int


def parse(text: str) -> list[Property]:
    """The properties in the file's order; a key may come twice, the last one holds."""
    return [_property(line, number) for number, line in _logical_lines(text)]


def dump(properties: dict[str, str]) -> str:
    """A file that `parse` reads back."""
    return "".join(f"{_escaped(key, key=True)}={_escaped(value)}\n" for key, value in properties.items())


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, blanks in front and continuations, with the number of the first one."""
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    for number, line in lines:
        line = line.lstrip(_BLANK)
        if not line or line[0] in "#!":
            continue
        while _goes_on(line):
            _, more = next(lines, (0, ""))
            line = line[:-1] + more.lstrip(_BLANK)
        yield number, line


def _goes_on(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _property(line: str, number: int) -> Property:
    key = _matched(_KEY, line, 0)
    separator = _matched(_SEPARATOR, line, len(key))
    return Property(_plain(key), _plain(line[len(key) + len(separator) :]), number)


def _matched(pattern: re.Pattern[str], line: str, start: int) -> str:
    found = pattern.match(line, start)
    return found.group() if found else ""


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: _meant(found.group(1)), text)


def _meant(escape: str) -> str:
    if len(escape) == 5:
        return chr(int(escape[1:], 16))
    return _LETTERS.get(escape, escape)


def _escaped(text: str, *, key: bool = False) -> str:
    marks = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
    if key:
        marks |= {mark: f"\\{mark}" for mark in " =:#!"}
    plain = "".join(marks.get(character, character) for character in text)
    return plain if key or not plain.startswith(" ") else f"\\{plain}"
