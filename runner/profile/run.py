"""`archive profile` from the order to the report: open, load as a server would, record, try changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from archiver import __version__
from archiver.errors import ArchiveError, UsageError
from archiver.store import unpack
from runner.bench import machine
from runner.bench.sampled import Sampled, sampled
from runner.deploying import existing
from runner.local import Settled, settled_archive
from runner.offline.process import LoadedModel
from runner.pool.cores import available_cores
from runner.profile import notes
from runner.profile.changes import Change, Situation, together, worth_trying
from runner.profile.events import events_of
from runner.profile.figures import Figures, figures
from runner.profile.report import Profile
from runner.profile.trying import Subject, tried, untried

TRACE = "trace.json"


class ProfileFailed(ArchiveError):
    """The batches could not be recorded."""

    code = "profile/failed"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. `batch`: None for the archive's own. `tries`: measure changes as well."""

    archive: Path
    input: Path | None
    content_type: str | None
    device: str | None
    batch: int | None
    batches: int
    flags: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False
    tries: bool = True


def profile(asked: Asked, folder: Path, told: Callable[[str], None]) -> Profile:
    """The report; the trace is left in `folder`. Ctrl-C while changes are tried keeps what was measured.

    Raises NoInput, ModelFailed, ProfileFailed, UsageError and what opening an archive raises.
    """
    told("opening the archive")
    before = machine.describe()
    file = existing(str(asked.archive))
    opened = unpack(file)
    settle = partial(settled_archive, device=asked.device, flags=asked.flags)
    batch = _batch(asked, settle(opened))
    given = sampled(file, opened, settle, asked.input, asked.content_type, folder=folder, told=told)
    subject = Subject(given.opened, asked.device, asked.flags, given.inputs.written(folder), asked.trust)
    told("loading the model")
    with subject.loaded({}) as model:
        told(f"recording {asked.batches} batches of {batch}")
        found = _recorded(model, batch, asked.batches, folder / TRACE)
        report = _report(asked, given, before, model, found)
        changes = worth_trying(found, _situation(given.here))
        if asked.tries:
            _try(report, subject, model, changes, told)
        else:
            report.tried = [untried(change) for change in changes]
    return report


def _batch(asked: Asked, here: Settled) -> int:
    most = here.config.batch_size
    if asked.batch is not None and asked.batch > most:
        raise UsageError(
            f"--batch-size {asked.batch}: the model is served in batches of at most {most}",
            hint=f"--set batchSize={asked.batch}",
        )
    return asked.batch or most


def _recorded(model: LoadedModel, batch: int, batches: int, trace: Path) -> Figures:
    recorded = model.profile(batch, batches, trace)
    compiled = _step(model.report, "compile")
    try:
        events = events_of(json.loads(trace.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ProfileFailed(
            f"torch.profiler left no whole trace in {trace.parent}",
            hint="is the disk full? TMPDIR names another folder",
        ) from error
    buckets = compiled.get("measured", {}).get("buckets", ())
    return figures(recorded, events, batch, buckets, compiled=compiled.get("status") == "applied")


def _step(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((row for row in report["steps"] if row["name"] == name), {})


def _situation(here: Settled) -> Situation:
    placement = here.placement
    return Situation(here.config, here.kind, placement.workers, placement.threads, len(available_cores()))


def _report(asked: Asked, given: Sampled, before: dict[str, Any], model: LoadedModel, found: Figures) -> Profile:
    manifest = given.opened.manifest
    return Profile(
        made=machine.now(),
        tool=f"torch-archive {__version__}",
        machine=before,
        model={
            "archive": str(asked.archive),
            "name": manifest.model_name,
            "version": manifest.model_version,
            "device": model.report["device"],
            "threads": model.report["threads"],
            "lines": model.report["lines"],
        },
        input=given.inputs.source,
        figures=found,
        notes=[*given.notes, *notes.of(before, found)],
    )


def _try(
    report: Profile, subject: Subject, model: LoadedModel, changes: Sequence[Change], told: Callable[[str], None]
) -> None:
    """Each change, then the best of them together, into the report."""
    batch, ms = report.figures.batch, report.figures.ms
    try:
        for number, change in enumerate(changes, 1):
            told(f"trying {change.name} ({number} of {len(changes)})")
            report.tried.append(tried(change, subject, model, batch, ms))
        best = [each.name for each in report.promising if each.helps]
        if len(best) > 1:
            told("trying the best of them together")
            all_of_them = together([change for name in best for change in changes if change.name == name])
            report.together = tried(all_of_them, subject, model, batch, ms)
    except KeyboardInterrupt:
        report.stopped = "interrupted"
