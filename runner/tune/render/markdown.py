"""For a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Iterator

from runner.bench.render.markdown import part
from runner.tune.render.rows import ALONE_HEADS, HEADS, alone_rows, facts, out_lines, reason_lines, rows, verdict
from runner.tune.report import TuneReport


def markdown(report: TuneReport) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: TuneReport) -> Iterator[str]:
    yield f"# {report.model['name']} tuned, {report.made}"
    yield ""
    yield from (f"- {name}: {sentence}" for name, sentence in facts(report))
    yield from ("", "## Result", "", verdict(report), "")
    if report.chosen is not None:
        yield from (f"- {line}" for line in reason_lines(report.chosen))
        yield from ("", "```yaml", report.chosen.yaml.rstrip(), "```")
    yield from part("Candidates", "The best first; latencies in milliseconds.", HEADS, rows(report))
    told = "One process with the model; milliseconds of the whole handler."
    yield from part("Without a server", told, ALONE_HEADS, alone_rows(report))
    yield ""
    yield from (f"- {line}" for line in [*out_lines(report), *report.notes])
    if report.stopped:
        yield f"- ended early: {report.stopped}"
