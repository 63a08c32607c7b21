"""Who travels together, and how long a batch is collected."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.config.findings import Severity
from archiver.config.rules.rule import Problem, Subject, rule


@rule("batching/zero-delay", Severity.WARNING)
def zero_delay(subject: Subject) -> Iterator[Problem]:
    """maxBatchDelay 0: no waiting here; TorchServe silently makes it 100 milliseconds."""
    if subject.has("maxBatchDelay") and subject.get("maxBatchDelay") == 0:
        message = "maxBatchDelay 0 means no waiting here, but TorchServe silently makes it 100 ms"
        yield Problem(("maxBatchDelay",), message, "write `maxBatchDelay: 1` if TorchServe reads this file too")


@rule("batching/delay-unused", Severity.NOTE)
def delay_unused(subject: Subject) -> Iterator[Problem]:
    """maxBatchDelay beside an explicit batchPolicy greedy, which never waits."""
    if subject.has("maxBatchDelay") and subject.has("batchPolicy") and subject.get("batchPolicy") == "greedy":
        message = "batchPolicy greedy never waits, so maxBatchDelay has no effect here"
        yield Problem(("maxBatchDelay",), message, key=True)


@rule("batching/nothing-to-collect", Severity.WARNING)
def nothing_to_collect(subject: Subject) -> Iterator[Problem]:
    """batchPolicy delay with batchSize 1: a batch is full with its first request."""
    if subject.get("batchPolicy") == "delay" and subject.get("batchSize") == 1:
        message = "batchPolicy delay has nothing to collect while batchSize is 1"
        yield Problem(("batchPolicy",), message, "add `batchSize: 8`", key=True)


@rule("batching/queue-below-batch", Severity.WARNING)
def queue_below_batch(subject: Subject) -> Iterator[Problem]:
    """jobQueueSize is smaller than batchSize: a full batch can never wait in the queue."""
    queue, batch = subject.get("jobQueueSize"), subject.get("batchSize")
    if queue < batch:
        message = f"batchSize is {batch}, but only {queue} requests may wait: no batch ever gets full"
        path = ("jobQueueSize",) if subject.has("jobQueueSize") else ("batchSize",)
        yield Problem(path, message, f"write `jobQueueSize: {max(100, 2 * batch)}`")


@rule("batching/micro-over-batch", Severity.WARNING)
def micro_over_batch(subject: Subject) -> Iterator[Problem]:
    """micro_batch_size is greater than batchSize: there is nothing to split."""
    micro, batch = subject.get("micro_batching", "micro_batch_size"), subject.get("batchSize")
    if micro is not None and micro > batch:
        message = f"micro_batch_size {micro} is greater than batchSize {batch}: there is nothing to split"
        yield Problem(("micro_batching", "micro_batch_size"), message, f"write `micro_batch_size: {batch}`")
