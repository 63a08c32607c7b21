"""How many workers, and where they run."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.config.findings import Severity
from archiver.config.rules.rule import Problem, Subject, rule


@rule("workers/min-over-max", Severity.ERROR)
def min_over_max(subject: Subject) -> Iterator[Problem]:
    """minWorkers is greater than maxWorkers. TorchServe then ignores both."""
    low, high = subject.get("minWorkers"), subject.get("maxWorkers")
    if low is not None and high is not None and low > high:
        message = f"minWorkers {low} is greater than maxWorkers {high}; TorchServe then ignores both"
        yield Problem(("minWorkers",), message, f"write `maxWorkers: {low}`, or a smaller minWorkers")


@rule("workers/min-without-max", Severity.WARNING)
def min_without_max(subject: Subject) -> Iterator[Problem]:
    """minWorkers without maxWorkers: counts here; TorchServe ignores it and starts one worker per GPU or core."""
    if subject.has("minWorkers") and not subject.has("maxWorkers"):
        low = subject.get("minWorkers")
        message = "minWorkers without maxWorkers: TorchServe ignores it and starts one worker per GPU or core"
        yield Problem(("minWorkers",), message, f"add `maxWorkers: {low}`", key=True)


@rule("workers/max-without-min", Severity.WARNING)
def max_without_min(subject: Subject) -> Iterator[Problem]:
    """maxWorkers without minWorkers: a cap here; TorchServe ignores it and starts one worker per GPU or core."""
    if subject.has("maxWorkers") and not subject.has("minWorkers"):
        message = "maxWorkers without minWorkers: TorchServe ignores it and starts one worker per GPU or core"
        yield Problem(("maxWorkers",), message, "add `minWorkers: 1`", key=True)


@rule("workers/ids-on-cpu", Severity.WARNING)
def ids_on_cpu(subject: Subject) -> Iterator[Problem]:
    """deviceIds together with deviceType cpu: there is nothing to choose from."""
    if subject.has("deviceIds") and subject.said("deviceType") == "cpu":
        message = "deviceIds choose among accelerators, but deviceType is cpu"
        yield Problem(("deviceIds",), message, "remove deviceIds, or write `deviceType: gpu`", key=True)


@rule("workers/level-missing", Severity.WARNING)
def level_missing(subject: Subject) -> Iterator[Problem]:
    """parallelType custom without parallelLevel: nothing says how many accelerators a worker needs."""
    says_level = subject.has("parallelLevel") or subject.has("torchrun", "nproc-per-node")
    if subject.get("parallelType") == "custom" and not says_level:
        message = "parallelType custom needs to know how many accelerators one worker takes"
        yield Problem(("parallelType",), message, "add `parallelLevel: 2`", key=True)


@rule("workers/level-overwritten", Severity.WARNING)
def level_overwritten(subject: Subject) -> Iterator[Problem]:
    """parallelLevel differs from torchrun.nproc-per-node, which overwrites it in TorchServe."""
    processes = subject.get("torchrun", "nproc-per-node")
    if subject.has("torchrun") and subject.has("parallelLevel") and subject.get("parallelLevel") != processes:
        message = f"torchrun.nproc-per-node ({processes}) overwrites parallelLevel ({subject.get('parallelLevel')})"
        yield Problem(("parallelLevel",), message, "remove parallelLevel", key=True)
