"""The instructions of a pickle, walked over with stand-ins instead of objects: what would be imported and called.

Strategy: an unpickler is a machine with a stack and a memo, and what it calls depends on what lies there. So the
machine is followed step by step, but a stand-in knows only what kind of thing it is, and of a text what it says:
names of modules come out of memo and stack in newer protocols. Nothing is looked up, nothing is called.

What torch's `weights_only` unpickler refuses is refused here: a global that is not on its list, a call of anything
that is no global, a state set on anything but what the list builds, items put into anything but lists and
mappings, objects asked of the loader that are no storages.
"""

from __future__ import annotations

import codecs
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from archiver.scan.allowed import INSTRUCTIONS, is_allowed
from archiver.scan.instructions import LONGEST, Broken, Reader, instructions

_DEEPEST_STACK = 1_000_000
_LARGEST_MEMO = 2_000_000
_MOST_NAMED = 200
_LONGEST_SHOWN = 160

#: Whether a global, "module.name", may be called.
Gate = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What torch's list refuses. `module` and `name` are "" where it is no import; `why` is a sentence's end."""

    module: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.why


class Held(NamedTuple):
    """Bytes that a pickle holds as a value: `start` and `length` in the file; `encoding`: of each, as a letter."""

    start: int
    length: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Pickle:
    """What a pickle would do. `end`: offset behind it; `whole`: it goes on to its STOP; `acts`: something is
    called; `unread`: the first instruction that torch's unpickler does not have; `spent`: instructions; `held`: its
    values that begin as pickles do."""

    globals: tuple[str, ...]
    refused: tuple[Refusal, ...]
    whole: bool
    acts: bool
    unread: str | None
    end: int
    spent: int
    held: tuple[Held, ...] = ()


class TooLong(Exception):
    """The pickle needs more than it may."""


class _Value(NamedTuple):
    """A stand-in. `said`: of a text what it says, of a global or what it built its name, of a tuple what its first
    item says."""

    kind: str
    said: str | None = None


#: Allowed functions that return nothing whose state could be set.
_STATELESS = ("_codecs.encode", "torch.serialization._get_layout")
_MAPPINGS = ("collections.OrderedDict", "collections.Counter")
#: Instructions whose argument may be a file of its own → the encoding, where bytes are written as text, a letter for
#: each: before protocol 3 they are.
_HOLDS = {
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), "latin-1"),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), "utf-8"),
    "UNICODE": "raw-unicode-escape",
}
#: How pickles, zips and compressed files begin; before protocol 2 pickles have no mark, but lines that import.
_BEGINNINGS = (
    *(bytes([0x80, protocol]) for protocol in range(6)),
    *(b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"),
    *(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
)
_IMPORTS = re.compile(rb"(?:^|[\n(\]})0])[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
#: The fewest bytes in which one can do anything.
_LEAST = 12
#: Instruction → what it puts onto the stack, whatever its argument is.
_PLAIN = {
    **dict.fromkeys(("NONE", "NEXT_BUFFER"), _Value("none")),
    **dict.fromkeys(("NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG"), _Value("number")),
    **dict.fromkeys(("LONG1", "LONG4", "FLOAT", "BINFLOAT"), _Value("number")),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _Value("bytes")),
    "EMPTY_LIST": _Value("list"),
    "EMPTY_DICT": _Value("mapping"),
    "EMPTY_SET": _Value("set"),
    "EMPTY_TUPLE": _Value("tuple"),
}
_OF_MARK = {"LIST": _Value("list"), "DICT": _Value("mapping"), "FROZENSET": _Value("set")}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
#: How the argument of an instruction becomes the text that the unpickler sees.
_TEXTS = {
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), ("utf-8", "surrogatepass")),
    "UNICODE": ("raw-unicode-escape", "strict"),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), ("latin-1", "strict")),
}


Step = Callable[["Machine", bytes], None]


class Machine:
    """One pickle's stack, memo and findings."""

    def __init__(self, allows: Gate) -> None:
        self._allows = allows
        self._stack: list[_Value] = []
        self._below: list[list[_Value]] = []
        self._memo: dict[int, _Value] = {}
        self.globals: dict[str, None] = {}
        self.refused: dict[Refusal, None] = {}
        self.acts = False
        self.unread: str | None = None

    def step(self, name: str, argument: bytes) -> None:
        """Follow one instruction. Raises Broken or LookupError where no unpickler could, and TooLong."""
        if name not in INSTRUCTIONS and self.unread is None:
            self.unread = name
        _STEPS[name](self, argument)

    def _push(self, value: _Value) -> None:
        if len(self._stack) >= _DEEPEST_STACK or len(self._below) >= _DEEPEST_STACK:
            raise TooLong
        self._stack.append(value)

    def _mark(self, _: bytes) -> None:
        if len(self._below) >= _DEEPEST_STACK:
            raise TooLong
        self._below.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[_Value]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _nothing(self, _: bytes) -> None:
        """PROTO, FRAME and READONLY_BUFFER change nothing."""

    def _pop(self, _: bytes) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _pop_mark(self, _: bytes) -> None:
        self._to_mark()

    def _duplicate(self, _: bytes) -> None:
        self._push(self._stack[-1])

    def _put_together(self, value: _Value) -> None:
        self._to_mark()
        self._push(value)

    def _text(self, argument: bytes, encoding: str, errors: str) -> None:
        self._push(_Value("text", _decoded(argument, encoding, errors)))

    def _string(self, argument: bytes) -> None:
        self._push(_Value("text", _unquoted(argument)))

    def _tuple(self, count: int) -> None:
        items = [self._stack.pop() for _ in range(count)]
        self._push_tuple(items[::-1])

    def _push_tuple(self, items: list[_Value]) -> None:
        self._push(_Value("tuple", (items[0].said or items[0].kind) if items else None))

    def _tuple_of_mark(self, _: bytes) -> None:
        self._push_tuple(self._to_mark())

    def _put(self, argument: bytes) -> None:
        if len(self._memo) >= _LARGEST_MEMO:
            raise TooLong
        self._memo[_number(argument)] = self._stack[-1]

    def _put_line(self, argument: bytes) -> None:
        self._memo[_decimal(argument)] = self._stack[-1]
        if len(self._memo) > _LARGEST_MEMO:
            raise TooLong

    def _memoize(self, _: bytes) -> None:
        self._put(len(self._memo).to_bytes(8, "little"))

    def _get(self, argument: bytes) -> None:
        self._push(self._memo[_number(argument)])

    def _get_line(self, argument: bytes) -> None:
        self._push(self._memo[_decimal(argument)])

    def _append(self, _: bytes) -> None:
        self._stack.pop()
        self._filled("list", "appends to")

    def _appends(self, _: bytes) -> None:
        self._to_mark()
        self._filled("list", "appends to")

    def _add_items(self, _: bytes) -> None:
        self._to_mark()
        self._filled("set", "adds to")

    def _set_item(self, _: bytes) -> None:
        del self._stack[-2:]
        self._filled("mapping", "sets items of")

    def _set_items(self, _: bytes) -> None:
        self._to_mark()
        self._filled("mapping", "sets items of")

    def _filled(self, kind: str, doing: str) -> None:
        target = self._stack[-1]
        if target.kind == kind or (kind == "mapping" and target.said in _MAPPINGS and target.kind == "built"):
            return
        self._refuse_operation(target, f"{doing} a {target.said or target.kind}")

    def _global(self, argument: bytes) -> None:
        module, _, name = argument.decode("utf-8", "surrogateescape").partition("\n")
        self._push(self._found(*_renamed(module, name)))

    def _stack_global(self, _: bytes) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if name.kind != "text" or module.kind != "text":
            raise Broken
        self._push(self._found(*_renamed(module.said or "", name.said or "")))

    def _found(self, module: str, name: str) -> _Value:
        full = f"{module}.{name}"
        if len(self.globals) < _MOST_NAMED:
            self.globals[_shown(full)] = None
        if self._allows(full):
            return _Value("global", full)
        return self._refuse(Refusal(_shown(module), _shown(name), "is not on torch's list"))

    def _extension(self, argument: bytes) -> None:
        code = _number(argument)
        self._push(self._refuse(Refusal("", "", f"imports number {code} of copyreg's extensions")))

    def _inst(self, argument: bytes) -> None:
        self._global(argument)  # imported before the mark is looked for
        function = self._stack.pop()
        self._to_mark()
        self._push(self._called(function))

    def _obj(self, _: bytes) -> None:
        self._push(self._called(self._to_mark()[0]))

    def _reduce(self, _: bytes) -> None:
        del self._stack[-1]
        self._push(self._called(self._stack.pop()))

    def _new_object(self, _: bytes) -> None:
        self._reduce(b"")

    def _new_object_with(self, _: bytes) -> None:
        del self._stack[-1]
        self._reduce(b"")

    def _called(self, function: _Value) -> _Value:
        self.acts = True
        if function.kind == "global":
            return _Value("built", function.said)
        return self._refuse_operation(function, f"calls a {function.said or function.kind}")

    def _build(self, _: bytes) -> None:
        self._stack.pop()
        target = self._stack[-1]
        if target.kind != "built" or target.said in _STATELESS:
            self.acts = True
            self._refuse_operation(target, f"sets the state of a {target.said or target.kind}")

    def _persistent(self, _: bytes) -> None:
        asked = self._stack.pop()
        if asked.kind == "number" or (asked.kind == "tuple" and asked.said in ("storage", None)):
            self._push(_Value("storage"))
        else:
            self._push(self._refuse(Refusal("", "", "asks its loader for something that is no storage")))

    def _persistent_line(self, _: bytes) -> None:
        self._push(self._refuse(Refusal("", "", "asks its loader for something that is no storage")))

    def _refuse_operation(self, target: _Value, why: str) -> _Value:
        """What is done with something refused is refused with it, under one name."""
        return target if target.kind == "refused" else self._refuse(Refusal("", "", _shown(why)))

    def _refuse(self, refusal: Refusal) -> _Value:
        if len(self.refused) < _MOST_NAMED:
            self.refused[refusal] = None
        return _Value("refused")


def _pushing(value: _Value) -> Step:
    return lambda machine, _: machine._push(value)


def _putting_together(value: _Value) -> Step:
    return lambda machine, _: machine._put_together(value)


def _reading(encoding: str, errors: str) -> Step:
    return lambda machine, argument: machine._text(argument, encoding, errors)


def _tupling(count: int) -> Step:
    return lambda machine, _: machine._tuple(count)


_STEPS: dict[str, Step] = {
    **{name: _pushing(value) for name, value in _PLAIN.items()},
    **{name: _putting_together(value) for name, value in _OF_MARK.items()},
    **{name: _reading(*how) for name, how in _TEXTS.items()},
    **{name: _tupling(count) for name, count in _TUPLES.items()},
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Machine._extension),
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), Machine._nothing),
    **dict.fromkeys(("STOP", "POP"), Machine._pop),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), Machine._put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), Machine._get),
    "MARK": Machine._mark,
    "POP_MARK": Machine._pop_mark,
    "DUP": Machine._duplicate,
    "STRING": Machine._string,
    "TUPLE": Machine._tuple_of_mark,
    "PUT": Machine._put_line,
    "GET": Machine._get_line,
    "MEMOIZE": Machine._memoize,
    "APPEND": Machine._append,
    "APPENDS": Machine._appends,
    "ADDITEMS": Machine._add_items,
    "SETITEM": Machine._set_item,
    "SETITEMS": Machine._set_items,
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    "INST": Machine._inst,
    "OBJ": Machine._obj,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._new_object,
    "NEWOBJ_EX": Machine._new_object_with,
    "BUILD": Machine._build,
    "BINPERSID": Machine._persistent,
    "PERSID": Machine._persistent_line,
}


def follow(reader: Reader, most: int, allows: Gate = is_allowed) -> Pickle:
    """The pickle that begins where the reader is, in at most so many instructions. Raises TooLong."""
    machine = Machine(allows)
    spent, whole, held = 0, False, []
    try:
        for name, argument in instructions(reader):
            spent += 1
            if spent > most:
                raise TooLong
            machine.step(name, argument)
            if name in _HOLDS and _may_be_more(name, argument):
                held.append(Held(reader.at - reader.counted, reader.counted, _HOLDS[name]))
        whole = True
    except (Broken, LookupError):
        pass  # what was called up to here has been called; `whole` says that it ended
    named, refused = tuple(machine.globals), tuple(machine.refused)
    return Pickle(named, refused, whole, machine.acts, machine.unread, reader.at, spent, tuple(held))


def _may_be_more(name: str, argument: bytes) -> bool:
    """Whether a value begins as a pickle, a zip or a compressed file does."""
    if len(argument) < _LEAST:
        return False
    start = argument.decode(_HOLDS[name], "ignore").encode("latin-1", "ignore")
    return start.startswith(_BEGINNINGS) or _IMPORTS.search(start) is not None


def _renamed(module: str, name: str) -> tuple[str, str]:
    """As unpicklers of Python 3 read the names of Python 2; torch's list of those is a part of this one."""
    return NAME_MAPPING.get((module, name)) or (IMPORT_MAPPING.get(module, module), name)


def _decoded(argument: bytes, encoding: str, errors: str) -> str:
    try:
        return argument.decode(encoding, errors if len(argument) <= LONGEST else "replace")
    except UnicodeDecodeError as error:
        raise Broken from error


def _unquoted(argument: bytes) -> str:
    """The text of a STRING: quoted and escaped as Python's repr does."""
    if len(argument) > LONGEST:
        return argument.decode("latin-1")
    if len(argument) < 2 or argument[:1] not in (b"'", b'"') or argument[-1:] != argument[:1]:
        raise Broken
    try:
        return codecs.escape_decode(argument[1:-1])[0].decode("latin-1")
    except ValueError as error:
        raise Broken from error


def _number(argument: bytes) -> int:
    return int.from_bytes(argument, "little")


def _decimal(argument: bytes) -> int:
    try:
        return int(argument)
    except ValueError as error:
        raise Broken from error


def _shown(text: str) -> str:
    """A name out of a hostile file, fit for a terminal."""
    plain = text if text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= _LONGEST_SHOWN else f"{plain[:_LONGEST_SHOWN]}…"
