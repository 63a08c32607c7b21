"""Figures and config → the changes that are worth trying. Pure.

Each rule looks at one thing and names a change of the config, or nothing. `bound` is Amdahl's: how much faster a
batch were if the part that the change bears on took no time. It is no promise; `trying` measures what it brings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yaml import safe_dump

from archiver.config.model import ModelConfig
from archiver.config.origins import laid_over
from runner.profile.figures import COMPILED, COPYING, MATRIX, OTHER, PYTHON, STAGES, Figures

#: Parts of a batch below which a change is not worth trying.
_SOME, _MUCH = 0.15, 0.3
_LARGEST_BATCH = 256


@dataclass(frozen=True, slots=True)
class Situation:
    """What the model is served with. `kind`: cpu, cuda or mps. `threads`: of each worker."""

    config: ModelConfig
    kind: str
    workers: int
    threads: int
    cores: int


@dataclass(frozen=True, slots=True)
class Change:
    """`settings` over the config, `yaml` as a person would write them; both empty where no setting helps. `steps` of
    the pipeline must then be applied. `batch`, `processes`: what it is to be measured with."""

    name: str
    why: str
    bound: float | None
    batch: int
    settings: Mapping[str, Any]
    yaml: str = ""
    steps: tuple[str, ...] = ()
    processes: int = 1


Rule = Callable[[Figures, Situation], Change | None]


def bf16(figures: Figures, here: Situation) -> Change | None:
    """Matrix products in half the bits."""
    share = figures.share(MATRIX, COMPILED)
    if here.config.precision.dtype in ("bf16", "fp16", "auto") or here.kind == "mps" or share < _SOME:
        return None
    why = f"{_percent(share)} of a batch are {_named(figures, MATRIX, COMPILED)}"
    settings = {"precision": {"dtype": "bf16"}}
    # How much of compiled code are matrix products is not known.
    bound = None if figures.share(COMPILED) else _amdahl(share)
    return Change("bf16", why, bound, figures.batch, settings, "precision: bf16", ("precision",))


def compiling(figures: Figures, here: Situation) -> Change | None:
    """One piece of code instead of many operators."""
    declared = here.config.pt2.compile
    share = figures.share(OTHER, COPYING) + _python_in_forward(figures)
    if (declared is not None and declared.enable) or here.kind == "mps" or share < _SOME / 3:
        return None
    why = f"{_percent(share)} of a batch are small operators, copies and Python between operators"
    yaml = "pt2: {compile: {enable: true, backend: inductor}}"
    return Change("compile", why, _amdahl(share), figures.batch, _COMPILE, yaml, ("compile",))


_COMPILE = {"pt2": {"compile": {"enable": True, "backend": "inductor"}}}


def int8(figures: Figures, here: Situation) -> Change | None:
    """Linear layers in 8 bits: on CPUs, where compiled."""
    share = sum(each.share for each in figures.operators if "mm" in each.name or "linear" in each.name)
    if here.config.quantization is not None or here.kind != "cpu" or share < _MUCH:
        return None
    settings = {"quantization": {"scheme": "int8-dynamic"}, **_COMPILE}
    yaml = "quantization: int8-dynamic\npt2: {compile: {enable: true, backend: inductor}}"
    why = f"{_percent(share)} of a batch are linear layers"
    return Change("int8", why, _amdahl(share), figures.batch, settings, yaml, ("quantization", "compile"))


def channels_last(figures: Figures, here: Situation) -> Change | None:
    """Pictures with their channels innermost."""
    share = sum(each.share for each in figures.operators if "conv" in each.name)
    if here.config.memory_format is not None or share < _MUCH:
        return None
    why = f"{_percent(share)} of a batch are convolutions"
    settings = {"memoryFormat": "channels_last"}
    yaml = "memoryFormat: channels_last"
    return Change("channels last", why, _amdahl(share), figures.batch, settings, yaml, ("memoryFormat",))


def one_length(figures: Figures, here: Situation) -> Change | None:
    """Compiled code that takes what eager has to answer now."""
    declared = here.config.pt2.compile
    if not figures.unfit or declared is None or declared.dynamic is True:
        return None
    why = f"{figures.unfit} of {figures.batches} batches were answered by eager: nothing compiled fits them"
    share = min(figures.unfit / figures.batches, 1.0) * figures.forward_share
    settings = {"pt2": {"compile": {"dynamic": True}}}
    yaml = "pt2: {compile: {dynamic: true}}"
    return Change("dynamic shapes", why, _amdahl(share), figures.batch, settings, yaml, ("compile",))


def smaller_batches(figures: Figures, here: Situation) -> Change | None:
    """Rows that travel with fewer others are padded less."""
    size = figures.batch // 4
    if figures.padding is None or figures.padding.tokens < _SOME or size < 1:
        return None
    lost = figures.padding.lost_ms / figures.ms
    why = f"{_percent(figures.padding.tokens)} of the tokens are padding, {_percent(lost)} of a batch"
    return Change("smaller batches", why, _amdahl(lost), size, {"batchSize": size}, f"batchSize: {size}")


def larger_batches(figures: Figures, here: Situation) -> Change | None:
    """What a batch costs once is shared by more rows."""
    size = figures.batch * 4
    if size > _LARGEST_BATCH or (figures.padding is not None and figures.padding.tokens > _MUCH):
        return None
    why = f"{_percent(figures.share(PYTHON))} of a batch are Python, and every operator is started once per batch"
    return Change("larger batches", why, None, size, {"batchSize": size}, f"batchSize: {size}")


def more_workers(figures: Figures, here: Situation) -> Change | None:
    """A worker on each core, in place of one on all."""
    if here.kind != "cpu" or here.workers > 1 or here.cores < 2:
        return None
    each = {"minWorkers": here.cores, "maxWorkers": here.cores}
    yaml = f"minWorkers: {here.cores}\nmaxWorkers: {here.cores}"
    settings = {**each, "threads": {"intraOp": 1}}
    why = f"one worker has {_many(here.threads, 'thread')} on {here.cores} cores"
    return Change("a worker per core", why, None, figures.batch, settings, yaml, processes=here.cores)


def fewer_threads(figures: Figures, here: Situation) -> Change | None:
    """Small operators lose more by being divided than they gain."""
    if here.kind != "cpu" or here.threads < 2:
        return None
    why = f"operators are divided among {here.threads} threads"
    return Change("one thread", why, None, figures.batch, {"threads": {"intraOp": 1}}, "threads: {intraOp: 1}")


def handlers_code(figures: Figures, here: Situation) -> Change | None:
    """What no setting makes faster."""
    share = figures.handler_share
    if share is None or share < _MUCH:
        return None
    slowest = max(
        (stage for stage in figures.stages if stage.name in STAGES and stage.name != "inference"),
        key=lambda stage: stage.share,
        default=None,
    )
    where = "" if slowest is None else f", most of it {slowest.name}"
    why = f"{_percent(share)} of a batch are the handler's own code{where}"
    return Change("the handler's code", why, _amdahl(share), figures.batch, {})


RULES: tuple[Rule, ...] = (
    bf16,
    compiling,
    int8,
    channels_last,
    one_length,
    smaller_batches,
    larger_batches,
    more_workers,
    fewer_threads,
    handlers_code,
)


def worth_trying(figures: Figures, here: Situation) -> list[Change]:
    """In the order of the rules."""
    return [change for rule in RULES if (change := rule(figures, here)) is not None]


def together(changes: Sequence[Change]) -> Change:
    """All of them as one; where two set the same, the first counts."""
    settings: dict[str, Any] = {}
    for change in reversed(changes):
        settings = laid_over(settings, change.settings)
    return Change(
        name=" + ".join(change.name for change in changes),
        why="",
        bound=None,
        batch=settings.get("batchSize", changes[0].batch),
        settings=settings,
        yaml=safe_dump(settings, sort_keys=False).strip(),
        steps=tuple(dict.fromkeys(step for change in changes for step in change.steps)),
        processes=max(change.processes for change in changes),
    )


def _python_in_forward(figures: Figures) -> float:
    return sum(each.share for each in figures.operators if each.name == f"forward: {PYTHON}")


def _amdahl(share: float) -> float:
    return 1 / max(1 - share, 0.01)


def _named(figures: Figures, *kinds: str) -> str:
    return " and ".join(kind for kind in kinds if figures.share(kind) > 0)


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
