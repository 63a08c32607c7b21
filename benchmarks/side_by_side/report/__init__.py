"""Recorded lines → the page, the chart, and the marked parts of REPORT.md and README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.side_by_side.records import Record
from benchmarks.side_by_side.report import bars, blocks, markdown
from benchmarks.side_by_side.report.figures import Results
from benchmarks.side_by_side.report.page import page
from benchmarks.side_by_side.servers import PROJECT

_FOLDER = PROJECT / "benchmarks"
_CHART, _PAGE = "side-by-side.svg", "side-by-side.html"
#: What the one chart shows: where servers differ most.
_CONNECTIONS = 64


def write(records: Sequence[Record]) -> list[Path]:
    """For everybody: what the project shows of itself. Raises NoMarkers."""
    results = Results(records)
    pages = {
        PROJECT / "README.md": markdown.readme_block(results, f"{_FOLDER.name}/{_CHART}"),
        _FOLDER / "REPORT.md": markdown.report_block(results, _CHART),
    }
    texts = {file: blocks.replaced(file.read_text("utf-8"), block, file.name) for file, block in pages.items()}
    return [*_drawn(results, _FOLDER), *_written(texts)]


def write_aside(records: Sequence[Record], folder: Path) -> list[Path]:
    """The page and the chart alone."""
    return _drawn(Results(records), folder)


def _drawn(results: Results, folder: Path) -> list[Path]:
    return _written({folder / _CHART: bars.chart(results, _CONNECTIONS), folder / _PAGE: page(results)})


def _written(texts: dict[Path, str]) -> list[Path]:
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    return list(texts)
