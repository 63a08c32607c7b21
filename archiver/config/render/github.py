"""For GitHub Actions: workflow commands that become annotations in the diff, and the summary in the log.

The escapes are those of the runner's own toolkit: `%`, line ends everywhere, `:` and `,` in properties too.
"""

from __future__ import annotations

from archiver.config.findings import Finding, Severity
from archiver.config.render.verdict import Verdict

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render(verdict: Verdict) -> str:
    return "\n".join([*map(_annotation, verdict.findings), verdict.summary])


def _annotation(finding: Finding) -> str:
    where = finding.where
    places = {"file": where.file, "line": where.line, "col": where.column, "title": finding.code}
    given = ",".join(f"{key}={_property(str(value))}" for key, value in places.items() if value is not None)
    message = finding.message + (f"\nhint: {finding.hint}" if finding.hint else "")
    return f"::{_COMMANDS[finding.severity]} {given}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
