"""Project: what the user asked `create` for. Flags, then archive.yaml, then what can be inferred.

Nothing is read here but archive.yaml and a checkpoint's first bytes; whether the files make sense is for checks.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from archiver import checkpoint as checkpoints
from archiver.config.findings import Finding
from archiver.config.schema import Schema, load, properties
from archiver.containers.formats import FORMATS
from archiver.errors import InvalidInput, NotFound, UsageError
from archiver.extras import Extra, expand, missing_file, split
from archiver.members import Member

PROJECT_FILE = "archive.yaml"

#: torch-model-archiver's built-in handlers (and LSP's two): names, not files.
BUILT_IN = frozenset(
    {
        "base_handler",
        "dali_image_classifier",
        "image_classifier",
        "image_segmenter",
        "object_detector",
        "text_classifier",
        "text_handler",
        "trt_llm_handler",
        "vision_handler",
        "vllm_handler",
    }
)
BUILT_IN_LSP = frozenset({"BaseHandler", "TorchScriptHandler"})
_DEFAULT_HANDLER = "base_handler"

#: archive.yaml's keys → the fields of Request they fill.
KEYS = {
    "name": "model_name",
    "version": "version",
    "description": "description",
    "license": "license",
    "checkpoint": "serialized_file",
    "modelFile": "model_file",
    "handler": "handler",
    "config": "config_file",
    "extraFiles": "extra_files",
    "samples": "samples",
    "requirements": "requirements_file",
    "runtime": "runtime",
    "format": "archive_format",
    "exportPath": "export_path",
}
_FILES = ("serialized_file", "model_file", "handler", "config_file", "requirements_file", "export_path")
_LISTS = ("extra_files", "samples")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]*")


@dataclass(frozen=True, slots=True)
class Typed:
    """A path as the user wrote it; a relative one starts at `base`."""

    text: str
    base: Path

    @property
    def path(self) -> Path:
        return (self.base / self.text).absolute()

    @property
    def shown(self) -> str:
        """As people find it from their working directory."""
        return self.text if self.base == Path.cwd() else str(self.base / self.text)


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler as asked for. `file` is None for a built-in one; `entry` is what stands after the colon."""

    text: str
    file: Typed | None
    entry: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """Flags or archive.yaml, before anything is inferred; None is what was not said."""

    model_name: str | None = None
    version: str | None = None
    description: str | None = None
    license: str | None = None
    serialized_file: Typed | None = None
    model_file: Typed | None = None
    handler: Typed | None = None
    config_file: Typed | None = None
    extra_files: tuple[Extra, ...] | None = None
    samples: tuple[Extra, ...] | None = None
    requirements_file: Typed | None = None
    runtime: str | None = None
    archive_format: str | None = None
    export_path: Typed | None = None

    def over(self, other: Request) -> Request:
        """This request where it says something, else the other."""
        names = [field.name for field in fields(self)]
        return Request(**{name: _first(getattr(self, name), getattr(other, name)) for name in names})


@dataclass(frozen=True, slots=True)
class Project:
    """What to pack, complete. Paths are absolute. `inferred`: field → where its value was taken from."""

    name: str
    version: str
    handler: Handler
    base: Path
    export_path: Path
    archive_format: str
    runtime: str
    description: str | None
    license: str | None
    checkpoint: Typed | None
    checkpoint_kind: str | None
    model_file: Typed | None
    config: Typed | None
    requirements: Typed | None
    extra_files: tuple[Extra, ...]
    samples: tuple[Extra, ...]
    inferred: Mapping[str, str]

    @property
    def target(self) -> Path:
        """Where the archive goes."""
        return self.export_path / f"{self.name}{FORMATS[self.archive_format].suffix}"


def from_flags(
    *,
    model_name: str | None = None,
    serialized_file: str | Path | None = None,
    model_file: str | Path | None = None,
    handler: str | Path | None = None,
    extra_files: str | Sequence[str | Path] | None = None,
    runtime: str | None = None,
    export_path: str | Path | None = None,
    archive_format: str | None = None,
    version: str | None = None,
    requirements_file: str | Path | None = None,
    config_file: str | Path | None = None,
    description: str | None = None,
    license: str | None = None,
    folder: Path | None = None,
) -> Project:
    """A project from torch-model-archiver's flags, each with its meaning there; relative paths start at the
    working directory. With `folder`, what is not given comes from its archive.yaml.

    Raises UsageError for a value that makes no sense, NotFound for a folder without archive.yaml, InvalidInput.
    """
    values = {name: value for name, value in locals().items() if name != "folder"}
    asked = _request(values, Path.cwd())
    if folder is None:
        return _settle(asked, Path.cwd())
    return _settle(asked.over(_read_project_file(folder)), folder.absolute())


def load_project(folder: Path) -> Project:
    """The project of a folder that holds an archive.yaml, whose paths are relative to it."""
    return from_flags(folder=folder)


def candidates(project: Project) -> tuple[list[Member], list[Finding]]:
    """Every file the project names, under its name in the archive, and findings for those that are not there.

    The archive that is about to be replaced is never packed into itself.
    """
    members: list[Member] = []
    findings: list[Finding] = []
    for typed, role, what in _named_files(project):
        if typed.path.is_file():
            kind = project.checkpoint_kind if role == "weights" else None
            members.append(_member(typed.path.name, typed.path, role, typed.shown, kind))
        else:
            findings.append(missing_file(typed.path, typed.shown, what))
    others = [(extra, "sample") for extra in project.samples] + [(extra, "extra") for extra in project.extra_files]
    for extra, role in others:
        found, missing = expand(extra)
        findings += missing
        members += [_member(name, path, role, extra.shown) for name, path in found if path != project.target]
    return members, findings


def _named_files(project: Project) -> Iterator[tuple[Typed, str, str]]:
    named = (
        (project.handler.file, "handler", "handler"),
        (project.model_file, "model", "model file"),
        (project.checkpoint, "weights", "checkpoint"),
        (project.config, "config", "config file"),
        (project.requirements, "requirements", "requirements file"),
    )
    return ((typed, role, what) for typed, role, what in named if typed is not None)


def _member(name: str, path: Path, role: str, typed: str, kind: str | None = None) -> Member:
    return Member(name, path.resolve(), path.stat().st_size, role, typed, kind)


def _request(values: Mapping[str, Any], base: Path) -> Request:
    """Texts → paths that know where they start."""
    ready: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in _LISTS:
            ready[name] = tuple(Extra(item, base) for item in _items(value))
        else:
            ready[name] = Typed(str(value), base) if name in _FILES else str(value)
    return Request(**ready)


def _items(value: Any) -> list[str]:
    return split(value if isinstance(value, str) else [str(item) for item in value])


def _read_project_file(folder: Path) -> Request:
    file = folder / PROJECT_FILE
    if not file.is_file():
        raise NotFound(f"{folder} has no {PROJECT_FILE}", hint="name the files by flags: archive create --help")
    from archiver.config.validate import examine_project

    checked = examine_project(file.read_bytes(), Typed(PROJECT_FILE, folder).shown)
    if checked.errors:
        raise InvalidInput(checked.findings)
    return _request({KEYS[key]: value for key, value in checked.values.items()}, folder.absolute())


def _settle(asked: Request, base: Path) -> Project:
    """Infer what was not said and refuse what makes no sense."""
    inferred: dict[str, str] = {}
    kind = _checkpoint_kind(asked.serialized_file)
    handler = _handler(asked, kind, inferred)
    exported = asked.export_path or Typed(known("exportPath")["default"], base)
    if asked.version is None:
        inferred["version"] = "default"
    return Project(
        name=_checked_name(asked.model_name or _inferred_name(asked, handler, inferred)),
        version=asked.version or known("version")["default"],
        handler=handler,
        base=base,
        export_path=Path(os.path.normpath(exported.path)),
        archive_format=_one_of("format", asked.archive_format),
        runtime=_one_of("runtime", asked.runtime),
        description=asked.description,
        license=asked.license,
        checkpoint=asked.serialized_file,
        checkpoint_kind=kind,
        model_file=asked.model_file,
        config=asked.config_file,
        requirements=asked.requirements_file,
        extra_files=asked.extra_files or (),
        samples=asked.samples or (),
        inferred=inferred,
    )


def known(key: str) -> Schema:
    """What the schema says about a key of archive.yaml: its default, its values."""
    return properties(load("project"))[key]


def _checkpoint_kind(typed: Typed | None) -> str | None:
    if typed is None or not typed.path.is_file():
        return None
    return checkpoints.kind(typed.path)


def _handler(asked: Request, kind: str | None, inferred: dict[str, str]) -> Handler:
    if asked.handler is None:
        if not _default_fits(asked, kind):
            raise UsageError("--handler is missing", hint="--handler FILE.py, or a built-in: " + _built_ins())
        inferred["handler"] = "what the checkpoint needs"
        return Handler(_DEFAULT_HANDLER, None, None)
    typed = asked.handler
    if typed.text in BUILT_IN or (asked.runtime == "LSP" and typed.text in BUILT_IN_LSP):
        return Handler(typed.text, None, None)
    file, _, entry = typed.text.partition(":")
    has_suffix = file.endswith((".py", ".so", ".dylib"))
    return Handler(typed.text, Typed(file if has_suffix else f"{file}.py", typed.base), entry or None)


def _default_fits(asked: Request, kind: str | None) -> bool:
    """base_handler loads programs as they are, and weights when a model file says what they fill."""
    return kind in ("torchscript", "pt2") or (kind is not None and kind != "onnx" and asked.model_file is not None)


def _inferred_name(asked: Request, handler: Handler, inferred: dict[str, str]) -> str:
    named = asked.serialized_file or handler.file
    if named is None:
        raise UsageError("--model-name is missing", hint="--model-name NAME")
    inferred["name"] = named.path.name
    return named.path.stem


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        message = f"the model name {name!r} must begin with a letter or digit and hold only letters, digits, _ - ."
        raise UsageError(message, hint="--model-name NAME")
    return name


def _one_of(key: str, value: str | None) -> str:
    allowed = known(key)
    if value is not None and value not in allowed["enum"]:
        raise UsageError(f"unknown {key} {value!r}; there are {', '.join(allowed['enum'])}")
    return str(value or allowed["default"])


def _built_ins() -> str:
    return ", ".join(sorted(BUILT_IN))


def _first(one: Any, other: Any) -> Any:
    return other if one is None else one
