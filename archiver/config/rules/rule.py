"""What a rule is: a small function over a config that has the schema's shape, with one code in words.

A rule sees the values in their nested form (forms.py), as they hold on one device, with defaults filled in, and
without anything that the schema has refused: it never has to check a type. It yields problems; the place in the
file is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archiver.config.findings import Finding, Severity
from archiver.config.forms import written_paths
from archiver.config.source import Path, Source, dotted


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at `path` (nested form); `key`: point at the key instead of the value."""

    path: Path
    message: str
    hint: str | None = None
    key: bool = False


class RefusedValue(Exception):
    """A rule asked for a value that the schema refuses."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A config on one device. `given` has only what the file says, `values` has the defaults too.

    `device`: cpu, cuda or mps where the file decides it, else None. `override`: the key under `devices` whose
    values are laid over. `members`: names in the archive, None where they are not known. `refused`: paths in the
    file that the schema refuses; a rule that asks for one of them ends, since nobody knows what was meant.
    """

    source: Source
    given: Mapping[str, Any]
    values: Mapping[str, Any]
    device: str | None
    override: str | None
    members: Collection[str] | None
    refused: Collection[Path] = ()

    def get(self, *path: str) -> Any:
        """The value at a path, defaults included; None where there is none."""
        self._must_be_known(path)
        return _at(self.values, path)

    def said(self, *path: str) -> Any:
        """What the file itself says at the path, without defaults."""
        self._must_be_known(path)
        return _at(self.given, path)

    def has(self, *path: str) -> bool:
        """Whether the file itself says something at the path."""
        return self.said(*path) is not None

    @property
    def compiles(self) -> bool:
        """Whether torch.compile is on."""
        return bool(self.get("pt2", "compile") and self.get("pt2", "compile", "enable"))

    def spot(self, path: Path) -> Path:
        """The path as the file spells it: under `devices`, flat, or as it is."""
        return next((spelling for spelling in self._spellings(path) if spelling in self.source.places), path)

    def _spellings(self, path: Path) -> list[Path]:
        spellings = list(written_paths(path))
        if self.override is None:
            return spellings
        return [("devices", self.override, *spelling) for spelling in spellings] + spellings

    def _must_be_known(self, path: Path) -> None:
        for spelling in self._spellings(path) if self.refused else ():
            if any(spelling[: len(refused)] == refused for refused in self.refused):
                raise RefusedValue(dotted(path))


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if not isinstance(values, Mapping):
            return None
        values = values.get(part)
    return values


@dataclass(frozen=True, slots=True)
class Rule:
    """`code` in words, the severity of what it finds, and the check. The check's docstring is the documentation."""

    code: str
    severity: Severity
    check: Callable[[Subject], Iterator[Problem]]

    @property
    def meaning(self) -> str:
        return " ".join((self.check.__doc__ or "").split())

    def findings(self, subject: Subject) -> Iterator[Finding]:
        try:
            for problem in self.check(subject):
                where = subject.source.where(subject.spot(problem.path), key=problem.key)
                yield Finding(self.code, self.severity, where, problem.message, problem.hint)
        except RefusedValue:
            return  # the schema has spoken about the value; anything more would be a guess


def rule(code: str, severity: Severity) -> Callable[[Callable[[Subject], Iterator[Problem]]], Rule]:
    """Make a rule of a check."""
    return lambda check: Rule(code, severity, check)
