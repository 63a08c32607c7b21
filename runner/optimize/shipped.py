"""Compiled code that an archive brings along (`precompiled` in its manifest).

Native code is loaded only where the operator trusts the archive; whoever makes a `Shipped` has decided that. It is
used when everything that it depends on is the same here, field by field; else the difference is told and the model
is compiled as if nothing had been shipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from archiver.hashing import sha256_of
from archiver.manifest import COMPILED_CODE
from runner.optimize.package import PROGRAM
from runner.optimize.probe import probe


class Shipped:
    """The artefacts of one archive: `entries` of its manifest, `files` path → sha256, unpacked in `model_dir`."""

    def __init__(self, manifest: Mapping[str, Any], model_dir: Path) -> None:
        self._entries: list[Mapping[str, Any]] = list(manifest.get("precompiled", ()))
        self._files = {file["path"]: file["sha256"] for file in manifest.get("files", ())}
        self._model_dir = model_dir

    def __bool__(self) -> bool:
        return bool(self._entries)

    def put_into(self, folder: Path, key: str, fields: Mapping[str, Any], device: torch.device) -> str | None:
        """Copy what was compiled for `key` into the empty `folder`; why not, or None when it is there and works.

        Raises OSError, after which the folder may hold a part.
        """
        if not any(entry.get("key") == key for entry in self._entries):
            return self._difference(fields)
        problem = self._copied(folder, f"{COMPILED_CODE}/{key}/")
        if problem is None and (package := next(_packages(folder), None)) is not None:
            problem = probe(package, device)
        if problem is not None:
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            return f"what the archive brings cannot be used: {problem}"
        return None

    def _copied(self, folder: Path, prefix: str) -> str | None:
        for path, sha256 in self._files.items():
            if not path.startswith(prefix):
                continue
            target = folder / path.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._model_dir / path, target)
            if sha256_of(target) != sha256:
                return f"{path} is damaged"
        return None if any(folder.iterdir()) else f"{prefix} is not there"

    def _difference(self, fields: Mapping[str, Any]) -> str:
        """In which fields the artefact that is nearest to what is here differs from it."""
        found = [tuple(_differences(entry.get("environment", {}), fields)) for entry in self._entries]
        nearest: tuple[str, ...] = min(found, key=len)
        return "what the archive brings is for " + "; ".join(nearest)


def _packages(folder: Path) -> Iterator[Path]:
    return (program.parent for program in folder.glob(f"*/{PROGRAM}"))


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    for name, value in ours.items():
        other = theirs.get(name)
        if other == value:
            continue
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from (f"{name}.{inner}" for inner in _differences(other, value))
        else:
            yield f"{name} {_shown(other)} and not {_shown(value)}"


def _shown(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
