"""The effective settings of an archive that is about to be served: its YAML, the flags, the device's block.

An archive made here with errors in its config is refused. One made for TorchServe is served as TorchServe
would: it ignored what it did not understand, so the bad keys are dropped, each with a warning that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archiver.config.findings import Finding
from archiver.config.model import ModelConfig
from archiver.config.origins import Effective, Origin, effective
from archiver.config.validate import examine_config
from archiver.errors import InvalidInput

#: What the schema knows and this server does not do: declared, it is said and not applied.
NOT_APPLIED = {
    "torchrun.rdzv-endpoint": "a worker's processes meet at its first one",
    "torchrun.rdzv-conf": "a worker's processes meet at its first one",
    "torchrun.max-restarts": "a worker is started again as a whole",
}


def not_applied(settled: Effective) -> list[str]:
    """A sentence per declared setting that has no effect here."""
    values = {row["key"]: row["value"] for row in settled.describe() if row["origin"] != Origin.DEFAULT.value}
    heads = {key: value for key, value in values.items() if value not in (None, False, 0)}
    return [
        f"{key} is declared and not supported yet: {instead}"
        for key, instead in NOT_APPLIED.items()
        if any(head == key or head.startswith(f"{key}.") for head in heads)
    ]


@dataclass(frozen=True, slots=True)
class Declared:
    """What an archive's YAML declares, checked. `ignored`: findings whose keys were dropped."""

    values: Mapping[str, Any]
    raw: Mapping[str, Any]
    ignored: tuple[Finding, ...]

    def settle(self, layers: Mapping[Origin, Mapping[str, Any]], device: str | None) -> tuple[ModelConfig, Effective]:
        """The YAML among the other layers."""
        settled = effective({**layers, Origin.YAML: self.values}, device)
        return ModelConfig.from_values(settled.values, self.raw), settled


def preloads(archives: Iterable[Declared]) -> list[str]:
    """The union of what they want imported in their template, in order; torch is there anyway."""
    wanted = {module: None for each in archives for module in each.settle({}, None)[0].preload}
    return [module for module in wanted if module != "torch"]


def declared(text: str | None, file: str, *, lenient: bool) -> Declared:
    """Read and check an archive's config. Raises InvalidInput on errors unless `lenient`: then keys that are wrong
    are dropped, as TorchServe drops them. What is no YAML is refused, as it is there: nothing of it can be meant."""
    if text is None or not text.strip():
        return Declared({}, {}, ())
    checked = examine_config(text, file)
    if checked.errors and not (lenient and checked.is_readable):
        hint = f"`archive validate {file}` shows all findings"
        raise InvalidInput(checked.errors, spared="nothing was started", hint=hint)
    return Declared(checked.values, checked.source.values, tuple(checked.errors))
