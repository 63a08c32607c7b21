"""For programs: files, findings and counts as one JSON document."""

from __future__ import annotations

import json
from typing import Any

from archiver.config.findings import Finding, Severity
from archiver.config.render.verdict import Verdict


def render(verdict: Verdict) -> str:
    document = {
        "files": list(verdict.files),
        "findings": [_finding(finding) for finding in verdict.findings],
        "counts": {severity.value: verdict.count(severity) for severity in Severity},
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _finding(finding: Finding) -> dict[str, Any]:
    where = finding.where
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "path": where.path,
        "message": finding.message,
        "hint": finding.hint,
    }
