"""For people and editors: `file:line:column: severity: message [code]`, a hint line, a summary."""

from __future__ import annotations

from collections.abc import Callable

from archiver.config.findings import Finding
from archiver.config.render.verdict import Verdict


def plain(finding: Finding) -> str:
    """A finding without colour."""
    return f"{finding}\nhint: {finding.hint}" if finding.hint else str(finding)


def render(verdict: Verdict, show: Callable[[Finding], str] = plain) -> str:
    """`show` draws one finding; the console hands in one with colour."""
    return "\n".join([*map(show, verdict.findings), verdict.summary])
