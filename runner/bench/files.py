"""A report's files in a folder."""

from __future__ import annotations

import json
from pathlib import Path

from archiver.errors import CannotWrite
from runner.bench.render.markdown import markdown
from runner.bench.render.page import page
from runner.bench.render.table_csv import ab_report_csv, rounds_csv
from runner.bench.report import Report, plain

JSON = "report.json"


def write(report: Report, folder: Path) -> list[Path]:
    """report.json first: it holds everything, the others are made of it. Raises CannotWrite."""
    texts = {
        JSON: json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n",
        "report.md": markdown(report),
        "rounds.csv": rounds_csv(report),
        "ab_report.csv": ab_report_csv(report),
        "report.html": page(report),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_written(folder / name, text) for name, text in texts.items()]
    except OSError as error:
        raise CannotWrite(f"cannot write the report to {folder}: {error.strerror}", hint="--report DIR") from error


def _written(file: Path, text: str) -> Path:
    """Whole or not at all."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file
