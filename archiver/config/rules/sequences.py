"""Requests that belong together: sequences and continuous batching."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.config.findings import Severity
from archiver.config.rules.rule import Problem, Subject, rule

_OF_SEQUENCES = ("sequenceMaxIdleMSec", "sequenceTimeoutMSec", "maxSequenceJobQueueSize", "maxNumSequence")


@rule("sequences/idle-missing", Severity.WARNING)
def idle_missing(subject: Subject) -> Iterator[Problem]:
    """sequenceBatching without sequenceMaxIdleMSec above 0, which is what really enables it in TorchServe."""
    if subject.get("sequenceBatching") and subject.get("sequenceMaxIdleMSec") == 0:
        message = "sequenceBatching has no effect in TorchServe while sequenceMaxIdleMSec is 0"
        yield Problem(("sequenceBatching",), message, "add `sequenceMaxIdleMSec: 60000`", key=True)


@rule("sequences/not-enabled", Severity.WARNING)
def not_enabled(subject: Subject) -> Iterator[Problem]:
    """A key about sequences while sequenceBatching is off."""
    if subject.get("sequenceBatching"):
        return
    for key in _OF_SEQUENCES:
        if subject.has(key):
            message = f"{key} is about sequences, but sequenceBatching is off"
            yield Problem((key,), message, "add `sequenceBatching: true`", key=True)


@rule("sequences/limit-raised", Severity.NOTE)
def limit_raised(subject: Subject) -> Iterator[Problem]:
    """maxNumSequence is below batchSize × maxWorkers, to which it is raised."""
    floor = subject.get("batchSize") * (subject.get("maxWorkers") or 1)
    if subject.get("sequenceBatching") and subject.has("maxNumSequence") and subject.get("maxNumSequence") < floor:
        message = f"maxNumSequence is raised to batchSize × maxWorkers, which is {floor}"
        yield Problem(("maxNumSequence",), message, f"write `maxNumSequence: {floor}`")


@rule("sequences/continuous-delay", Severity.WARNING)
def continuous_with_delay(subject: Subject) -> Iterator[Problem]:
    """continuousBatching with batchPolicy delay: rows join a running batch at once, nothing is waited for."""
    if subject.get("continuousBatching") and subject.get("batchPolicy") == "delay":
        message = "with continuousBatching rows join at once; batchPolicy delay contradicts it"
        yield Problem(("batchPolicy",), message, "remove batchPolicy", key=True)
