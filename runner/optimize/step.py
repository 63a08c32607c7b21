"""What a step of the pipeline is, and how it may fail.

A step says what the config wishes (`declared`) and knows how to bring it about (`change`). It never times,
measures, catches or reports: the pipeline does, and only the pipeline says "applied". A `Change` can be
switched on and off any number of times, which is how "before" and "after" are measured side by side and how a
fallback leaves the module exactly as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch

from archiver.config.model import ModelConfig
from runner.optimize.edge import Edge

Plan = TypeVar("Plan")


class StepFailed(Exception):
    """The step cannot do what was declared; the message is the reason that the report gives."""


class NotApplicable(StepFailed):
    """What was declared has no meaning for this module or device; nothing is lost by leaving it out."""


class AlreadySo(Exception):
    """The module already is what the plan says; nothing has to change. `text`: what it is."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(reason)
        self.text = text


class OptimiseRefused(Exception):
    """The config says that the model must not be served in another way than declared. Loading fails with this."""


@dataclass(frozen=True, slots=True)
class Wish(Generic[Plan]):
    """What the config asks of one step on one device.

    `declared` is the wish as the user would say it. `plan` is what the step will do. `instead` is what runs if
    the plan fails ("eager"). `notes` say where the plan differs from what was declared; `replaced`: it differs
    so much that carrying it out is the fallback. `required`: the setting that allows no fallback, None where one is
    allowed. `others`: plans to try in order where `plan` fails; their text names them in the report.
    `sizes`: batch sizes to verify, beside 1 and batchSize.
    """

    declared: str
    plan: Plan
    instead: str
    notes: tuple[str, ...] = ()
    replaced: bool = False
    required: str | None = None
    others: tuple[Plan, ...] = ()
    sizes: tuple[int, ...] = ()


class Change:
    """Something done to a module that can be undone. Made off.

    `text` says what is applied. `sizes` are the batch sizes to run before it counts as warm, empty for the
    pipeline's own choice. `timeout` (seconds) bounds switching on and warming up. `min_speedup` is what it
    must gain over the state before it, None when it stays however fast it is.
    """

    text: str = ""
    sizes: tuple[int, ...] = ()
    timeout: float | None = None
    min_speedup: float | None = None

    def on(self) -> None:
        """Switch on. Raises StepFailed, or anything that torch raises."""
        raise NotImplementedError

    def off(self) -> None:
        """Switch off: the module is as it was before `on`. Safe after an `on` that raised half-way."""
        raise NotImplementedError

    def proven(self) -> Mapping[str, Any]:
        """What the warm-up showed. Raises StepFailed when it showed that nothing took effect."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """Differences from what was declared that only running could show."""
        return ()

    def keep(self) -> None:
        """The pipeline has decided for it: let go of what only `off` needs."""

    def drop(self) -> None:
        """The pipeline has decided against it, after `off`: undo what is outside the module as well."""


class Step(Protocol[Plan]):
    """One optimisation. `needs_sample`: means nothing until it has run (compilation is lazy)."""

    name: str
    needs_sample: bool

    def declared(self, config: ModelConfig, device: torch.device) -> Wish[Plan] | None:
        """The wish, or None when the config does not mention this step."""

    def change(self, edge: Edge, plan: Plan) -> Change:
        """How to bring it about. Raises StepFailed, NotApplicable or AlreadySo."""
