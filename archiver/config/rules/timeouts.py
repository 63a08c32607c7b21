"""Times that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.config.findings import Severity
from archiver.config.rules.rule import Problem, Subject, rule


@rule("timeouts/client-below-delay", Severity.WARNING)
def client_below_delay(subject: Subject) -> Iterator[Problem]:
    """A request expires before its batch is collected: clientTimeoutInMills is not above maxBatchDelay."""
    client, delay = subject.get("clientTimeoutInMills"), subject.get("maxBatchDelay")
    if 0 < client <= delay and subject.has("maxBatchDelay") and subject.get("batchSize") > 1:
        message = f"requests expire after {client} ms, but a batch may be collected for {delay} ms"
        yield Problem(("clientTimeoutInMills",), message, f"write `maxBatchDelay: {max(1, client // 2)}`")


@rule("timeouts/compile-over-startup", Severity.WARNING)
def compile_over_startup(subject: Subject) -> Iterator[Problem]:
    """pt2.timeout is above startupTimeout: the worker is given up before its fallback can act."""
    compiling, startup = subject.get("pt2", "timeout"), subject.get("startupTimeout")
    background = subject.get("pt2", "background")
    if subject.compiles and compiling > startup and not background:
        message = f"compiling may take {compiling:g} s, but a worker that loads longer than {startup} s is given up"
        path = ("pt2", "timeout") if subject.has("pt2", "timeout") else ("startupTimeout",)
        yield Problem(path, message, f"write `startupTimeout: {int(compiling) + 60}`")
