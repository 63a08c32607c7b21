"""A variant in a process of its own, without a server: how long each batch size takes, what it needs, and whether its
answers are those of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from archiver.config.forms import normal_form
from archiver.config.origins import laid_over
from archiver.errors import ArchiveError
from archiver.store import Unpacked
from runner import wire
from runner.local import served, settled_archive
from runner.offline.process import LoadedModel, ModelFailed
from runner.tune.facts import Alone
from runner.tune.settings import is_scheme, nested, of_variant
from runner.tune.space import Variant

#: Seconds of each batch size, each of two times: the smaller median counts, for others use the machine as well.
_SECONDS = 0.15
_APPLIED = "applied"
#: What `verify` measures, as a report of the pipeline names it.
_MEASURED = ("cosine", "maxAbsError", "top1")
#: Beyond the limits a variant is told, not the end of it all; and a trial waits for the compiler.
_TRIED: Mapping[str, Any] = {"verify": {"action": "fallback"}, "pt2": {"fallback": "eager", "background": False}}


@dataclass(frozen=True, slots=True)
class Original:
    """The archive whose variants are measured. `flags`: settings of the command line; `device` and `compiles`: its
    own device here, and whether it declares compilation; `files`: what is sent, with content types."""

    opened: Unpacked
    flags: Mapping[str, Any]
    device: str
    compiles: bool
    files: Sequence[tuple[Path, str]]
    trusted: bool


def measure(original: Original, variant: Variant, sizes: Sequence[int], sla: float | None) -> Alone:
    """Batch sizes rise until one takes longer than `sla` milliseconds."""
    try:
        with LoadedModel(_order(original, variant, max(sizes))) as model:
            refused, measured = verdict(model.report, variant)
            curve: dict[int, float] = {}
            if refused is None:
                model.use(original.files)
                curve = _curve(model, sizes, sla)
            return Alone(variant, curve, model.seconds, model.peak(), model.gpu_peak(), model.base, refused, measured)
    except ModelFailed as error:
        return Alone(variant, {}, refused=f"does not load: {error.message}")
    except ArchiveError as error:
        return Alone(variant, {}, refused=error.message)


def _order(original: Original, variant: Variant, largest: int) -> wire.Load:
    """As a worker of a server with that batch size would be told to load it."""
    opened = original.opened
    own = {"batchSize": largest, **of_variant(variant, own_device=original.device, compiles=original.compiles)}
    flags = laid_over(laid_over(normal_form(original.flags), nested(own)), _TRIED)
    device = variant.device if variant.device != original.device else None
    here = settled_archive(opened, device, flags)
    return structs.replace(served(opened, here, trusted=original.trusted), threads=variant.threads)


def verdict(report: Mapping[str, Any], variant: Variant) -> tuple[str | None, dict[str, float]]:
    """Why what the variant stands for does not run, and what was measured of its answers."""
    rows = {row["name"]: row for row in report["steps"]}
    asked = ["compile"] if variant.compiled else []
    if variant.precision is not None:
        asked.insert(0, "quantization" if is_scheme(variant.precision) else "precision")
    measured: dict[str, float] = {}
    for name in asked:
        row = rows[name]
        measured |= {figure: row["measured"][figure] for figure in _MEASURED if figure in row["measured"]}
        if row["status"] != _APPLIED:
            return f"{name} {row['declared']}: {row['reason'] or row['status']}", measured
    return None, measured


def _curve(model: LoadedModel, sizes: Sequence[int], sla: float | None) -> dict[int, float]:
    curve: dict[int, float] = {}
    for size in sorted(sizes):
        curve[size] = model.milliseconds(size, _SECONDS)
        if sla is not None and curve[size] > sla:
            curve[size] = min(curve[size], model.milliseconds(size, _SECONDS))
        if sla is not None and curve[size] > sla:
            break
    for size in reversed(curve):
        curve[size] = min(curve[size], model.milliseconds(size, _SECONDS))
    return curve
