"""YAML text → plain values + the position of every key and value. The one place that reads YAML.

Rules of this room:
1. YAML 1.2's core types: only true and false are booleans, nothing is a date, base 60 or octal. TorchServe reads
   YAML 1.1; every scalar that the two read differently is a finding.
2. Nothing raises: whatever is wrong with the text is a finding, and `values` holds what could be read.
3. Bounded: depth, number of values and size, so that a few lines of aliases cannot grow into gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from archiver.config.findings import Finding, Severity, Where

Path = tuple[Any, ...]

#: Code → what it means; `docs/codes.md` is made from it.
CODES = {
    "yaml/syntax": "The text is not YAML.",
    "yaml/tab": "A tab indents a line; YAML allows spaces only.",
    "yaml/not-utf8": "The file is not UTF-8 text.",
    "yaml/empty": "The file holds nothing. TorchServe crashes on such a config.",
    "yaml/not-a-mapping": "The file holds a list or a single value instead of keys with values.",
    "yaml/duplicate-key": "A key is written twice in one mapping; most readers silently keep the last.",
    "yaml/complex-key": "A mapping or a list is used as a key.",
    "yaml/boolean-word": "yes, no, on or off: text here, a boolean for TorchServe's YAML 1.1. Write true or false.",
    "yaml/leading-zero": "A number with a leading zero: YAML 1.1 reads it as octal or as text.",
    "yaml/base-60": "Digits with colons: YAML 1.1 reads 1:30 as the number 90.",
    "yaml/date": "A date: YAML 1.1 turns it into a date object, which handlers rarely expect.",
    "yaml/exponent": "A number like 1e-3: YAML 1.1 reads it as text unless it has a dot and a sign.",
    "yaml/underscore": "Digits with underscores: text here, a number for YAML 1.1.",
    "yaml/anchor": "Anchors, aliases and merge keys are expanded; other tools may show or edit them differently.",
    "yaml/tag": "An explicit type tag that is not one of YAML's core types, or that the value does not fit.",
    "yaml/too-large": "Deeper, longer or bigger than a config can sensibly be.",
}

#: Characters of text, or bytes.
MAX_SIZE = 1_000_000
MAX_VALUES = 10_000
MAX_DEPTH = 64
_MAX_DIGITS = 100

_PREFIX = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(?:[0-9]+|0x[0-9a-fA-F]+)\Z")
_NUMBER = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOLEAN_WORD = re.compile(r"(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)\Z")

#: What YAML 1.1 and 1.2 read differently, as plain scalars.
_TRAPS = (
    ("yaml/boolean-word", _BOOLEAN_WORD),
    ("yaml/leading-zero", re.compile(r"[-+]?0[0-9]+\Z")),
    ("yaml/base-60", re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?\Z")),
    ("yaml/date", re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?\Z")),
    ("yaml/exponent", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+\Z")),
    ("yaml/underscore", re.compile(r"[-+]?[0-9]+(?:_[0-9]+)+(?:\.[0-9_]*)?\Z")),
)

#: PyYAML's sentence → ours, with a hint.
_SYNTAX = (
    ("mapping values are not allowed", "a second `:` here, or the lines above are indented differently",
     'quote a value that contains `: `, e.g. `title: "a: b"`'),
    ("could not find expected ':'", "this line has no `:` after its key", None),
    ("but found '<block mapping start>'", "this line is indented deeper than its neighbours", None),
    ("expected <block end>", "this does not fit the lines above: check the indentation", None),
    ("found unexpected end of stream", "a quote that is opened is never closed", None),
    ("but got '<stream end>'", "a bracket that is opened is never closed", None),
    ("expected ',' or", "a comma or a closing bracket is missing before this", None),
    ("found undefined alias", "an alias `*name` without an anchor `&name` before it", None),
    ("found another document", "a second document begins here", "keep one document: remove the `---` line"),
    ("cannot start any token", "a character that cannot begin a value", "quote the value"),
    ("special characters are not allowed", "a control character", "remove it, or escape it in double quotes"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spot:
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key and its value stand. `written` is a scalar as the user typed it; `plain` means without quotes."""

    key: Spot
    value: Spot
    written: str | None
    plain: bool


@dataclass(frozen=True)
class Source:
    """A file as read: plain values, what was wrong with the YAML, and the place of every value.

    A path is a tuple of keys and list indexes: `("pt2", "compile", "mode")`, `("deviceIds", 0)`.
    """

    file: str
    values: dict[Any, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    places: Mapping[Path, Place] = field(default_factory=dict)

    def where(self, path: Path, *, key: bool = False) -> Where:
        """Place of a value, or of its key. For a path that is not in the file: the key of the nearest ancestor."""
        known = path
        while known and known not in self.places:
            known = known[:-1]
        place = self.places.get(known)
        if place is None:
            return Where(self.file, path=dotted(path))
        spot = place.key if key or known != path else place.value
        return Where(self.file, spot.line, spot.column, dotted(path))

    def written(self, path: Path) -> str | None:
        """A scalar as the user typed it, without quotes; None for mappings and lists."""
        place = self.places.get(path)
        return place.written if place else None

    def is_boolean_word(self, path: Path) -> bool:
        """Whether the value is an unquoted yes, no, on or off."""
        place = self.places.get(path)
        return place is not None and place.plain and _BOOLEAN_WORD.match(place.written or "-") is not None


def dotted(path: Path) -> str:
    """`("pt2", "buckets", 0)` → `pt2.buckets[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read_source(text: str | bytes, file: str) -> Source:
    """Read YAML. Never raises on bad input: see `Source.findings`."""
    if len(text) > MAX_SIZE:
        message = f"the file is longer than {MAX_SIZE:,} bytes; a config never is"
        return Source(file, findings=[Finding("yaml/too-large", Severity.ERROR, Where(file, 1, 1), message)])
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            return Source(file, findings=[_not_utf8(error, file)])
    # Every editor's "UTF-8 with BOM" is UTF-8 with a mark that belongs to no line.
    return _Reading(text.removeprefix("\ufeff"), file).source()


class _Stop(Exception):
    """Reading ends here, with this finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class _Composer(yaml.SafeLoader):
    """PyYAML up to the node tree, with 1.2's scalar types; notes the first anchor and stops at great depth."""

    yaml_implicit_resolvers = {}  # PyYAML's table of 1.1 types, emptied

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.nodes = 0
        self.first_anchor: yaml.Mark | None = None

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML
        if getattr(event, "anchor", None) is not None and self.first_anchor is None:
            self.first_anchor = event.start_mark
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="too deep", problem_mark=event.start_mark)
        self.nodes += 1
        if self.nodes > 2 * MAX_VALUES:  # keys are nodes as well
            raise yaml.MarkedYAMLError(problem="too many", problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _regexp in (("bool", _BOOLEAN), ("int", _WHOLE), ("float", _NUMBER), ("null", _NULL)):
    _Composer.add_implicit_resolver(_PREFIX + _tag, _regexp, None)


class _Reading:
    """One reading of one text."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.findings: list[Finding] = []
        self.places: dict[Path, Place] = {}
        self.count = 0
        self.merging = 0
        self.lines = _line_lengths(text)

    def source(self) -> Source:
        values: dict[Any, Any] = {}
        try:
            node = self._compose()
            values = self._top(node)
        except _Stop as stop:
            self.findings.append(stop.finding)
        return Source(self.file, values, self.findings, self.places)

    def _compose(self) -> Node | None:
        try:
            composer = _Composer(self.text)
            node: Node | None = composer.get_single_node()
        except yaml.reader.ReaderError as error:
            raise _Stop(self._syntax(str(error.reason), self._at_index(error.position))) from error
        except yaml.MarkedYAMLError as error:
            raise _Stop(self._marked(error)) from error
        except (ValueError, OverflowError) as error:
            # PyYAML lets int() and chr() speak for escapes and directives that are out of range.
            raise _Stop(self._syntax("an escape or directive that is out of range", Spot(1, 1))) from error
        if composer.first_anchor is not None:
            self._note_anchor(composer.first_anchor)
        return node

    def _top(self, node: Node | None) -> dict[Any, Any]:
        if node is None or (isinstance(node, ScalarNode) and _NULL.match(node.value)):
            self._stop(
                "yaml/empty", Spot(1, 1), "the file is empty; TorchServe crashes on an empty config",
                "write a first key, e.g. `batchSize: 8`, or leave the config out",
            )  # fmt: skip
        if not isinstance(node, MappingNode):
            what = "a list" if isinstance(node, SequenceNode) else "a single value"
            message = f"the file must be a mapping of keys to values, not {what}"
            self._stop("yaml/not-a-mapping", self._spot(node.start_mark), message, "write `key: value` lines")
        self.places[()] = Place(self._spot(node.start_mark), self._spot(node.start_mark), None, False)
        return self._mapping(node, ())

    def _value(self, node: Node, path: Path, key: Spot) -> Any:
        spot = self._spot(node.start_mark)
        self._spend(len(path), spot)
        if isinstance(node, ScalarNode):
            return self._scalar_value(node, path, key)
        self.places[path] = Place(key, spot, None, False)
        if isinstance(node, MappingNode):
            self._core_tag(node, "map", path)
            return self._mapping(node, path)
        self._core_tag(node, "seq", path)
        return [self._value(item, (*path, i), self._spot(item.start_mark)) for i, item in enumerate(node.value)]

    def _scalar_value(self, node: ScalarNode, path: Path, key: Spot) -> Any:
        self.places[path] = Place(key, self._spot(node.start_mark), node.value, node.style is None)
        value = self._scalar(node, path)
        if node.style is None:
            self._trap(node.value, value, path)
        return value

    def _mapping(self, node: MappingNode, path: Path) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        merges = [value for key, value in node.value if _is_merge(key)]
        for merge in reversed(merges):
            # Nearer wins: first what is merged, then over it what the mapping says itself.
            for source in reversed(merge.value) if isinstance(merge, SequenceNode) else [merge]:
                result.update(self._merged(source, path))
        own: set[Any] = set()
        for key_node, value_node in node.value:
            if not _is_merge(key_node):
                self._pair(result, own, key_node, value_node, path)
        return result

    def _merged(self, source: Node, path: Path) -> dict[Any, Any]:
        spot = self._spot(source.start_mark)
        self._spend(len(path) + 1, spot)
        if isinstance(source, MappingNode):
            self.merging += 1
            if self.merging > MAX_DEPTH:
                self._stop("yaml/too-large", spot, "a mapping merges itself")
            merged = self._mapping(source, path)
            self.merging -= 1
            return merged
        self._find("yaml/anchor", spot, dotted(path), "`<<` merges mappings only")
        return {}

    def _pair(
        self, result: dict[Any, Any], own: set[Any], key_node: Node, value_node: Node, path: Path
    ) -> None:  # fmt: skip
        spot = self._spot(key_node.start_mark)
        if not isinstance(key_node, ScalarNode):
            self._find("yaml/complex-key", spot, dotted(path), "a key must be plain text, not a mapping or a list")
            return
        key = self._key(key_node, path)
        inner = (*path, key)
        if key in own:
            first = self.places[inner].key.line
            message = f"{dotted(inner)} is written twice; the first is on line {first}"
            self._find("yaml/duplicate-key", spot, dotted(inner), message, "remove one of them")
        own.add(key)
        result[key] = self._value(value_node, inner, spot)

    def _key(self, node: ScalarNode, path: Path) -> Any:
        key = self._scalar(node, path)
        if isinstance(key, float) and key != key:
            key = node.value  # a key that differs from itself could never be found again
        if node.style is None and _BOOLEAN_WORD.match(node.value):
            message = f"the key `{node.value}` is text here, but TorchServe's YAML 1.1 reads it as true or false"
            hint = f'quote it: `"{node.value}":`'
            where = dotted((*path, key))
            self._find("yaml/boolean-word", self._spot(node.start_mark), where, message, hint, Severity.WARNING)
        return key

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        construct = _CONSTRUCT.get(node.tag)
        try:
            if construct is None:
                raise ValueError(node.tag)
            return construct(node.value)
        except ValueError:
            tag = node.tag.replace(_PREFIX, "!!")
            message = f"the tag `{tag}` does not fit {_shown(node.value)}"
            self._find("yaml/tag", self._spot(node.start_mark), dotted(path), message, "leave the tag out")
            return node.value

    def _core_tag(self, node: Node, name: str, path: Path) -> None:
        if node.tag != _PREFIX + name:
            tag = node.tag.replace(_PREFIX, "!!")
            message = f"the tag `{tag}` is none of YAML's core types"
            self._find("yaml/tag", self._spot(node.start_mark), dotted(path), message, "leave the tag out")

    def _trap(self, written: str, value: Any, path: Path) -> None:
        code = next((code for code, pattern in _TRAPS if pattern.match(written)), None)
        if code is None:
            return
        there = _read_as_1_1(written)
        if type(there) is type(value) and there == value:
            return
        message = f"`{written}` is {_shown(value)} here, but {_shown(there)} for TorchServe, which reads YAML 1.1"
        spot = self.places[path].value
        self._find(code, spot, dotted(path), message, _way_out(code, written, value), Severity.WARNING)

    def _note_anchor(self, mark: yaml.Mark) -> None:
        message = "anchors and aliases are expanded when the file is read"
        self._find("yaml/anchor", self._spot(mark), "", message, severity=Severity.NOTE)

    def _spend(self, depth: int, spot: Spot) -> None:
        self.count += 1
        if depth > MAX_DEPTH:
            self._stop("yaml/too-large", spot, f"values are nested more than {MAX_DEPTH} deep")
        if self.count > MAX_VALUES:
            self._stop("yaml/too-large", spot, f"more than {MAX_VALUES:,} values, counting aliases each time")

    def _marked(self, error: yaml.MarkedYAMLError) -> Finding:
        mark = error.problem_mark or error.context_mark
        spot = self._spot(mark) if mark else Spot(1, 1)
        if error.problem == "too many":
            return self._finding("yaml/too-large", spot, "", f"more than {MAX_VALUES:,} values")
        if error.problem == "too deep":
            return self._finding("yaml/too-large", spot, "", f"values are nested more than {MAX_DEPTH} deep")
        if mark and self._tab_indents(spot.line):
            message = "a tab indents this line; YAML allows spaces only"
            return self._finding("yaml/tab", spot, "", message, "replace each tab by two spaces")
        return self._syntax(error.problem or error.context or "not valid YAML", spot)

    def _tab_indents(self, line: int) -> bool:
        text = _BREAK.split(self.text)[line - 1]
        return "\t" in text[: len(text) - len(text.lstrip())]

    def _syntax(self, problem: str, spot: Spot) -> Finding:
        for fragment, message, hint in _SYNTAX:
            if fragment in problem:
                return self._finding("yaml/syntax", spot, "", message, hint)
        return self._finding("yaml/syntax", spot, "", problem)

    def _spot(self, mark: yaml.Mark) -> Spot:
        """From PyYAML's mark; the end of the text belongs to its last line."""
        line = min(mark.line, len(self.lines) - 1)
        column = mark.column if mark.line == line else self.lines[line]
        return Spot(line + 1, column + 1)

    def _at_index(self, index: int) -> Spot:
        lines = _BREAK.split(self.text[:index])
        return Spot(len(lines), len(lines[-1]) + 1)

    def _finding(
        self, code: str, spot: Spot, path: str, message: str, hint: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> Finding:  # fmt: skip
        return Finding(code, severity, Where(self.file, spot.line, spot.column, path), message, hint)

    def _find(
        self, code: str, spot: Spot, path: str, message: str, hint: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> None:  # fmt: skip
        self.findings.append(self._finding(code, spot, path, message, hint, severity))

    def _stop(self, code: str, spot: Spot, message: str, hint: str | None = None) -> NoReturn:
        raise _Stop(self._finding(code, spot, "", message, hint))


#: The line breaks that PyYAML counts.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


def _line_lengths(text: str) -> list[int]:
    """Of every line that has text in it or is followed by one."""
    lengths = [len(line) for line in _BREAK.split(text)]
    return lengths[:-1] if len(lengths) > 1 and lengths[-1] == 0 else lengths


def _is_merge(key: Node) -> bool:
    return isinstance(key, ScalarNode) and key.style is None and key.value == "<<"


def _whole(text: str) -> int | str:
    if not _WHOLE.match(text):
        raise ValueError(text)
    digits = text.lstrip("+-")
    # Beyond what a machine word, JSON or msgpack can carry it is a name made of digits, not a count.
    if len(digits) > _MAX_DIGITS or abs(int(digits, 16 if digits[:2] == "0x" else 10)) >= 2**63:
        return text
    return int(text, 16 if digits[:2] == "0x" else 10)


def _number(text: str) -> float:
    if not _NUMBER.match(text) and not _WHOLE.match(text):
        raise ValueError(text)
    return float(
        text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf").lower().replace(".nan", "nan")
    )


def _boolean(text: str) -> bool:
    if not _BOOLEAN.match(text):
        raise ValueError(text)
    return text.lower() == "true"


def _null(text: str) -> None:
    if not _NULL.match(text):
        raise ValueError(text)


_CONSTRUCT: Mapping[str, Callable[[str], Any]] = {
    _PREFIX + "str": str,
    _PREFIX + "int": _whole,
    _PREFIX + "float": _number,
    _PREFIX + "bool": _boolean,
    _PREFIX + "null": _null,
}


def _read_as_1_1(written: str) -> Any:
    """The value that a YAML 1.1 reader makes of a plain scalar; the text itself where it refuses."""
    try:
        return yaml.safe_load(written)
    except (yaml.YAMLError, ValueError):
        return written


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'the text "{value}"'
    if isinstance(value, (int, float)):
        return str(value)
    return f"the date {value}"


def _way_out(code: str, written: str, value: Any) -> str:
    """What both versions of YAML read the same way."""
    if code == "yaml/boolean-word":
        word = "true" if written.lower() in {"yes", "on"} else "false"
        return f'write `{word}`, or `"{written}"` for the text'
    if code in {"yaml/leading-zero", "yaml/exponent"}:
        return f'write `{value}`, or `"{written}"` for the text'
    if code == "yaml/underscore":
        return f"write `{written.replace('_', '')}`"
    return f'quote it: `"{written}"`'


def _not_utf8(error: UnicodeDecodeError, file: str) -> Finding:
    data = error.object
    before = data[: error.start].decode("utf-8").split("\n")
    where = Where(file, len(before), len(before[-1]) + 1)
    message = f"the file is not UTF-8: byte 0x{data[error.start]:02x} is not part of any character"
    return Finding("yaml/not-utf8", Severity.ERROR, where, message, "save the file as UTF-8")
