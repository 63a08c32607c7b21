"""An archive's model, compiled for devices of this machine, as files and manifest entries to pack."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archiver.errors import ArchiveError
from archiver.manifest import COMPILED_CODE, PRECOMPILED, Manifest
from archiver.members import Member
from archiver.repack import content_of, member_of, members_of
from archiver.store import Unpacked
from runner.local import order, settled_archive
from runner.offline.process import LoadedModel, ModelFailed


class PrecompileFailed(ArchiveError):
    """The model cannot be compiled here as its config declares."""

    code = "precompile/failed"


@dataclass(frozen=True, slots=True)
class Artefact:
    """Compiled code for one device. `entry`: what the manifest says; `members`: the files."""

    entry: dict[str, Any]
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(member.size for member in self.members)


@contextmanager
def compiled_for(opened: Unpacked, devices: Sequence[str]) -> Iterator[list[Artefact]]:
    """The unpacked archive's model compiled for each device; the files are there until the block ends.

    Raises PrecompileFailed, and what settling the config raises (InvalidInput, ServeFailed for a missing device).
    """
    with tempfile.TemporaryDirectory(prefix="archive-precompile-") as folder:
        yield [_compiled(opened, device, Path(folder) / device) for device in devices]


def with_artefacts(opened: Unpacked, artefacts: Sequence[Artefact]) -> tuple[list[Member], Manifest]:
    """What to pack: the archive's own members and the compiled code, instead of what it had for the same key."""
    manifest = opened.manifest
    new = {artefact.entry["key"] for artefact in artefacts}
    kept = [entry for entry in manifest.precompiled if entry.get("key") not in new]
    folders = tuple(f"{COMPILED_CODE}/{key}/" for key in new)
    own = [member for member in members_of(manifest, opened.model_dir) if not member.name.startswith(folders)]
    entries = [*kept, *(artefact.entry for artefact in artefacts)]
    added = [member for artefact in artefacts for member in artefact.members]
    return [*own, *added], replace(manifest, precompiled=tuple(entries))


def _compiled(opened: Unpacked, device: str, folder: Path) -> Artefact:
    manifest = opened.manifest
    here = settled_archive(opened, device, {})
    compile_ = here.config.pt2.compile
    _require(compile_ is not None and compile_.enable, "no compilation is declared", "declare `pt2: {compile: …}`")
    sampled = here.config.warmup.input is not None
    _require(sampled, "there is no sample to exercise it", "declare `warmup: {input: sample.json}`")
    load = order(opened.model_dir, manifest, here, trusted=False)
    load.digest = content_of(manifest, opened.model_dir)
    load.compile_cache = str(folder)
    load.ahead = True
    try:
        with LoadedModel(load) as model:
            report = model.report
    except ModelFailed as error:
        raise PrecompileFailed(error.message) from error
    row = next(row for row in report["steps"] if row["name"] == "compile")
    if row["status"] != "applied":
        raise PrecompileFailed(f"nothing to ship for {device}: {row['reason']}")
    return _artefact(folder, report["compileCache"]["key"], report)


def _require(holds: bool, problem: str, hint: str) -> None:
    if not holds:
        raise PrecompileFailed(f"nothing to precompile: {problem}", hint=f"{hint} in the archive's config")


def _artefact(folder: Path, key: str, report: dict[str, Any]) -> Artefact:
    made = folder / key
    files = sorted(path for path in made.rglob("*") if path.is_file() and path.stat().st_size)
    members = (member_of(f"{COMPILED_CODE}/{key}/{path.relative_to(made)}", path, PRECOMPILED) for path in files)
    if not files:
        raise PrecompileFailed(
            "nothing to ship: what was applied leaves no code behind", hint="; ".join(report["lines"])
        )
    environment = json.loads((folder / f"{key}.json").read_text())
    return Artefact({"key": key, "environment": environment, "report": _shown(report)}, tuple(members))


def _shown(report: dict[str, Any]) -> dict[str, Any]:
    """What is worth keeping of a report: the declared steps and the model's times."""
    steps = [row for row in report["steps"] if row["declared"] is not None]
    return {"steps": steps, **{name: report[name] for name in ("baselineMs", "optimisedMs", "speedup", "lines")}}
