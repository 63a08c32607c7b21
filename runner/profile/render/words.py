"""The rows and sentences that the terminal and the page show."""

from __future__ import annotations

import re

from archiver.cli import console
from runner.bench.render.table import ms, rate
from runner.profile.figures import COPYING, PYTHON, Figures, Operator, Padding
from runner.profile.report import Profile, Tried
from runner.profile.tree import Branch

STAGE_HEADS = ("stage", "ms", "share")
_MOST_OPERATORS = 15
_LONGEST = 60
_DIRECTIONS = {
    "HtoD": "host to device",
    "DtoH": "device to host",
    "DtoD": "within the device",
    "PtoP": "between devices",
}
_NUMBER = re.compile(r"\.\d+(?=[. ])")


def facts(report: Profile) -> list[tuple[str, str]]:
    """What was profiled, and the figures that are one sentence each, as name and sentence."""
    figures, model = report.figures, report.model
    threads = "1 thread" if model["threads"] == 1 else f"{model['threads']} threads"
    batch = f"{ms(figures.ms)} ms, {rate(figures.rows_per_second)} rows/s"
    found = [
        ("model", f"{model['name']} {model['version']} on {model['device']}, {threads}"),
        ("input", f"{report.input}; {figures.batches} batches of {figures.batch}"),
        *(("runs", line) for line in model["lines"]),
        ("batch", f"{batch}; under the profiler {ms(figures.profiled_ms)} ms"),
        ("padding", _padding(figures.padding, figures)),
        ("eager", _eager(figures)),
        ("copies", _copies(figures)),
    ]
    if figures.handler_share is not None:
        found.append(("handler", f"{percent(figures.handler_share)} of a batch outside the model"))
    if figures.device_share is not None:
        found.append(("GPU", f"computes or copies for {percent(figures.device_share)} of a batch"))
    if figures.not_apart is not None:
        found.append(("modules", figures.not_apart))
    machine = report.machine
    where = f"{machine['processor']}, {machine['cores']} cores, load average {machine['loadAverage']:g} before"
    return [*found, ("machine", where)]


def _padding(padding: Padding | None, figures: Figures) -> str:
    if padding is None:
        return "none"
    parts = [
        f"{percent(share)} of the {what}"
        for what, share in (("tokens", padding.tokens), ("rows", padding.rows))
        if share
    ]
    told = (
        "measured against batches of equally long rows" if padding.measured else "estimated: the same part of forward"
    )
    return f"{' and '.join(parts)}; {ms(padding.lost_ms)} of {ms(figures.ms)} ms ({told})"


def _eager(figures: Figures) -> str:
    if not figures.unfit and not figures.failed:
        return "no recompiles, no calls that eager answered in place of compiled code"
    return f"answered {figures.unfit} calls that nothing compiled fits, {figures.failed} where compiled code failed"


def _copies(figures: Figures) -> str:
    told = [
        f"{_DIRECTIONS.get(each.direction, each.direction)} {each.count:.0f} × a batch, "
        f"{console.size(round(each.bytes))}, {ms(each.ms)} ms"
        for each in figures.transfers
    ]
    between = "; ".join(told) or "none between host and device"
    return f"{between}; copies and conversions take {percent(figures.share(COPYING))} of a batch"


def stage_rows(figures: Figures) -> list[tuple[str, ...]]:
    return [("  " * each.depth + each.name, ms(each.ms), percent(each.share)) for each in figures.stages]


def operator_heads(figures: Figures) -> tuple[str, ...]:
    gpu = [] if figures.device_share is None else ["GPU ms"]
    return ("operator", "calls", "own ms", "share", *gpu, "shapes")


def operator_rows(figures: Figures) -> list[tuple[str, ...]]:
    """By own time, on the GPU where there is one."""
    on_gpu = figures.device_share is not None
    ordered = sorted(figures.operators, key=lambda each: _weight(each, on_gpu), reverse=True)
    return [_operator_row(each, on_gpu) for each in ordered[:_MOST_OPERATORS] if _weight(each, on_gpu) > 0]


def _weight(operator: Operator, on_gpu: bool) -> float:
    return operator.device_ms if on_gpu else operator.share


def _operator_row(each: Operator, on_gpu: bool) -> tuple[str, ...]:
    shapes = each.shapes if len(each.shapes) <= _LONGEST else each.shapes[:_LONGEST] + "…"
    gpu = [ms(each.device_ms)] if on_gpu else []
    calls = "" if each.kind == PYTHON else f"{each.calls:.4g}"
    return (each.name, calls, ms(each.ms), percent(each.share), *gpu, shapes)


def gain(tried: Tried) -> str:
    """What a change brings, and how that is known."""
    if tried.gain is not None:
        spread = f"{tried.gain.low:.2f} to {tried.gain.high:.2f}"
        return f"{tried.gain.median:.2f} × the rows a second (measured, rounds {spread})"
    if tried.bound is not None:
        return f"at most {tried.bound:.2f} × (estimated: if that part took no time)"
    return "not measured"


def no_gain(tried: Tried) -> str:
    """Why a change that was tried is not among the promising ones."""
    if tried.refused is not None:
        return tried.refused
    unsure = tried.gain is not None and tried.gain.low <= 1 < tried.gain.median
    return f"{gain(tried)}, not faster in every round" if unsure else gain(tried)


def batch_note(tried: Tried, report: Profile) -> str:
    """What becomes of a batch's time; empty where nothing was measured."""
    return "" if tried.batch_ms is None else f"a batch takes {ms(tried.batch_ms)} ms, now {ms(report.figures.ms)}"


def percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 or not share else f"{share:.1%}"


def short(name: str, above: str) -> str:
    """A module's name without that of the one around it: `encoder.layer.0` below `encoder` is `layer.0`."""
    outer = above.partition(" ")[0]
    return name.removeprefix(f"{outer}.") if " " in above else name


def alike(branch: Branch) -> Branch:
    """The tree with parts that differ only in their number laid over each other, as the layers of a model."""
    merged: dict[str, Branch] = {}
    for each in branch.branches:
        name = _NUMBER.sub(".*", each.name)
        into = merged.setdefault(name, Branch(name, each.is_operator))
        into.calls += each.calls
        into.share += each.share
        into.branches = [*into.branches, *each.branches]
    below = sorted((alike(each) for each in merged.values()), key=lambda each: -each.share)
    return Branch(branch.name, branch.is_operator, branch.calls, branch.share, below)
