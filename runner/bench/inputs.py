"""What the bench sends: an archive's samples, a file, every file of a folder, the lines of a JSON-lines file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archiver.errors import ArchiveError, NotFound
from archiver.store import Unpacked
from runner.content_types import content_type_of

_LINES = {".jsonl", ".ndjson"}
_JSON = "application/json"


class NoInput(ArchiveError):
    """There is nothing to send."""

    code = "bench/no-input"


@dataclass(frozen=True, slots=True)
class Input:
    """The body of one request."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """Bodies to be sent in turn; `source` in words for the report."""

    each: tuple[Input, ...]
    source: str

    def written(self, folder: Path) -> list[tuple[Path, str]]:
        """As files of the folder, each with its content type, for a model without a server."""
        files = []
        for number, each in enumerate(self.each):
            file = folder / f"input-{number}"
            file.write_bytes(each.body)
            files.append((file, each.content_type))
        return files


def of_path(path: Path, content_type: str | None) -> Inputs:
    """Raises NotFound, NoInput."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return _some([_of_file(file, content_type) for file in files], f"{len(files)} files of {path}", f"{path}")
    if not path.is_file():
        raise NotFound(f"there is no input {path}")
    if path.suffix.lower() in _LINES:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        found = [Input(line, content_type or _JSON) for line in lines]
        return _some(found, f"{len(lines)} lines of {path}", f"{path}")
    return Inputs((_of_file(path, content_type),), f"{path}")


def of_archive(opened: Unpacked, warmup: str | None, content_type: str | None) -> Inputs:
    """The samples that the archive packs, else the one that its config names. Raises NoInput."""
    names = [file.path for file in opened.manifest.files if file.role == "sample"]
    names = names or ([] if warmup is None else [warmup])
    files = [file for file in (opened.model_dir / name for name in names) if file.is_file()]
    if not files:
        hint = "name one: --input FILE, or pack one and declare it: `warmup: {input: sample.json}`"
        raise NoInput("the archive has no sample to send", hint=hint)
    named = ", ".join(file.name for file in files[:3]) + (" …" if len(files) > 3 else "")
    return Inputs(tuple(_of_file(file, content_type) for file in files), f"{named} of the archive")


def _of_file(file: Path, content_type: str | None) -> Input:
    try:
        return Input(file.read_bytes(), content_type or content_type_of(file.name))
    except OSError as error:
        raise NoInput(f"cannot read {file}: {error.strerror}") from error


def _some(found: list[Input], source: str, where: str) -> Inputs:
    if not found:
        raise NoInput(f"{where} has nothing to send")
    return Inputs(tuple(found), source)
