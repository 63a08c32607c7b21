"""Finding: the one shape of "something is wrong with what you gave me", for configs, handlers and samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Where:
    """A place in the user's input. `line` and `column` count from 1; `path` is the key path ("pt2.compile.mode")."""

    file: str
    line: int | None = None
    column: int | None = None
    path: str = ""

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n is not None)]
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. `code` is in words and stable: documentation anchor, suppression name and API type in one."""

    code: str
    severity: Severity
    where: Where
    message: str
    hint: str | None = None

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        return f"{self.where}: {self.severity.value}: {self.message} [{self.code}]"


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By file, then by place in the file, then by code."""
    return sorted(findings, key=lambda f: (f.where.file, f.where.line or 0, f.where.column or 0, f.code))
