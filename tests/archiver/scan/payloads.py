"""Pickles that would do something, built by hand and by pickle itself. None is ever unpickled by a test."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import runpy
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from archiver.containers.source import Extent
from archiver.scan.instructions import Reader
from archiver.scan.look import Budget, Place, look
from archiver.scan.machine import Pickle, follow


class Calls:
    """An object that is pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def calling(function: Callable[..., Any], *arguments: Any, protocol: int = 4) -> bytes:
    return pickle.dumps(Calls(function, *arguments), protocol)


def text(value: str) -> bytes:
    """A short text on the stack, as protocol 4 has it."""
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def long_text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


#: Name → pickle, and the global that it would call first.
PAYLOADS: dict[str, tuple[bytes, str]] = {
    **{
        f"os.system, protocol {protocol}": (calling(os.system, "id", protocol=protocol), "posix.system")
        for protocol in range(6)
    },
    "eval": (calling(builtins.eval, "1"), "builtins.eval"),
    "exec, protocol 0": (calling(builtins.exec, "1", protocol=0), "builtins.exec"),
    "runpy": (calling(runpy.run_path, "x.py"), "runpy.run_path"),
    "subprocess": (calling(subprocess.Popen, ["id"]), "subprocess.Popen"),
    "a method of a class": (
        b"\x80\x04" + text("builtins") + text("dict.fromkeys") + b"\x93.",
        "builtins.dict.fromkeys",
    ),
    "torch.load": (b"\x80\x02ctorch.serialization\nload\nX\x01\0\0\0x\x85R.", "torch.serialization.load"),
    "torch's own compiler": (
        b"\x80\x02ctorch._inductor.codecache\nPyCodeCache.load\nX\x01\0\0\0x\x85R.",
        "torch._inductor.codecache.PyCodeCache.load",
    ),
    "numpy": (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "numpy.core.multiarray._reconstruct"),
    "getattr": (b"\x80\x02c__builtin__\ngetattr\n)R.", "builtins.getattr"),
    "Python 2's commands": (b"ccommands\ngetoutput\n(S'id'\ntR.", "subprocess.getoutput"),
    "INST": (b"(S'id'\nios\nsystem\n.", "os.system"),
    "OBJ": (b"(cos\nsystem\nS'id'\no.", "os.system"),
    "NEWOBJ": (b"\x80\x02csubprocess\nPopen\n)\x81.", "subprocess.Popen"),
    "NEWOBJ_EX": (b"\x80\x04" + text("subprocess") + text("Popen") + b"\x93)}\x92.", "subprocess.Popen"),
    "imported and dropped": (b"\x80\x02cos\nsystem\n0N.", "os.system"),
    "STACK_GLOBAL": (b"\x80\x04" + text("os") + text("system") + b"\x93" + text("id") + b"\x85R.", "os.system"),
    "STACK_GLOBAL, long texts": (b"\x80\x04" + long_text("os") + long_text("system") + b"\x93.", "os.system"),
    "STACK_GLOBAL, out of the memo": (
        b"\x80\x04" + text("system") + b"\x94" + text("os") + b"\x94" + b"00h\x01h\x00\x93N\x85R.",
        "os.system",
    ),
    "STACK_GLOBAL, memo written over": (
        b"\x80\x04"
        + text("collections")
        + b"q\x05"
        + text("os")
        + b"q\x050"
        + text("system")
        + b"\x940h\x05h\x01\x93.",
        "os.system",
    ),
    "STACK_GLOBAL, a long way to it": (
        b"\x80\x04" + text("os") + long_text("system" + ".__call__" * 200) + b"\x93)R.",
        f"os.system{'.__call__' * 200}"[:163] + "…",
    ),
    "GLOBAL, a long way to it": (
        b"cos\nsystem" + b".__call__" * 200 + b"\n)R.",
        f"os.system{'.__call__' * 200}"[:163] + "…",
    ),
    "STACK_GLOBAL, by DUP": (b"\x80\x04" + text("os") + b"2\x93.", "os.os"),
    "STACK_GLOBAL, quoted and escaped": (b"S'o\\x73'\nS'sys\\164em'\n\x93.", "os.system"),
    "STACK_GLOBAL, raw unicode": (b"V\\u006fs\nVsystem\n\x93.", "os.system"),
    "STACK_GLOBAL, memo by lines": (b"Vos\np7\n0Vsystem\np8\n0g7\ng8\n\x93.", "os.system"),
    "then what cannot be imported": (b"cos\nsystem\n(S'id'\ntRc?\n? ?\n.", "os.system"),
    "cut off after the call": (b"cos\nsystem\n(S'id'\ntR", "os.system"),
    "broken after the call": (b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R\xff\xff\xff", "os.system"),
    "behind a good pickle": (pickle.dumps({"a": 1}, 2) + b"cos\nsystem\n(S'id'\ntR.", "os.system"),
    "in a wrong frame": (b"\x80\x04\x95\xff\0\0\0\0\0\0\0" + text("os") + text("system") + b"\x93)R.", "os.system"),
    "a state for it": (b"\x80\x02cevil.module\nThing\n)R}b.", "evil.module.Thing"),
    "in a storage's id": (b"\x80\x02(X\x07\0\0\0storagecos\nsystem\ntQ.", "os.system"),
    "as a class to rebuild": (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNNNtR.",
        "os.system",
    ),
}
#: What torch refuses without a global of its own: pickle, and words of the reason.
OPERATIONS: dict[str, tuple[bytes, str]] = {
    "EXT1": (b"\x82\x01.", "copyreg"),
    "EXT2": (b"\x83\x01\x02.", "copyreg"),
    "EXT4": (b"\x84\x01\x02\0\0.", "copyreg"),
    "a persistent id in a line": (b"Phello\n.", "no storage"),
    "a persistent id that is a text": (b"\x80\x02X\x02\0\0\0idQ.", "no storage"),
    "a persistent id of something else": (b"\x80\x02X\x02\0\0\0idX\x02\0\0\0id\x86Q.", "no storage"),
    "a call of what was called": (b"\x80\x02ctorch\nSize\n)R)R.", "calls a torch.Size"),
    "a call of a text": (b"\x80\x02X\x02\0\0\0id)R.", "calls a id"),
    "a state on a list": (b"\x80\x02]}b.", "sets the state of a list"),
    "a state on a class": (b"\x80\x02ctorch\nTensor\n}b.", "sets the state of a torch.Tensor"),
    "an item for a number": (b"\x80\x02K\x01K\x02K\x03s.", "sets items of a number"),
    "an append to a mapping": (b"\x80\x02}K\x01a.", "appends to a mapping"),
}


@contextmanager
def extent_of(data: bytes) -> Iterator[Extent]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield Extent(file.fileno(), 0, len(data))


def followed(data: bytes) -> Pickle:
    with extent_of(data) as extent:
        return follow(Reader(extent, 0), 1_000_000)


def looked(data: bytes, name: str = "file.bin", budget: Budget | None = None):
    with extent_of(data) as extent:
        return look(Place(name, name), extent, budget or Budget())


def saved(value: object, **options: Any) -> bytes:
    """As torch.save writes it."""
    import torch

    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def names(found) -> list[str]:
    """What is refused, where."""
    return [f"{each.entry}: {what}" for each in found for what in each.refused]
