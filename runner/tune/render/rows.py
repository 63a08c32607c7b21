"""The rows that the terminal, Markdown and the page show. Pure."""

from __future__ import annotations

from archiver.cli import console
from runner.bench.render.table import NOTHING, ms, rate
from runner.tune.choice import meets
from runner.tune.facts import Goal, Reading
from runner.tune.report import Chosen, Tried, TuneReport
from runner.tune.space import Candidate

HEADS = (
    *("device", "load", "requests", "workers", "threads", "batch", "optimisation", "requests/s"),
    *("p50", "p99", "core-ms", "memory", ""),
)
ALONE_HEADS = ("model alone", "threads", "load", "memory", "cosine", "ms by batch size")
#: Candidates that are listed; the JSON has all.
_SHOWN = 15
#: Letters of a refusal in a table.
_WIDEST = 60
#: Sentences on candidates that are out, one for each kind.
_KINDS = 8


def rows(report: TuneReport) -> list[tuple[str, ...]]:
    """Measured candidates, the best first."""
    return [_row(each, report) for each in report.measured[:_SHOWN]]


def _row(tried: Tried, report: TuneReport) -> tuple[str, ...]:
    assert tried.best is not None, "this is a bug: only measured candidates have rows"
    chosen = report.chosen
    mark = "←" if chosen is not None and chosen.candidate == tried.candidate else ""
    reading = chosen.reading if chosen is not None and mark else tried.best
    return (*cells(tried.candidate, reading), mark if meets(reading, report.goal) else f"{mark} beyond".strip())


def cells(candidate: Candidate, reading: Reading) -> tuple[str, ...]:
    """A candidate and what was measured, as the case study's table has it."""
    variant = candidate.variant
    settings = map(str, (candidate.workers, variant.threads, candidate.batch_size))
    figures = (rate(reading.throughput), ms(reading.p50), ms(reading.p99), *_taken(reading))
    return (variant.device, reading.load.name, f"{reading.requests}", *settings, variant.name, *figures)


def _taken(reading: Reading) -> tuple[str, str]:
    cost = NOTHING if reading.cost is None else ms(reading.cost * 1000)
    return cost, NOTHING if reading.memory is None else console.size(reading.memory)


def alone_rows(report: TuneReport) -> list[tuple[str, ...]]:
    """The models without a server."""
    return [
        (
            f"{each.device}, {each.name}",
            str(each.threads),
            f"{each.load:.1f} s",
            console.size(each.memory),
            f"{each.accuracy['cosine']:.5f}" if "cosine" in each.accuracy else NOTHING,
            _short(each.refused) or ", ".join(f"{size}: {ms(value)}" for size, value in each.milliseconds.items()),
        )
        for each in report.alone
    ]


def _short(refused: str | None) -> str:
    """For a table: the whole sentence stands among those on what is out."""
    words = " ".join((refused or "").split())
    return words if len(words) <= _WIDEST else f"{words[:_WIDEST]}…"


def out_lines(report: TuneReport) -> list[str]:
    """Why candidates were not measured: a sentence for each, of each kind only the first, with how many are alike."""
    kinds: dict[str, list[Tried]] = {}
    for each in report.tried:
        if each.state != "measured":
            kinds.setdefault(_kind(each), []).append(each)
    lines = []
    for alike in list(kinds.values())[:_KINDS]:
        first = alike[0]
        more = f" (and {len(alike) - 1} alike)" if len(alike) > 1 else ""
        lines.append(f"{first.state}: {first.candidate.name}: {first.reason}{more}")
    if len(kinds) > _KINDS:
        lines.append(f"and {sum(map(len, list(kinds.values())[_KINDS:]))} others, see --json")
    return lines


def _kind(tried: Tried) -> str:
    """The sentence without its figures and names."""
    words = (tried.reason or "").replace(":", " ").split()
    return f"{tried.state} {' '.join([word for word in words if word.isalpha()][:4])}"


def facts(report: TuneReport) -> list[tuple[str, str]]:
    """What was searched, where and how, as name and sentence."""
    machine = report.machine
    where = f"{machine['processor']}, {machine['cores']} cores, load average {machine['loadAverage']:g} before"
    counts = [sum(each.state == state for each in report.tried) for state in ("measured", "out", "failed")]
    searched = f"{counts[0]} candidates measured, {counts[1]} left out, {counts[2]} failed, in {report.seconds:.0f} s"
    return [
        ("model", f"{report.model['name']} {report.model['version']}"),
        ("goal", goal(report.goal)),
        ("input", report.input),
        ("searched", searched),
        ("machine", where),
    ]


def goal(of: Goal) -> str:
    """In words."""
    load = "" if of.rate is None else f" at {of.rate:g}/s"
    if of.concurrency is not None:
        load = f" at {', '.join(map(str, of.concurrency))} at a time"
    return f"{of.objective}{load}" + ("" if of.sla is None else f", p99 within {of.sla:g} ms")


def verdict(report: TuneReport) -> str:
    """The answer in one sentence."""
    chosen = report.chosen
    if chosen is None:
        return "nothing was measured"
    reading = chosen.reading
    found = (
        f"{chosen.candidate.name}: {rate(reading.throughput)}/s with p99 {ms(reading.p99)} ms at {reading.load.name}"
    )
    if chosen.met:
        return found
    return f"no configuration is within {report.goal.sla:g} ms; the nearest is {found}"


def too_slow_alone(report: TuneReport) -> str | None:
    """Where already the model alone breaks the limit with a single row: how long the fastest takes."""
    sla = report.goal.sla
    times = {
        f"{each.device}, {each.name}": min(each.milliseconds.values()) for each in report.alone if each.milliseconds
    }
    if sla is None or not times or min(times.values()) <= sla:
        return None
    fastest = min(times, key=lambda each: times[each])
    return f"no configuration is within {sla:g} ms: alone, one row takes {ms(times[fastest])} ms at best ({fastest})"


def reason_lines(chosen: Chosen) -> list[str]:
    """Why each setting."""
    lines = [f"{each['setting']} {each['value']}: {each['why']}" for each in chosen.reasons]
    return [*lines, *(f"as good, and less simple: {name}" for name in chosen.equals[:3])]
