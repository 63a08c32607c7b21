"""pt2.background: the pipeline of a worker that serves until its compiled successor is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from archiver.config.model import ModelConfig
from runner.optimize.compile import CompileStep
from runner.optimize.pipeline import optimise
from runner.optimize.report import Report, Status, StepReport
from runner.optimize.step import Step
from runner.optimize.trial import Target


def optimise_meanwhile(
    target: Target, config: ModelConfig, device: torch.device, steps: Sequence[Step[Any]]
) -> Report:
    """`optimise` without compilation; the report says that it is still to come. Raises what `optimise` raises."""
    (compiling,) = (step for step in steps if isinstance(step, CompileStep))
    others = [step for step in steps if step is not compiling]
    report = optimise(target, config, device, others)
    wish = compiling.declared(config, device)
    row = StepReport(compiling.name)
    if wish is not None:
        row = StepReport(compiling.name, wish.declared, wish.instead, Status.MEANWHILE)
    report.steps.insert(len(others), row)
    return report
