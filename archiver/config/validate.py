"""source → shape → rules → findings. What `archive validate`, `create` and `serve` ask before they trust a config."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archiver.config.findings import Finding, Severity, in_order
from archiver.config.forms import normal_form
from archiver.config.origins import laid_over
from archiver.config.rules import RULES
from archiver.config.rules.rule import Subject
from archiver.config.schema import complete, load
from archiver.config.shape import Fault, faults, without
from archiver.config.source import Path, Source, read_source

#: Code → what it means; `docs/codes.md` is made from it.
CODES = {"project/config-missing": "The project names a model config that is not there."}

_CONFIG = "model-config"
_PROJECT = "project"


@dataclass(frozen=True)
class Checked:
    """A config that has been looked at.

    `values`: what can be used of it, as written, without the parts that the schema refuses: TorchServe, too,
    ignores those, but says so only in its log.
    """

    source: Source
    values: dict[str, Any]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_error]

    @property
    def is_readable(self) -> bool:
        """Whether the text is YAML with keys, or says nothing at all."""
        return () in self.source.places or {finding.code for finding in self.errors} <= {"yaml/empty"}


def examine_config(text: str | bytes, file: str, *, members: Collection[str] | None = None) -> Checked:
    """Read and check a model config. `file` is its name in findings; `members`: names in the archive, if known.

    Never raises on bad input; bounded in time and memory for any text.
    """
    source = read_source(text, file)
    if () not in source.places:
        return Checked(source, {}, in_order(source.findings))
    found = list(faults(_CONFIG, source))
    refused = {fault.path for fault in found if fault.finding.is_error}
    usable = without(source.values, refused)
    spoken = list(dict.fromkeys(_rule_findings(source, usable, refused, members)))
    return Checked(source, usable, _most_precise(source, found, spoken))


def check_config(text: str | bytes, file: str, *, members: Collection[str] | None = None) -> list[Finding]:
    """The findings of `examine_config`, in the file's order."""
    return examine_config(text, file, members=members).findings


def check_values(values: Mapping[str, Any], file: str) -> list[Finding]:
    """Check settings that come from elsewhere than a file (management API); findings have paths but no lines."""
    return [fault.finding for fault in faults(_CONFIG, Source(file, dict(values)))]


def examine_project(text: str | bytes, file: str) -> Checked:
    """Read and check an archive.yaml; the files that it names are not looked at."""
    source = read_source(text, file)
    if () not in source.places:
        return Checked(source, {}, in_order(source.findings))
    found = list(faults(_PROJECT, source))
    usable = without(source.values, {fault.path for fault in found if fault.finding.is_error})
    return Checked(source, usable, _most_precise(source, found, []))


def config_missing(project: Checked) -> Finding:
    """To say that the file under the project's `config` key does not exist."""
    message = f"there is no file {project.values['config']} beside {project.source.file}"
    return Finding("project/config-missing", Severity.ERROR, project.source.where(("config",)), message)


def _rule_findings(
    source: Source, usable: Mapping[str, Any], refused: set[Path], members: Collection[str] | None
) -> Iterator[Finding]:
    """Every rule, on the config itself and on the config as each device sees it."""
    base = normal_form(usable)
    overrides = base.get("devices") or {}
    for override in (None, *overrides):
        given = base if override is None else laid_over(base, overrides[override])
        device = override or base.get("deviceType")
        subject = Subject(
            source=source,
            given=given,
            values=complete(load(_CONFIG), given),
            device={"gpu": "cuda", "auto": None}.get(str(device), device),
            override=override,
            members=members,
            refused=refused,
        )
        for rule in RULES:
            yield from rule.findings(subject)


def _most_precise(source: Source, found: list[Fault], spoken: list[Finding]) -> list[Finding]:
    """One voice per place: a rule knows more than the schema, and the schema more than the YAML reader."""
    taken = {_place(finding) for finding in spoken if finding.is_error}
    shape = [fault.finding for fault in found if _place(fault.finding) not in taken]
    taken |= {_place(finding) for finding in shape if finding.is_error}
    yaml = [finding for finding in source.findings if finding.is_error or _place(finding) not in taken]
    return in_order([*yaml, *shape, *spoken])


def _place(finding: Finding) -> tuple[int | None, int | None]:
    return finding.where.line, finding.where.column
