"""The sample that exercises the model before it serves."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.config.findings import Severity
from archiver.config.rules.rule import Problem, Subject, rule
from archiver.config.wording import nearest


@rule("warmup/input-missing", Severity.WARNING)
def input_missing(subject: Subject) -> Iterator[Problem]:
    """torch.compile is on but nothing can exercise it before the first request: it falls back or is refused."""
    if subject.compiles and not subject.get("warmup", "input"):
        message = "pt2.compile is on, but without warmup.input nothing can exercise it before the model is ready"
        path = ("pt2", "compile") if subject.has("pt2", "compile") else ("pt2",)
        yield Problem(path, message, "add `warmup: {input: sample.json}` and pack the file", key=True)


@rule("warmup/no-such-member", Severity.ERROR)
def no_such_member(subject: Subject) -> Iterator[Problem]:
    """warmup.input names a file that is not in the archive."""
    name = subject.get("warmup", "input")
    if name is None or subject.members is None or name in subject.members:
        return
    near = nearest(name, subject.members)
    hint = f"did you mean `input: {near}`?" if near else f"add `{name}` to the extra files"
    yield Problem(("warmup", "input"), f"the archive has no file {name}", hint)
