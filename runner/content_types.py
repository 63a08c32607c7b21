"""File name → content type, for whatever sends a file as a request: commands, and an archive's own sample."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath

#: JSON, then the bytes of tensors; the parameter `header` is the length of the JSON. Between front end and worker.
BINARY_TENSORS = "application/vnd.torch-archive.tensors"

_BYTES = "application/octet-stream"
#: Suffixes that matter here and that a system's own table may lack or name otherwise.
BY_SUFFIX = {
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".npy": _BYTES,
    ".pt": _BYTES,
    ".webp": "image/webp",
}


def content_type_of(name: str) -> str:
    """Content type by the file's suffix; bytes of unknown kind otherwise."""
    known = BY_SUFFIX.get(PurePath(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or _BYTES


def suffix_of(content_type: str) -> str:
    """A suffix whose content type that is, but for parameters; `.bin` for one that no suffix stands for."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _BYTES:
        return ".bin"
    known = next((suffix for suffix, each in BY_SUFFIX.items() if each.partition(";")[0] == kind), None)
    return known or mimetypes.guess_extension(kind) or ".bin"
