"""Values that differ per device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from archiver.config.findings import Severity
from archiver.config.rules.rule import Problem, Subject, rule
from archiver.config.schema import load, properties

_SAME = {"gpu": "cuda"}


@rule("devices/not-overridable", Severity.ERROR)
def not_overridable(subject: Subject) -> Iterator[Problem]:
    """A key under devices that cannot differ per device."""
    known = properties(load("model-config"))
    for device, values in _blocks(subject):
        for key in values:
            if key in known and "x-overridable" not in known[key]:
                message = f"{key} cannot differ per device"
                yield Problem(("devices", device, key), message, f"move `{key}` to the top level", key=True)


@rule("devices/never-used", Severity.WARNING)
def never_used(subject: Subject) -> Iterator[Problem]:
    """Values for a device that deviceType excludes."""
    chosen = subject.get("deviceType")
    if chosen == "auto":
        return
    for device, _ in _blocks(subject):
        if _SAME.get(device, device) != _SAME.get(chosen, chosen):
            message = f"deviceType is {chosen}, so the values for {device} are never used"
            yield Problem(("devices", device), message, "remove them, or write `deviceType: auto`", key=True)


def _blocks(subject: Subject) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The blocks as the file has them, keys that the schema refuses included."""
    devices = subject.source.values.get("devices")
    if isinstance(devices, Mapping):
        yield from ((str(name), values) for name, values in devices.items() if isinstance(values, Mapping))
