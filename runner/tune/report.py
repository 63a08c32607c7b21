"""What a tuning found, as it stands in `tune.json`. Times in milliseconds unless a name says otherwise."""

from __future__ import annotations

from typing import Any

import msgspec

from runner.tune.facts import Goal, Reading
from runner.tune.space import Candidate

#: Of the layout of tune.json.
FORMAT = 1


class Tried(msgspec.Struct, frozen=True, rename="camel"):
    """One candidate. `state`: measured, out (`reason`: the sentence why), failed (`reason`: its last lines).
    `accuracy`: what `verify` measured of its answers. `best`: its reading that counts."""

    candidate: Candidate
    state: str
    reason: str | None = None
    best: Reading | None = None
    readings: list[Reading] = []
    accuracy: dict[str, float] = {}


class AloneFigures(msgspec.Struct, frozen=True, rename="camel"):
    """A model in a process of its own, without a server. `load` in seconds, `memory` in bytes."""

    name: str
    device: str
    threads: int
    milliseconds: dict[str, float]
    load: float
    memory: int
    refused: str | None
    accuracy: dict[str, float]


class Chosen(msgspec.Struct, frozen=True, rename="camel"):
    """The recommendation. `met`: within the limit; else it came nearest to it. `settings`: config keys by dotted
    name; `yaml`: the whole config with them; `equals`: names of candidates that are as good, and less simple."""

    candidate: Candidate
    reading: Reading
    met: bool
    settings: dict[str, Any]
    yaml: str
    reasons: list[dict[str, str]]
    equals: list[str]


class TuneReport(msgspec.Struct, rename="camel", kw_only=True):
    """All of it. `stopped`: why the search ended before its time; `notes`: what a reader should know."""

    format: int = FORMAT
    made: str
    tool: str
    machine: dict[str, Any]
    model: dict[str, Any]
    input: str
    goal: Goal
    budget: float
    seconds: float = 0.0
    state: str = ""
    alone: list[AloneFigures] = []
    tried: list[Tried] = []
    chosen: Chosen | None = None
    notes: list[str] = []
    stopped: str | None = None

    @property
    def measured(self) -> list[Tried]:
        """Those with a reading, in the order of the list: the best first."""
        return [each for each in self.tried if each.best is not None]


def plain(report: TuneReport) -> dict[str, Any]:
    """For JSON."""
    document: dict[str, Any] = msgspec.to_builtins(report)
    return document
