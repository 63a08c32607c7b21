"""Which kind of weights a file holds, told from its first bytes and the names inside it. No torch, no unpickling."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

#: Kinds of checkpoint → what people call them.
KINDS = {
    "state-dict": "state dict",
    "torchscript": "TorchScript",
    "pt2": "torch.export program",
    "aotinductor": "compiled code of AOTInductor",
    "safetensors": "safetensors",
    "onnx": "ONNX",
    "shared-library": "shared library",
    "torch-legacy": "state dict of torch before 1.6",
    "unknown": "unknown kind",
}

_HEAD = 16
_LONGEST_HEADER = 100 << 20


def kind(path: Path) -> str:
    """The kind of the checkpoint at `path`, one of KINDS. A pickled module counts as a state dict: only
    unpickling could tell them apart. Raises OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[:4] == b"PK\x03\x04":
        return _kind_of_zip(path)
    return kind_of_head(head, path.suffix)


def kind_of_head(head: bytes, suffix: str) -> str:
    """The kind of a file that is no zip, by its first bytes and its name's ending."""
    return next((name for name, matches in _SIGNS if matches(head, suffix)), "unknown")


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return kind_of_members(archive.namelist())
    except zipfile.BadZipFile:
        return "unknown"


def kind_of_members(members: Collection[str]) -> str:
    """The kind of a zip with these members: torch puts them below one folder, named after the file saved."""
    names = {name.partition("/")[2] for name in members}
    if any(name.startswith("data/aotinductor/") for name in names):
        return "aotinductor"
    if "archive_format" in names or any(name.startswith("models/") for name in names):
        return "pt2"
    if "serialized_exported_program.json" in names or "serialized_exported_program.json" in members:
        return "pt2"
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return "torchscript"
    return "state-dict" if "data.pkl" in names else "unknown"


def _is_safetensors(head: bytes, _: str) -> bool:
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= _LONGEST_HEADER and head[8:9] == b"{"


def _is_legacy(head: bytes, _: str) -> bool:
    """torch.save before 1.6 begins with its magic number, pickled with protocol 2."""
    return head[:3] == b"\x80\x02\x8a"


def _is_onnx(head: bytes, suffix: str) -> bool:
    """ONNX has no magic number; a model begins with the field `ir_version`."""
    return suffix == ".onnx" and head[:1] == b"\x08"


def _is_library(head: bytes, _: str) -> bool:
    return head[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe")


_SIGNS: tuple[tuple[str, Callable[[bytes, str], bool]], ...] = (
    ("safetensors", _is_safetensors),
    ("torch-legacy", _is_legacy),
    ("onnx", _is_onnx),
    ("shared-library", _is_library),
)
