"""A report's files in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from archiver.errors import CannotWrite
from runner.bench.render.markdown import markdown
from runner.bench.render.page import page
from runner.bench.render.table_csv import ab_report_csv, rounds_csv
from runner.bench.report import Report, plain

JSON, AB = "report.json", "ab_report.csv"


def write(report: Report, folder: Path) -> list[Path]:
    """report.json first: it holds everything, the others are made of it. Raises CannotWrite."""
    texts = {
        JSON: json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n",
        "report.html": page(report),
        "report.md": markdown(report),
        "rounds.csv": rounds_csv(report),
        AB: ab_report_csv([report]),
    }
    return write_texts(texts, folder)


def write_all(reports: Sequence[Report], folder: Path) -> list[Path]:
    """What several benches have in common: TorchServe's table, a line per level. Raises CannotWrite."""
    return write_texts({AB: ab_report_csv(reports)}, folder)


def write_texts(texts: Mapping[str, str], folder: Path, hint: str = "--report DIR") -> list[Path]:
    """Files of a report by name, in this order. `hint`: what names another folder. Raises CannotWrite."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_written(folder / name, text) for name, text in texts.items()]
    except OSError as error:
        raise CannotWrite(f"cannot write the report to {folder}: {error.strerror}", hint=hint) from error


def _written(file: Path, text: str) -> Path:
    """Whole or not at all."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file
