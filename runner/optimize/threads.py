"""threads: what this worker really has, read back. The worker set it before torch's first operator ran."""

from __future__ import annotations

import os

import torch

from archiver.config.model import ModelConfig
from runner.optimize.report import Status, StepReport


def threads_row(config: ModelConfig) -> StepReport:
    """The report's line on threads: what was declared, and what torch and the kernel say now."""
    declared, actual = config.threads.intra_op, torch.get_num_threads()
    row = StepReport("threads", applied=_actual(actual, pinned=config.threads.pin))
    if declared is None and not config.threads.pin:
        return row
    row.declared = "auto" if declared is None else f"{declared}"
    row.declared += ", pinned" if config.threads.pin else ""
    row.status = Status.APPLIED
    if declared is not None and declared != actual:
        row.status = Status.FALLBACK
        row.reason = f"this worker was given {actual}"
    return row


def _actual(threads: int, *, pinned: bool) -> str:
    if not (pinned and hasattr(os, "sched_getaffinity")):
        return f"{threads}"
    return f"{threads}, on cores {', '.join(map(str, sorted(os.sched_getaffinity(0))))}"
