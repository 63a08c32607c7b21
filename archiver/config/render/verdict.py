"""What is rendered: the files that were looked at and what was found in them."""

from __future__ import annotations

from dataclasses import dataclass

from archiver.config.findings import Finding, Severity


@dataclass(frozen=True, slots=True)
class Verdict:
    """`files` in the order they were checked, clean ones too; `findings` in order."""

    files: tuple[str, ...]
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def summary(self) -> str:
        """ "3 files, 2 errors, 1 warning": kinds that do not occur are left out, errors never."""
        parts = [_several(len(self.files), "file"), _several(self.count(Severity.ERROR), "error")]
        others = [(self.count(severity), severity.value) for severity in (Severity.WARNING, Severity.NOTE)]
        return ", ".join([*parts, *(_several(count, word) for count, word in others if count)])


def _several(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
