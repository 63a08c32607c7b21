"""`archive tune` from the order to the report: open, prune, models alone, prune, servers, choose."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psutil

from archiver import __version__
from archiver.config.forms import normal_form
from archiver.config.origins import laid_over
from archiver.errors import ArchiveError, ServeFailed, UsageError
from archiver.repack import content_of
from archiver.scan.scan import scan_folder
from archiver.store import Unpacked, unpack
from runner.bench import machine
from runner.bench.inputs import Inputs
from runner.bench.sampled import sampled
from runner.deploying import existing
from runner.local import settled_archive
from runner.offline.settings import config_with
from runner.pool.cores import available_cores
from runner.pool.gpu_memory import free_memory
from runner.tune import alone
from runner.tune.alone import Original
from runner.tune.choice import Choice
from runner.tune.conclude import chosen, figures, tried
from runner.tune.facts import Alone, Goal, Reading
from runner.tune.halving import Search
from runner.tune.pruning import AFTER, BEFORE, Known, Machine, Rule, prune, servers_at_once
from runner.tune.recommend import Reason
from runner.tune.report import TuneReport
from runner.tune.settings import QUEUE, nested, of_candidate, room, words_of
from runner.tune.space import Candidate, Variant, Wanted, space
from runner.tune.state import State, state_file
from runner.tune.trials import KEPT, Trials

#: Part of the budget that the models alone may take.
_ALONE = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """One tuning. `settings`: `--set` as given, `flags`: the same as config values; `budget` in seconds."""

    archive: Path
    goal: Goal
    wanted: Wanted
    budget: float
    input: Path | None = None
    content_type: str | None = None
    settings: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False
    state: Path | None = None
    fresh: bool = False
    seed: int = 0


class Board(Protocol):
    """Who shows what becomes of the candidates."""

    def told(self, what: str) -> None:
        """What is being done."""

    def candidate(self, candidate: Candidate, state: str, detail: str | Reading) -> None:
        """`halving.Told`."""


class Tune:
    """One order on its way. `report` fills as it goes: whatever stops it, what was measured is there. `original`: the
    archive as given, `opened`: as it is measured.

    Constructing it opens the archive, its input and the state file. `folder`: empty, kept until all is done. Raises
    what that raises.
    """

    def __init__(self, asked: Asked, board: Board, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._asked = asked
        self._board = board
        self._folder = folder
        self._clock = clock
        self.begun = clock()
        self.archive = existing(str(asked.archive))
        self.original = unpack(self.archive)
        if not asked.trust:
            scan_folder(self.archive, self.original.model_dir).require_safe()
        for device in asked.wanted.devices or ():
            _require(device, self.original, asked.flags)
        settle = partial(settled_archive, device=None, flags=asked.flags)
        given = sampled(
            self.archive, self.original, settle, asked.input, asked.content_type, folder=folder, told=board.told
        )
        self._measured, self.opened, self._here, self.inputs = given.file, given.opened, given.here, given.inputs
        compile_ = self._here.config.pt2.compile
        self._compiles = compile_ is not None and compile_.enable
        self._machine = _machine()
        self.space = space(
            asked.wanted,
            device=self._here.kind,
            batch_size=self._here.config.batch_size,
            cores=self._machine.cores,
            gpus=self._machine.gpus,
        )
        self._state = self._opened_state()
        self._known = Known(self.space, asked.goal, self._machine)
        self._search: Search | None = None
        self._out: dict[Candidate, str] = {}
        self.report = _blank(asked, self.original, self.inputs, self._state)
        self.report.notes += given.notes

    def run(self) -> None:
        """Raises what keeps it from measuring anything; what comes later is told in the report."""
        try:
            with ExitStack() as stack:
                self._measure(stack)
        except KeyboardInterrupt:
            self.report.stopped = "interrupted"
        except ArchiveError as error:
            if self._search is None or not self._search.readings:
                raise
            self.report.stopped = str(error)
        self._conclude()

    def _measure(self, stack: ExitStack) -> None:
        left = self._pruned(self.space.candidates(), BEFORE)
        self._measure_alone({each.variant: None for each in left})
        left = [each for each in left if each.variant in self._known.alone]
        left = self._pruned(left, AFTER)
        trials = stack.enter_context(self._trials(servers_at_once(left, self._known, KEPT)))
        deadline = self.begun + self._asked.budget
        self._search = Search(self._known, trials, self._clock, deadline, self._board.candidate)
        self._board.told(f"{len(left)} of {len(self.space.candidates())} candidates are worth a server")
        self._search.run(left)

    def _pruned(self, candidates: list[Candidate], rules: Sequence[Rule]) -> list[Candidate]:
        left, out = prune(candidates, self._known, rules)
        self._out |= out
        for candidate in left:
            self._board.candidate(candidate, "waiting", "")
        for candidate, reason in out.items():
            self._board.candidate(candidate, "out", reason)
        return left

    def _measure_alone(self, variants: Mapping[Variant, None]) -> None:
        """The simplest first. When half of the budget is gone, the others are left out, with that reason."""
        original = Original(
            self.opened,
            self._asked.flags,
            self._here.kind,
            self._compiles,
            self.inputs.written(self._folder),
            self._asked.trust,
        )
        found: dict[Variant, Alone] = {}
        self._known = Known(self.space, self._asked.goal, self._machine, found)
        for number, variant in enumerate(variants):
            if found and self._clock() - self.begun > self._asked.budget * _ALONE:
                late = [
                    each for each in self.space.candidates() if each.variant not in found and each not in self._out
                ]
                self._leave(late, "its model was not measured: half of the budget was used up")
                break
            threads = f"{variant.threads} thread{'' if variant.threads == 1 else 's'}"
            self._board.told(
                f"model {number + 1} of {len(variants)} alone: {variant.device}, {variant.name}, {threads}"
            )
            found[variant] = self._alone(original, variant)

    def _leave(self, candidates: list[Candidate], reason: str) -> None:
        for candidate in candidates:
            self._out[candidate] = reason
            self._board.candidate(candidate, "out", reason)

    def _alone(self, original: Original, variant: Variant) -> Alone:
        sizes = sorted({1, *self.space.batch_sizes[variant.device]})
        sla = self._asked.goal.sla
        found = self._state.alone(variant, sizes, sla)
        if found is None:
            found = alone.measure(original, variant, sizes, sla)
            if found.load:
                self._state.add_alone(found)
        return found

    def _trials(self, kept: int) -> Trials:
        return Trials(
            self._measured,
            self.arguments,
            self.inputs.each,
            self._state,
            loads=lambda candidate: self._known.alone[candidate.variant].load,
            sla=self._asked.goal.sla,
            seed=self._asked.seed,
            kept=kept,
        )

    def arguments(self, candidate: Candidate) -> list[str]:
        """Of `archive serve`. A trial measures compiled code from its first request on."""
        values = self._settings(candidate, self._asked.goal.at_a_time)
        values |= {"pt2.background": False} if candidate.variant.compiled else {}
        sets = words_of(laid_over(normal_form(self._asked.flags), nested(values)))
        return [*(word for each in sets for word in ("--set", each)), *(["--trust"] if self._asked.trust else [])]

    def settings(self, choice: Choice) -> dict[str, Any]:
        """Dotted config key → value."""
        return self._settings(choice.candidate, choice.reading.load.concurrency)

    def _settings(self, candidate: Candidate, at_a_time: int | None) -> dict[str, Any]:
        queue = {} if QUEUE in self._asked.flags else room(at_a_time, self._here.config.job_queue_size)
        return {**of_candidate(candidate, own_device=self._here.kind, compiles=self._compiles), **queue}

    def _conclude(self) -> None:
        """The report, from what there is."""
        known = self._known.alone
        self.report.seconds = self._clock() - self.begun
        self.report.alone = [figures(each) for each in known.values()]
        self.report.tried = tried(self.space.candidates(), self._out, self._search, known)
        if self._search is not None:
            self.report.chosen = chosen(self._search, self._out, self.settings, self.yaml)
        self._note()

    def _note(self) -> None:
        if self._state.used:
            known = "1 measurement is" if self._state.used == 1 else f"{self._state.used} measurements are"
            self.report.notes.append(f"{known} of an earlier run; --fresh measures everything anew")
        if self._state.lost is not None:
            self.report.notes.append(self._state.lost)
        busy, cores = self.report.machine["loadAverage"], self.report.machine["cores"]
        if busy > cores / 2:
            self.report.notes.append(
                f"the machine was busy before the start (load average {busy:g} on {cores} cores)"
            )

    def yaml(self, choice: Choice, why: list[Reason]) -> str:
        """The archive's config with the chosen settings, and the reasons as comments."""
        flags = laid_over(normal_form(self._asked.flags), nested(self.settings(choice)))
        name = self.opened.manifest.config_file or "model-config.yaml"
        return config_with(self.opened.config_text, name, flags, _head(name, self._asked.goal, why))

    def _opened_state(self) -> State:
        described = machine.describe()
        inputs = hashlib.sha256(b"\0".join(each.body for each in self.inputs.each)).hexdigest()
        key = {
            "archive": content_of(self.opened.manifest, self.opened.model_dir),
            "machine": [described[name] for name in ("processor", "cores", "memoryBytes", "gpus")],
            "torch": described["torch"],
            "settings": [*self._asked.settings],
            "input": inputs,
        }
        return State(self._asked.state or state_file(key), key, fresh=self._asked.fresh)


def _require(device: str, opened: Unpacked, flags: Mapping[str, Any]) -> None:
    """Raises UsageError for a device that is asked for and not there."""
    try:
        settled_archive(opened, device, flags)
    except ServeFailed as error:
        raise UsageError(f"--devices {device}: this machine has none", hint="--devices cpu") from error


def _head(name: str, goal: Goal, why: list[Reason]) -> str:
    limit = "" if goal.sla is None else f", p99 within {goal.sla:g} ms"
    lines = [f"{name} as `archive tune` found it best: {goal.objective}{limit}."]
    lines += [f"{each.setting} {each.value}: {each.why}" for each in why]
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)


def _machine() -> Machine:
    free = free_memory()
    return Machine(
        cores=len(available_cores()),
        free=psutil.virtual_memory().available,
        gpus=len(free),
        gpu_free=min(free.values(), default=None),
    )


def _blank(asked: Asked, opened: Unpacked, inputs: Inputs, state: State) -> TuneReport:
    manifest = opened.manifest
    return TuneReport(
        made=machine.now(),
        tool=f"torch-archive {__version__}",
        machine=machine.describe(),
        model={
            "archive": str(asked.archive),
            "name": manifest.model_name,
            "version": manifest.model_version,
            "digest": opened.digest,
        },
        input=inputs.source,
        goal=asked.goal,
        budget=asked.budget,
        state=str(state.file),
    )
