"""pt2.background: the pipeline of a worker that serves until its compiled successor is there."""

from __future__ import annotations

import torch

from archiver.config.model import ModelConfig
from runner.optimize.compile import CompileStep
from runner.optimize.pipeline import STEPS, optimise
from runner.optimize.report import Report, Status, StepReport
from runner.optimize.trial import Target


def optimise_meanwhile(target: Target, config: ModelConfig, device: torch.device) -> Report:
    """`optimise` without compilation; the report says that it is still to come. Raises what `optimise` raises."""
    compiling = CompileStep()
    others = [step for step in STEPS if step.name != compiling.name]
    report = optimise(target, config, device, others)
    wish = compiling.declared(config, device)
    row = StepReport(compiling.name)
    if wish is not None:
        row = StepReport(compiling.name, wish.declared, wish.instead, Status.MEANWHILE)
    report.steps.insert(len(others), row)
    return report
