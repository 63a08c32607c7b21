"""For code scanning: SARIF 2.1.0, one run, one rule for each code that occurs."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from archiver import __version__
from archiver.config.codes import CODES
from archiver.config.findings import Finding
from archiver.config.render.verdict import Verdict

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(verdict: Verdict) -> str:
    codes = sorted({finding.code for finding in verdict.findings})
    driver = {"name": "torch-archive", "version": __version__, "rules": [_rule(code) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "artifacts": [{"location": {"uri": _uri(file)}} for file in verdict.files],
        "results": [_result(finding, codes) for finding in verdict.findings],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(code: str) -> dict[str, Any]:
    # Codes of other rooms (a damaged archive) have no sentence in our table; the code is one in words.
    return {"id": code, "shortDescription": {"text": CODES.get(code, code)}}


def _result(finding: Finding, codes: list[str]) -> dict[str, Any]:
    text = finding.message + (f"\nhint: {finding.hint}" if finding.hint else "")
    return {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": finding.severity.value,
        "message": {"text": text},
        "locations": [{"physicalLocation": _location(finding)}],
    }


def _location(finding: Finding) -> dict[str, Any]:
    where = finding.where
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(where.file)}}
    if where.line is not None:
        location["region"] = {"startLine": where.line, "startColumn": where.column or 1}
    return location


def _uri(file: str) -> str:
    return quote(PurePath(file).as_posix())
