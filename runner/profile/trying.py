"""Changes measured: the model with one of them against the model as it is, in turn, over the same rows.

Rules of the room
1. A change that the optimisation pipeline did not apply, or that is beyond `verify`, is refused with its reason.
2. Both sides answer the same rows in each round, so a drift of the machine or a hard row falls on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil, lcm
from pathlib import Path
from typing import Any

from msgspec import structs

from archiver.config.forms import normal_form
from archiver.config.origins import laid_over
from archiver.errors import ArchiveError
from archiver.store import Unpacked
from runner.bench.figures import spread
from runner.local import served, settled_archive
from runner.offline.process import LoadedModel
from runner.profile.changes import Change
from runner.profile.report import Tried

_ROUNDS = 5
#: Seconds that a round of one side takes, about.
_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with everything that its processes need. `files`: samples with their content types."""

    opened: Unpacked
    device: str | None
    flags: Mapping[str, Any]
    files: Sequence[tuple[Path, str]]
    trusted: bool

    def loaded(self, settings: Mapping[str, Any]) -> LoadedModel:
        """In a process of its own, with `settings` over its own. Raises ModelFailed and what settling raises."""
        flags = laid_over(normal_form(self.flags), normal_form(settings))
        here = settled_archive(self.opened, self.device, flags)
        model = LoadedModel(served(self.opened, here, trusted=self.trusted))
        model.use(self.files)
        return model


def untried(change: Change) -> Tried:
    """The change with nothing measured."""
    return Tried(name=change.name, why=change.why, yaml=change.yaml, bound=change.bound)


def tried(change: Change, subject: Subject, model: LoadedModel, batch: int, ms: float) -> Tried:
    """The change against `model`, whose batches of `batch` take `ms`."""
    found = untried(change)
    if not change.settings:
        return found
    try:
        with ExitStack() as stack:
            others = _loaded(change, subject, stack)
            refused = why_refused(others[0].report, change.steps)
            if refused is not None:
                return structs.replace(found, refused=refused)
            return _measured(found, change, others, model, batch, ms)
    except ArchiveError as error:
        return structs.replace(found, refused=str(error).splitlines()[0])


def _loaded(change: Change, subject: Subject, stack: ExitStack) -> list[LoadedModel]:
    return [stack.enter_context(subject.loaded(change.settings)) for _ in range(change.processes)]


def why_refused(report: Mapping[str, Any], steps: Iterable[str]) -> str | None:
    """Why the pipeline did not do what the change is about."""
    rows = {row["name"]: row for row in report["steps"]}
    for name in steps:
        row = rows[name]
        if row["status"] != "applied":
            return str(row["reason"] or row["status"])
    verify = report.get("verify")
    return "beyond the limits of `verify`" if steps and verify and not verify["passed"] else None


def _measured(
    found: Tried, change: Change, others: Sequence[LoadedModel], model: LoadedModel, batch: int, ms: float
) -> Tried:
    least = ceil(_SECONDS * 1000 / ms) * batch
    step = lcm(batch, change.batch)
    rows = ceil(least / step) * step
    gains, slowest = [], []
    with ThreadPoolExecutor(len(others)) as pool:
        for number in range(_ROUNDS + 1):
            before = model.takes(rows, batch)
            after = max(pool.map(lambda other: other.takes(rows, change.batch), others))
            if number:  # the first is to get warm
                gains.append(before / after * len(others))
                slowest.append(after / (rows / change.batch) * 1000)
    return structs.replace(found, gain=spread(gains), batch_ms=spread(slowest).median)
