"""What runs without a pickle: Python, native libraries, exported programs, packages to install. By name and by the
first bytes; nothing is parsed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from archiver.manifest import COMPILED_CODE
from archiver.scan.machine import Refusal

#: About members below `COMPILED_CODE`.
COMPILED = "compiled for one kind of machine"
_SUFFIXES = {
    **dict.fromkeys((".py", ".pyw", ".pyc", ".pyo"), "Python"),
    **dict.fromkeys((".so", ".pyd", ".dylib", ".dll"), "native library"),
    **dict.fromkeys((".sh", ".bash"), "shell script"),
    **dict.fromkeys((".whl", ".egg"), "Python package"),
}
_HEADS = {
    b"\x7fELF": "native library",
    b"\xcf\xfa\xed\xfe": "native library",
    b"MZ\x90\0": "native library",
    b"#!": "script",
}
#: Kinds of checkpoints that are programs.
PROGRAMS = {"torchscript": "TorchScript program", "pt2": "torch.export program"}
#: Objects in a torch.export file that `torch.export.load` hands to a plain unpickler, or to C++ classes by name.
_OBJECTS = ("opaque_obj_", "custom_obj_")
_CONFIG = "_config.json"
#: Bytes of a `*_config.json` in a torch.export file; real ones have a few hundred per weight.
LONGEST_CONFIG = 64 << 20


def about(name: str, head: bytes) -> str | None:
    """What kind of code a file is, or None. `name`: with its folders."""
    path = PurePosixPath(name)
    if path.name.startswith("requirements") and path.suffix == ".txt":
        return "packages for pip to install"
    return _SUFFIXES.get(path.suffix.lower()) or next(
        (what for start, what in _HEADS.items() if head.startswith(start)), None
    )


def is_compiled(name: str) -> bool:
    """Whether a member was compiled from the others: code as a whole, whatever its parts are."""
    return name.startswith(f"{COMPILED_CODE}/")


def refused_objects(names: Iterable[str]) -> Iterator[Refusal]:
    """Members of a torch.export file that are unpickled without a gate."""
    for name in names:
        if any(part.startswith(_OBJECTS) for part in name.split("/")):
            yield _without_gate(name)


def is_config(name: str) -> bool:
    """Whether a member of a torch.export file says how its weights or constants are stored."""
    return name.endswith(_CONFIG)


def refused_config(name: str, data: bytes) -> Iterator[Refusal]:
    """What a torch.export file wants unpickled, by its own word."""
    try:
        entries = json.loads(data)["config"]
        pickled = [key for key, each in entries.items() if _is_pickled(each)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        yield Refusal("", "", f"{name} cannot be read")
        return
    if pickled:
        yield _without_gate(f"{pickled[0]!r} of {name}")


def _is_pickled(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("use_pickle")) or str(entry.get("path_name", "")).startswith(_OBJECTS)


def _without_gate(what: str) -> Refusal:
    return Refusal("", "", f"torch.export.load unpickles {what} without torch's list")
