"""A tuning's files in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runner.bench.files import write_texts
from runner.bench.render.table_csv import csv_text
from runner.tune.render.markdown import markdown
from runner.tune.render.page import page
from runner.tune.report import Tried, TuneReport, plain


def write(report: TuneReport, folder: Path) -> list[Path]:
    """tune.json first: it holds everything, the others are made of it. Raises CannotWrite."""
    texts = {
        "tune.json": json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n",
        "tune.html": page(report),
        "tune.md": markdown(report),
        "candidates.csv": csv_text([_line(each) for each in report.tried]),
    }
    if report.chosen is not None:
        texts["model-config.yaml"] = report.chosen.yaml
    return write_texts(texts, folder)


def _line(tried: Tried) -> dict[str, Any]:
    candidate, best = tried.candidate, tried.best
    variant = candidate.variant
    return {
        "device": variant.device,
        "precision": variant.precision,
        "compile": variant.compiled,
        "workers": candidate.workers,
        "threads": variant.threads,
        "batch_size": candidate.batch_size,
        "state": tried.state,
        "concurrency": best and best.load.concurrency,
        "rate": best and best.load.rate,
        "requests": best and best.requests,
        "throughput": best and round(best.throughput, 3),
        "p50": best and best.p50,
        "p99": best and best.p99,
        "failed": best and best.failed,
        "cores": best and best.cores,
        "memory": best and best.memory,
        "reason": tried.reason,
    }
