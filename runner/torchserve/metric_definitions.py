"""TorchServe's metrics.yaml → what it defines for the metrics of handlers.

The file's form is that of TorchServe's own (https://github.com/pytorch/serve/blob/master/ts/configs/metrics.yaml):
names by section and type, each with a unit and dimensions. `ts_metrics` are the server's; they are checked and change
nothing, because the server's metrics are what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archiver.config.findings import Finding, Severity, in_order
from archiver.config.source import Path as Keys
from archiver.config.source import Source, dotted, read_source
from archiver.config.wording import any_of, nearest, shown
from archiver.errors import InvalidInput, NotFound
from runner.wire import MetricDefinition

_DIMENSIONS, _OWN, _OF_HANDLERS = "dimensions", "ts_metrics", "model_metrics"
_TYPES = ("counter", "gauge", "histogram")
_FIELDS = ("name", "unit", "dimensions")
#: What Prometheus takes for a metric's name, and for a label's.
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
#: Every metric of a handler has this dimension anyway.
_ALWAYS = "Hostname"


def read_definitions(file: Path) -> list[MetricDefinition]:
    """What `model_metrics` defines. Raises NotFound, and InvalidInput with all that is wrong, line and column."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read {file}: {error.strerror or error}", hint="--metrics-config FILE") from error
    source = read_source(text, str(file))
    reading = _Reading(source)
    found = reading.definitions() if () in source.places else []
    errors = [each for each in [*source.findings, *reading.findings] if each.is_error]
    if errors:
        raise InvalidInput(in_order(errors), spared="nothing was started")
    return found


class _Reading:
    """One file on its way; what is wrong is collected in `findings`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._first: dict[str, Keys] = {}
        self.findings: list[Finding] = []

    def definitions(self) -> list[MetricDefinition]:
        top = self._source.values
        self._mapping(top, (), (_DIMENSIONS, _OWN, _OF_HANDLERS))
        self._words(top.get(_DIMENSIONS), (_DIMENSIONS,))
        sections = [[*self._section(top.get(name), (name,))] for name in (_OWN, _OF_HANDLERS)]
        return sections[-1]

    def _section(self, section: Any, path: Keys) -> Iterator[MetricDefinition]:
        for kind, items in self._mapping(section, path, _TYPES).items():
            for number, item in enumerate(self._list(items, (*path, kind))):
                before = len(self.findings)
                found = self._definition(item, (*path, kind, number), str(kind))
                if len(self.findings) == before:
                    yield found

    def _definition(self, item: Any, path: Keys, kind: str) -> MetricDefinition:
        """Worth something where nothing was found to be wrong."""
        fields = self._mapping(item, path, _FIELDS)
        missing = [field for field in _FIELDS if field not in fields]
        if missing and isinstance(item, Mapping):
            self._wrong(path, f"{dotted(path)} has no {any_of(missing)}", key=True)
        name = self._text(fields.get("name", ""), (*path, "name"))
        unit = self._text(fields.get("unit", ""), (*path, "unit"))
        dimensions = self._words(fields.get("dimensions"), (*path, "dimensions"))
        if isinstance(fields.get("name"), str):
            self._check_name(name, (*path, "name"))
        return MetricDefinition(name, unit, kind, [each for each in dimensions if each != _ALWAYS])

    def _check_name(self, name: str, path: Keys) -> None:
        if not _NAME.fullmatch(name):
            self._wrong(path, f"{dotted(path)} must be letters, digits and _, not {shown(name)}")
        elif (first := self._first.setdefault(name, path)) is not path:
            line = self._source.where(first).line
            self._wrong(path, f"{name} is defined twice; the first is on line {line}")

    def _mapping(self, value: Any, path: Keys, known: tuple[str, ...]) -> Mapping[Any, Any]:
        """The mapping, empty where there is none; its keys are known ones."""
        if not isinstance(value, Mapping):
            if value is not None:
                self._wrong(path, f"{dotted(path)} must be a mapping, not {shown(value)}")
            return {}
        for key in value:
            if key not in known:
                near = nearest(str(key), known)
                hint = f"did you mean `{near}`?" if near else f"known here: {any_of(known)}"
                self._wrong((*path, key), f"{dotted((*path, key))} is not a known key", hint, key=True)
        return value

    def _list(self, value: Any, path: Keys) -> list[Any]:
        """The list, empty where there is none."""
        if isinstance(value, list):
            return value
        if value is not None:
            self._wrong(path, f"{dotted(path)} must be a list, not {shown(value)}")
        return []

    def _words(self, value: Any, path: Keys) -> list[str]:
        """Names of dimensions."""
        words = [self._text(each, (*path, number)) for number, each in enumerate(self._list(value, path))]
        for number, word in enumerate(words):
            if word and not _LABEL.fullmatch(word):
                self._wrong((*path, number), f"the dimension {shown(word)} must be letters, digits and _")
            elif word in words[:number]:
                self._wrong((*path, number), f"the dimension {word} stands twice")
        return words

    def _text(self, value: Any, path: Keys) -> str:
        if isinstance(value, str):
            return value
        self._wrong(path, f"{dotted(path)} must be text, not {shown(value, self._source.written(path))}")
        return ""

    def _wrong(self, path: Keys, message: str, hint: str | None = None, *, key: bool = False) -> None:
        where = self._source.where(path, key=key)
        self.findings.append(Finding("server/value", Severity.ERROR, where, message, hint))
