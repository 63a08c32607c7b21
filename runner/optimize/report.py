"""Report: what was declared, what runs, why, and what was measured. Written by the pipeline alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(Enum):
    """How a step ended. `APPLIED` and nothing else means: switched on, run on the sample and verified."""

    APPLIED = "applied"
    UNVERIFIED = "unverified"
    FALLBACK = "fallback"
    MEANWHILE = "meanwhile"
    NOT_APPLICABLE = "not-applicable"
    NOT_DECLARED = "not-declared"


@dataclass
class StepReport:
    """One step. `applied`: what runs now. `reason`: why it differs from `declared`, or what to know about it.

    `measured`: cosine, maxAbsError, top1 against the model as loaded; speedup per batch size against the state
    before this step; and the step's own figures.
    """

    name: str
    declared: str | None = None
    applied: str | None = None
    status: Status = Status.NOT_DECLARED
    reason: str | None = None
    seconds: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and msgpack."""
        return {
            "name": self.name,
            "declared": self.declared,
            "applied": self.applied,
            "status": self.status.value,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "measured": self.measured,
        }

    def line(self) -> str:
        """One line for the log."""
        words = f"{self.name:<13} declared {self.declared} → {self._outcome()}"
        if self.reason:
            words += f": {self.reason}"
        figures = self._figures()
        return f"{words}; {', '.join(figures)}" if figures else words

    def _outcome(self) -> str:
        return {
            Status.APPLIED: f"applied {self.applied}",
            Status.UNVERIFIED: f"{self.applied}, unverified",
            Status.FALLBACK: f"{self.applied} (fallback)",
            Status.MEANWHILE: f"{self.applied} meanwhile (pt2.background)",
            Status.NOT_APPLICABLE: "not applicable",
            Status.NOT_DECLARED: "not declared",
        }[self.status]

    def _figures(self) -> list[str]:
        figures = []
        if "cosine" in self.measured:
            figures.append(f"cosine {self.measured['cosine']:.5f}")
        figures += [f"{ratio:.2f} × at batch {size}" for size, ratio in self.measured.get("speedup", {}).items()]
        if self.seconds >= 0.1:
            figures.append(f"{self.seconds:.1f} s")
        return figures


@dataclass
class Report:
    """The whole pipeline on one module. Batch sizes are text keys: they become JSON.

    `baseline_ms` and `optimised_ms`: median time of the model alone (its edge, not pre- and postprocessing) as
    loaded and as served, measured in turn. `verify`: the last comparison with the outputs as loaded.
    """

    steps: list[StepReport] = field(default_factory=list)
    baseline_ms: dict[str, float] = field(default_factory=dict)
    optimised_ms: dict[str, float] = field(default_factory=dict)
    verify: dict[str, Any] | None = None

    @property
    def speedup(self) -> dict[str, float]:
        """Per batch size: how many times faster than as loaded."""
        return {
            size: round(before / self.optimised_ms[size], 3)
            for size, before in self.baseline_ms.items()
            if self.optimised_ms.get(size)
        }

    def step(self, name: str) -> StepReport:
        """The row of the step called `name`. Raises KeyError."""
        for row in self.steps:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and msgpack."""
        return {
            "steps": [row.to_dict() for row in self.steps],
            "baselineMs": self.baseline_ms,
            "optimisedMs": self.optimised_ms,
            "speedup": self.speedup,
            "verify": self.verify,
        }

    def lines(self) -> list[str]:
        """For the log: one line per declared step, one for the whole."""
        told = [row.line() for row in self.steps if row.declared is not None]
        for size, ratio in self.speedup.items():
            told.append(
                f"{'model':<13} batch {size}: {self.baseline_ms[size]:.2f} → {self.optimised_ms[size]:.2f} ms"
                f" ({ratio:.2f} ×)"
            )
        return told or ["nothing declared: the model runs as loaded"]
