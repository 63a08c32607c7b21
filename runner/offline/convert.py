"""`archive convert` and `archive create --safetensors`: a pickled state dict → safetensors, in a file or an archive.

Rules of the room
1. The original is read, never written. What is written is read back and compared, bit for bit, before it counts.
2. An archive stays what it was but for its weights, their name in the manifest, and what no longer holds: its
   signature, and code that was compiled for it.
3. Whoever opens the old file by its name would not find it: that is found before anything is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from archiver import checkpoint
from archiver.archive import Archive
from archiver.config.findings import Finding, Severity
from archiver.containers.draft import cannot_write, umask
from archiver.errors import InvalidInput, UsageError
from archiver.manifest import COMPILED_CODE, SIGNATURE, Manifest
from archiver.members import Member
from archiver.mentions import mentions
from archiver.pack import planned
from archiver.progress import Progress, silent
from archiver.project import Project, Typed
from archiver.repack import member_of, members_of, repack
from archiver.scan.scan import scan_files
from archiver.store import Unpacked, unpack
from archiver.workflow.naming import is_workflow
from runner.offline import as_safetensors
from runner.offline.state import CannotConvert, State, Wanted, state_in

SUFFIX = ".safetensors"
_BARE = ("state-dict", "torch-legacy")
_PICKLES = ("pickle", "weights")


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint that was converted. `before` and `after`: names; `sizes` of both in bytes; `tied`: name → the name
    under which it is stored; `views`: names that lay in the memory of others; `left_out`: name → what it is."""

    before: str
    after: str
    sizes: tuple[int, int]
    tensors: int
    tied: dict[str, str]
    views: tuple[str, ...]
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written. Of an archive also: whether it had a `signature`, the devices of the `compiled` code that was
    left out, members that are `pickles` still, and what to know (`warnings`)."""

    path: Path
    weights: Weights
    signature: bool = False
    compiled: tuple[str, ...] = ()
    pickles: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()


def convert_file(source: Path, target: Path, wanted: Wanted) -> Converted:
    """Write a bare checkpoint as safetensors. Raises CannotConvert and CannotWrite; then nothing was written."""
    if target.suffix != SUFFIX:
        raise UsageError(f"{target} does not end in {SUFFIX}: readers go by the name", hint=f"-o NAME{SUFFIX}")
    state = _state(source, wanted)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as folder:
            draft = Path(folder) / target.name
            weights = _written(state, source, draft, (source.name, target.name))
            draft.chmod(0o666 & ~umask())
            draft.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return Converted(target, weights)


def convert_archive(
    source: Path, target: Path, wanted: Wanted, *, checks: bool = True, progress: Progress = silent
) -> Converted:
    """Write the archive with safetensors. Without `checks`, places that name the old file are warnings.

    Raises CannotConvert, InvalidInput for places that name the old file, CannotWrite, and what opening an archive
    raises; then nothing was written.
    """
    if is_workflow(source):
        raise CannotConvert(f"{source} is a workflow: it has no weights of its own", hint="convert its models")
    opened = unpack(source, progress=progress)
    old = opened.manifest.serialized_file
    if old is None:
        raise CannotConvert(f"the manifest of {source} names no weights")
    members = members_of(opened.manifest, opened.model_dir)
    new = str(PurePosixPath(old).with_suffix(SUFFIX))
    before = _weights_of(members, old, new, source)
    warnings = _named_by_hand(old, new, members, checks=checks)
    others = [each for each in members if each is not before and not each.name.startswith(f"{COMPILED_CODE}/")]
    with tempfile.TemporaryDirectory(prefix="archive-convert-") as folder:
        file = Path(folder) / PurePosixPath(new).name
        done = Converted(
            target,
            _written(_state(before.source, wanted), before.source, file, (old, new)),
            signature=_is_signed(source),
            compiled=tuple(map(_device, opened.manifest.precompiled)),
            pickles=_pickles(source, others),
            warnings=tuple(warnings),
        )
        after = member_of(new, file, before.role, "safetensors")
        repack(target, [*others, after], _renamed(opened, new), progress)
    return done


@contextmanager
def converted(project: Project, *, checks: bool) -> Iterator[tuple[Project, list[Finding]]]:
    """The project with its checkpoint as safetensors, which is there until the block ends, and warnings.

    Raises UsageError without a checkpoint, InvalidInput as `pack.create` does, CannotConvert.
    """
    typed = project.checkpoint
    if typed is None:
        raise UsageError("--safetensors: no checkpoint is named", hint="--serialized-file FILE")
    if project.checkpoint_kind == "safetensors":
        yield project, []
        return
    members, _ = planned(project, checks)
    old, new = typed.path.name, typed.path.with_suffix(SUFFIX).name
    warnings = _named_by_hand(old, new, members, checks=checks)
    with tempfile.TemporaryDirectory(prefix="archive-convert-") as folder:
        file = Path(folder) / new
        _written(_state(typed.path, Wanted()), typed.path, file, (old, new))
        yield replace(project, checkpoint=Typed(str(file), project.base), checkpoint_kind="safetensors"), warnings


def _state(file: Path, wanted: Wanted) -> State:
    kind = checkpoint.kind(file)
    if kind == "safetensors":
        raise CannotConvert(f"{file.name} is safetensors already")
    if kind not in _BARE:
        raise CannotConvert(f"{file.name} is {_called(kind)}: only a state dict becomes safetensors")
    return state_in(file, wanted)


def _called(kind: str) -> str:
    return "no checkpoint that torch.save has written" if kind == "unknown" else checkpoint.KINDS[kind]


def _written(state: State, source: Path, file: Path, names: tuple[str, str]) -> Weights:
    """The file, once everything in it is as it was. Raises CannotConvert where it is not."""
    as_safetensors.save(state.tensors, file)
    different = [*as_safetensors.differences(state.tensors, file)]
    if different:
        raise CannotConvert(f"these tensors of {source.name} did not come back as they were: {', '.join(different)}")
    return Weights(
        before=names[0],
        after=names[1],
        sizes=(source.stat().st_size, file.stat().st_size),
        tensors=len(state.tensors),
        tied=as_safetensors.tied(state.tensors),
        views=tuple(as_safetensors.views(state.tensors)),
        left_out=dict(state.left_out),
    )


def _weights_of(members: Sequence[Member], old: str, new: str, source: Path) -> Member:
    by_name = {each.name: each for each in members}
    if old not in by_name:
        raise CannotConvert(f"the manifest of {source} names the checkpoint {old}, which is not in the archive")
    if new in by_name and new != old:
        raise CannotConvert(f"{source} has a {new} already, beside {old}")
    return by_name[old]


def _named_by_hand(old: str, new: str, members: Sequence[Member], *, checks: bool) -> list[Finding]:
    """Warnings. Raises InvalidInput with them unless the checks are off."""
    found = list(mentions(old, new, ((each.name, each.source) for each in members)))
    if found and checks:
        raise InvalidInput(found, hint="--no-check converts all the same")
    return [replace(each, severity=Severity.WARNING) for each in found]


def _device(compiled: Mapping[str, Any]) -> str:
    """What an entry of `precompiled` is for, whatever somebody wrote there."""
    environment = compiled.get("environment")
    device = environment.get("device") if isinstance(environment, Mapping) else None
    return str(device[0]) if isinstance(device, list) and device else "another machine"


def _pickles(source: Path, members: Sequence[Member]) -> tuple[str, ...]:
    found = scan_files(source, ((each.name, each.source) for each in members)).found
    return tuple(dict.fromkeys(each.root for each in found if each.kind in _PICKLES and each.globals))


def _is_signed(source: Path) -> bool:
    with Archive.open(source) as archive:
        return SIGNATURE in {member.name for member in archive.members}


def _renamed(opened: Unpacked, new: str) -> Manifest:
    """Compiled code is made for its content, which is another one now; so is what was measured."""
    parent = f"sha256:{opened.digest}"
    return replace(opened.manifest, serialized_file=new, precompiled=(), report=(), parent=parent)
