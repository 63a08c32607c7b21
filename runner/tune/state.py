"""Every measurement as a line of a file, so that a later run goes on where this one ended.

The first line says what the others hold for: the archive's content, the machine, torch, the settings and the input.
Failures are not kept: what did not start today may start tomorrow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from archiver.errors import ArchiveError
from archiver.store import cache_root
from runner.tune.facts import Alone, Load, Reading
from runner.tune.space import Candidate, Variant

_FORMAT = 2


class OtherState(ArchiveError):
    """A state file holds for something else, or is none."""

    code = "tune/other-state"


class _Line(msgspec.Struct, omit_defaults=True):
    """One measurement: of a variant alone, or of a candidate's server, `asked` for so many seconds."""

    alone: dict[str, Any] | None = None
    candidate: Candidate | None = None
    reading: Reading | None = None
    asked: float | None = None


def state_file(key: Mapping[str, Any]) -> Path:
    """Where the state of that key lies unless the command line says otherwise."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return cache_root() / "tune" / f"{name}.jsonl"


class State:
    """The file of one key. `fresh` begins anew. `lost`: why measurements are no longer written, in words.

    Raises OtherState when the file is of another key.
    """

    def __init__(self, file: Path, key: Mapping[str, Any], *, fresh: bool) -> None:
        self.file = file
        self.lost: str | None = None
        self.used = 0
        self._alone: list[Alone] = []
        self._readings: dict[tuple[Candidate, Load, float], list[Reading]] = {}
        head = {"format": _FORMAT, **key}
        if not fresh and file.exists():
            self._read(head)
        else:
            self._start(head)

    def alone(self, variant: Variant, sizes: Sequence[int], sla: float | None) -> Alone | None:
        """What an earlier run measured of it, if that says enough about these sizes."""
        for each in self._alone:
            if each.variant == variant and _covers(each, sizes, sla):
                self.used += 1
                return each
        return None

    def add_alone(self, found: Alone) -> None:
        self._write(_Line(alone=msgspec.to_builtins(found, str_keys=True)))

    def reading(self, candidate: Candidate, load: Load, seconds: float, sla: float | None) -> Reading | None:
        """The next one of an earlier run, each once. One that was given up beyond a limit holds for lower ones."""
        kept = self._readings.get((candidate, load, seconds), [])
        while kept:
            found = kept.pop(0)
            if found.cut is None or (sla is not None and sla <= found.cut):
                self.used += 1
                return found
        return None

    def has_readings(self, candidate: Candidate) -> bool:
        """Whether there is one left of it."""
        return any(kept for (each, _, _), kept in self._readings.items() if each == candidate)

    def add_reading(self, candidate: Candidate, asked: float, reading: Reading) -> None:
        self._write(_Line(candidate=candidate, reading=reading, asked=asked))

    def _start(self, head: Mapping[str, Any]) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_bytes(msgspec.json.encode(head) + b"\n")
        except OSError as error:
            self._give_up(error)

    def _read(self, head: Mapping[str, Any]) -> None:
        try:
            first, *lines = self.file.read_bytes().split(b"\n")
            found = msgspec.json.decode(first)
        except (OSError, ValueError) as error:
            raise OtherState(f"{self.file} is no state of `archive tune`: {error}", hint="--state FILE") from error
        if found != head:
            other = ", ".join(
                sorted(name for name in head if not isinstance(found, dict) or found.get(name) != head[name])
            )
            raise OtherState(
                f"{self.file} holds measurements of another {other}",
                hint="--fresh begins anew, --state FILE elsewhere",
            )
        for line in lines:
            self._take(line)
        if lines and lines[-1]:
            self._append(b"\n")

    def _take(self, line: bytes) -> None:
        """A line that was cut short, by a full disk or the end of the process, is no measurement."""
        try:
            found = msgspec.json.decode(line, type=_Line)
            if found.alone is not None:
                self._alone.append(_alone(found.alone))
        except msgspec.DecodeError:
            return
        if found.candidate is not None and found.reading is not None and found.asked is not None:
            key = (found.candidate, found.reading.load, found.asked)
            self._readings.setdefault(key, []).append(found.reading)

    def _write(self, line: _Line) -> None:
        self._append(msgspec.json.encode(line) + b"\n")

    def _append(self, data: bytes) -> None:
        if self.lost is not None:
            return
        try:
            with self.file.open("ab") as file:
                file.write(data)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Measuring goes on: what is lost is only that a later run begins anew."""
        self.lost = f"{self.file} cannot be written ({error.strerror}): a later run measures again what this one did"


def _alone(plain: dict[str, Any]) -> Alone:
    plain = {**plain, "variant": msgspec.convert(plain["variant"], Variant)}
    return msgspec.convert(plain, Alone, strict=False)


def _covers(found: Alone, sizes: Sequence[int], sla: float | None) -> bool:
    if found.refused is not None or {*sizes} <= found.milliseconds.keys():
        return True
    broken = [size for size, ms in found.milliseconds.items() if sla is not None and ms > sla]
    return bool(broken) and {size for size in sizes if size < min(broken)} <= found.milliseconds.keys()
