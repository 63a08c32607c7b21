"""`archive optimize`: open → as loaded → as declared → rewrite → pack → optimised → compare → publish.

Rules of the room
1. The original is read, never written. The new archive takes its place beside it only after it was loaded and run in
   a process of its own, and its answers to the sample are as close to the original's as `verify` asks.
2. Everything in the table was measured by loading; nothing is computed from what should be so.
3. What cannot be stored in its final form (torchao's weights) is applied when the archive is loaded, and told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from archiver.config.model import ModelConfig, to_plain
from archiver.errors import ArchiveError
from archiver.manifest import Manifest
from archiver.members import Member
from archiver.repack import content_of, members_of, repack
from archiver.scan.scan import scan_folder
from archiver.store import Unpacked, unpack
from runner import wire
from runner.local import Settled, order, settled_archive
from runner.offline.artefacts import Artefact, compiled_for, with_artefacts
from runner.offline.process import LoadedModel
from runner.offline.reconfigured import child_of, own_members, with_config
from runner.offline.settings import config_file
from runner.offline.weights import Rewritten, rewrite
from runner.optimize.edge import Call
from runner.optimize.verify import Verdict, compare

ORIGINAL, DECLARED, OPTIMISED = "original, eager", "original, as declared", "optimised"


class OptimizeFailed(ArchiveError):
    """There is nothing to optimise, or what came out is not as good as declared. Nothing was written."""

    code = "optimize/failed"


@dataclass(frozen=True, slots=True)
class Column:
    """One way to have the model. Sizes in bytes, `load` in seconds, `milliseconds` by batch size. `verdict`: its
    answers to the sample against the original's, None for the original."""

    name: str
    size: int
    load: float
    peak: int
    milliseconds: Mapping[int, float]
    verdict: Verdict | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured and done. `target` is None after a dry run."""

    columns: tuple[Column, ...]
    weights: tuple[Rewritten, ...]
    compiled: int
    target: Path | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for. `flags`: settings over the archive's config. `devices`: to compile for."""

    device: str | None
    devices: tuple[str, ...] | None
    flags: Mapping[str, Any]
    dry_run: bool


def optimize(source: Path, target: Path, wanted: Wanted, told: Callable[[str], None]) -> Outcome:
    """Write the optimised archive. `told`: hears what is being done.

    Raises OptimizeFailed, ModelFailed, PrecompileFailed and UntrustedPickle (nothing was written), and what opening
    an archive raises.
    """
    told("opening the archive")
    opened = unpack(source)
    scan_folder(source, opened.model_dir).require_safe()
    here = settled_archive(opened, wanted.device, wanted.flags)
    devices = _devices(wanted, here)
    _check_worth(here.config, devices)
    with tempfile.TemporaryDirectory(prefix="archive-optimize-") as folder:
        run = _Run(source, opened, here, wanted.flags, Path(folder), told)
        return run.outcome(target, devices, dry_run=wanted.dry_run)


def _devices(wanted: Wanted, here: Settled) -> tuple[str, ...]:
    """To compile for: what was asked for, else this device where compiling is declared."""
    if wanted.devices is not None:
        return wanted.devices
    compile_ = here.config.pt2.compile
    return (here.kind,) if compile_ is not None and compile_.enable and here.kind in ("cpu", "cuda") else ()


def _check_worth(config: ModelConfig, devices: Sequence[str]) -> None:
    if config.warmup.input is None:
        hint = "pack a request as a file and declare it: `warmup: {input: sample.json}`"
        raise OptimizeFailed("the archive has no sample to measure and compare with", hint=hint)
    if config.precision.dtype is None and config.quantization is None and not devices:
        hint = "declare them in its config, or for once: `--set precision=bf16`"
        raise OptimizeFailed("the archive declares neither precision, quantization nor pt2.compile", hint=hint)


class _Run:
    """One archive's way through the stages."""

    def __init__(
        self,
        source: Path,
        opened: Unpacked,
        here: Settled,
        flags: Mapping[str, Any],
        folder: Path,
        told: Callable[[str], None],
    ) -> None:
        self._source = source
        self._opened = opened
        self._here = here
        self._flags = flags
        self._folder = folder
        self._told = told
        self._batches = tuple(sorted({1, here.config.batch_size}))
        self._dtypes: Mapping[str, str] = {}
        self._own_file: str | None = None

    def outcome(self, target: Path, devices: Sequence[str], *, dry_run: bool) -> Outcome:
        original = self._column(ORIGINAL, self._opened, _eager(self._here.config), self._source)
        declared = self._column(DECLARED, self._opened, self._here.config, self._source)
        weights = self._rewritten()
        with ExitStack() as stack:
            draft = self._folder / f"draft{''.join(target.suffixes[-2:])}"
            final = self._drafted(draft, *self._packed(weights))
            artefacts: Sequence[Artefact] = ()
            if devices:
                self._told("compiling")
                artefacts = stack.enter_context(compiled_for(final, devices))
                final = self._drafted(draft, *with_artefacts(final, artefacts))
            optimised = self._column(OPTIMISED, final, self._here.config, draft)
            self._check(optimised)
            if not dry_run:
                repack(target, members_of(final.manifest, final.model_dir), _with_report(final, optimised))
            size = sum(artefact.size for artefact in artefacts)
        return Outcome((original, declared, optimised), tuple(weights), size, None if dry_run else target)

    def _drafted(self, draft: Path, members: Iterable[Member], manifest: Manifest) -> Unpacked:
        """The archive as it would be, opened as whoever serves it opens it."""
        repack(draft, members, manifest)
        return unpack(draft, cache=self._folder / "drafts")

    def _column(self, name: str, opened: Unpacked, config: ModelConfig, file: Path) -> Column:
        """Load the model in a process of its own and measure it."""
        self._told(f"measuring: {name}")
        kept = self._folder / f"{name}.safetensors"
        with LoadedModel(self._order(name, opened, config)) as model:
            peak = model.peak()
            model.outputs(kept)
            times = {batch: model.milliseconds(batch) for batch in self._batches}
            if name == DECLARED:
                self._dtypes, self._own_file = model.dtypes(), (model.report["weights"] or {}).get("file")
        verdict = None if name == ORIGINAL else self._verdict(kept)
        return Column(name, _size(file), model.seconds, peak, times, verdict, tuple(model.report["lines"]))

    def _order(self, name: str, opened: Unpacked, config: ModelConfig) -> wire.Load:
        load = order(opened.model_dir, opened.manifest, self._here, trusted=False)
        load.config = to_plain(config)
        load.digest = content_of(opened.manifest, opened.model_dir)
        load.compile_cache = str(self._folder / "compiled" / name)
        load.precompiled = name == OPTIMISED
        return load

    def _verdict(self, kept: Path) -> Verdict:
        """The kept answers against those of the original."""
        wanted, got = (_call(path) for path in (self._folder / f"{ORIGINAL}.safetensors", kept))
        return compare([wanted], [got])

    def _rewritten(self) -> list[Rewritten]:
        folder = self._folder / "weights"
        found = (
            rewrite(each, self._dtypes, folder, own_loader=each.name == self._own_file)
            for each in own_members(self._opened)
        )
        return [each for each in found if each is not None]

    def _packed(self, weights: Iterable[Rewritten]) -> tuple[list[Member], Manifest]:
        """The members with the rewritten ones, and the manifest with their names."""
        new = {each.before.name: each.after for each in weights}
        file = self._opened.manifest.serialized_file
        renamed = replace(
            child_of(self._opened, self._source),
            serialized_file=new[file].name if file in new else file,
        )
        members = [new.get(each.name, each) for each in own_members(self._opened)]
        return self._configured(members, renamed) if self._flags else (members, renamed)

    def _configured(self, members: list[Member], manifest: Manifest) -> tuple[list[Member], Manifest]:
        """With the command line's settings in the config."""
        folder = self._folder / "config"
        file = config_file(folder, self._opened.config_text, manifest.config_file, self._flags, "`archive optimize`")
        return with_config(members, manifest, folder, file)

    def _check(self, optimised: Column) -> None:
        """Raises OptimizeFailed when the new archive's answers are too far from the original's."""
        verify = self._here.config.verify
        problem = optimised.verdict.beyond(verify) if optimised.verdict is not None else None
        if problem is not None and verify.action != "warn":
            hint = "`verify` in the config sets the limits; `action: warn` writes it all the same"
            raise OptimizeFailed(f"the optimised archive is not the model that it was: {problem}", hint=hint)


def _eager(config: ModelConfig) -> ModelConfig:
    """The config without any optimisation."""
    return replace(
        config,
        precision=replace(config.precision, dtype=None),
        quantization=None,
        memory_format=None,
        attention=None,
        pt2=replace(config.pt2, compile=None),
    )


def _call(path: Path) -> Call:
    return Call(None, load_file(path), 0.0)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else sum(each.stat().st_size for each in file.rglob("*"))


def _with_report(opened: Unpacked, optimised: Column) -> Manifest:
    return replace(opened.manifest, report=optimised.lines)
