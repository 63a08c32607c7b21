"""`archive create --precompile`: the archive, its model compiled, and the archive again with the code in it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from archiver import pack
from archiver.containers.formats import FORMATS
from archiver.members import in_order
from archiver.pack import Summary, refuse_existing, size_of
from archiver.progress import Progress, Working
from archiver.project import Project
from archiver.store import unpack
from runner.offline.artefacts import compiled_for, with_artefacts


def create(
    project: Project, *, devices: Sequence[str], force: bool, checks: bool, progress: Progress, working: Working
) -> Summary:
    """`archiver.pack.create` with code compiled for these devices. Raises what that raises, and PrecompileFailed;
    then nothing was written."""
    started = time.monotonic()
    target = project.target
    refuse_existing(target, force=force)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="archive-create-"))
        plain = replace(project, export_path=Path(folder), archive_format="default")
        summary = pack.create(plain, checks=checks, progress=progress)
        opened = unpack(summary.path, cache=Path(folder) / "cache")
        with working() as told:
            told(f"compiling for {' and '.join(devices)}")
            artefacts = stack.enter_context(compiled_for(opened, devices))
        members, manifest = with_artefacts(opened, artefacts)
        form = FORMATS[project.archive_format]
        manifest, digest = pack.write(target, form, in_order(members), manifest, progress)
    seconds = time.monotonic() - started
    return replace(summary, path=target, size=size_of(target), digest=digest, seconds=seconds, manifest=manifest)
