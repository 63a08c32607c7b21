"""Manifest ⇄ MAR-INF/MANIFEST.json, every generation of it.

The upper part is TorchServe's, field for field; its reader (Gson) and its handlers (`json.load`) ignore the rest: at
the top `specificationVersion`, `license`, `files`, `build`, `precompiled`, `parent` and `report`, inside `model`
`handlerClass`.
Archives older than TorchServe 0.2 carry a `specificationVersion` of "1.0" too; ours are known by their `files`.

A handler given as `file.py:Class` is written as `handler: file.py` plus `handlerClass: Class`: TorchServe takes
what follows a colon for a function, and finds the class of a file by itself when there is just one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Any

from archiver.errors import DamagedArchive, UsageError
from archiver.safety import refuse

#: The folder of an archive that belongs to the archive itself.
MAR_INF = "MAR-INF"
MANIFEST = f"{MAR_INF}/MANIFEST.json"
#: Made over all other members, and no part of the content: signing an archive leaves its digest as it is.
SIGNATURE = f"{MAR_INF}/model.sig"
#: The bill of materials. It is made from the other members, and listed like them.
SBOM = f"{MAR_INF}/sbom.cdx.json"
SPECIFICATION = "2.0"
#: The role of files that were compiled from the others, and their folder: below it one per key.
PRECOMPILED = "precompiled"
COMPILED_CODE = f"{MAR_INF}/precompiled"
#: The role of the bill of materials.
BILL = "sbom"
#: A manifest beyond this many bytes is no manifest.
LARGEST = 4 << 20

#: `createdOn` as TorchServe writes it.
CREATED = "%d/%m/%Y %H:%M:%S"
_EPOCH_1980 = 315_532_800
_HANDLERS = ("handler.py", "service.py", "inference.py")
_WEIGHTS = (".pt", ".pth", ".safetensors", ".pt2", ".onnx", ".so", ".bin")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One packed file: `size` in bytes, `sha256` in hex, `role` (weights, handler, …), `format` of weights."""

    path: str
    size: int
    sha256: str
    role: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says about itself. `raw` is the whole document as read, for what we do not know.

    `parent`: digest of the archive that this one was optimised from; `report`: what loading it showed then, as lines.

    `handler` is in TorchServe's spelling; `handler_class` names the class where the user did.
    """

    model_name: str
    model_version: str
    handler: str | None = None
    handler_class: str | None = None
    serialized_file: str | None = None
    model_file: str | None = None
    config_file: str | None = None
    requirements_file: str | None = None
    runtime: str = "python"
    created_on: str | None = None
    archiver_version: str | None = None
    specification_version: str | None = None
    description: str | None = None
    envelope: str | None = None
    license: str | None = None
    files: tuple[FileEntry, ...] = ()
    build: Mapping[str, str] = field(default_factory=dict)
    precompiled: tuple[Mapping[str, Any], ...] = ()
    parent: str | None = None
    report: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_own(self) -> bool:
        """Whether the archive was made by this tool: then `files` lists every member with its digest."""
        return bool(self.files)

    def document(self) -> dict[str, Any]:
        """The whole document as read; of an archive without one, what it would say."""
        return dict(self.raw) or self.to_json()

    def content(self) -> str | None:
        """Digest of what the archive was made of, without compiled code and the bill of materials: they are made
        from it. None when foreign."""
        made = (PRECOMPILED, BILL)
        own = [(file.path, file.sha256) for file in self.files if file.role not in made]
        return digest(own) if own else None

    def roles(self) -> dict[str, str]:
        """Member name → role: as packed, or, in a foreign archive, from the fields that name files."""
        if self.files:
            return {file.path: file.role for file in self.files}
        handler = (self.handler or "").partition(":")[0]
        named = {
            self.config_file: "config",
            self.requirements_file: "requirements",
            self.model_file: "model",
            self.serialized_file: "weights",
            handler: "handler",
            f"{handler}.py": "handler",
        }
        return {name: role for name, role in named.items() if name}

    def to_json(self) -> dict[str, Any]:
        """The document to write, in TorchServe's order of fields; keys without a value are left out. Those that we do
        not know come last, as they were read."""
        model = {
            key: value for key, attribute in _MODEL_KEYS.items() if (value := getattr(self, attribute)) is not None
        }
        model |= _unknown(self.raw.get("model", {}), _KNOWN_OF_MODEL)
        document = {
            "createdOn": self.created_on,
            "description": self.description,
            "license": self.license,
            "runtime": self.runtime,
            "model": model,
            "archiverVersion": self.archiver_version,
            "specificationVersion": self.specification_version,
            "files": [_file_json(file) for file in self.files],
            "build": dict(self.build),
            "precompiled": [dict(each) for each in self.precompiled],
            "parent": self.parent,
            "report": list(self.report),
        }
        known = {key: value for key, value in document.items() if value not in (None, [], {})}
        return {**known, **_unknown(self.raw, document)}

    def to_bytes(self) -> bytes:
        """MANIFEST.json: two spaces, UTF-8, line feeds; the same values give the same bytes."""
        return (json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n").encode()


#: MANIFEST.json's keys inside `model` → attributes of Manifest.
_MODEL_KEYS = {
    "modelName": "model_name",
    "modelVersion": "model_version",
    "handler": "handler",
    "handlerClass": "handler_class",
    "serializedFile": "serialized_file",
    "modelFile": "model_file",
    "requirementsFile": "requirements_file",
    "configFile": "config_file",
    "envelope": "envelope",
}
#: Those and the one that we keep elsewhere.
_KNOWN_OF_MODEL = frozenset({*_MODEL_KEYS, "description"})
#: Keys of an item of `files` and their types.
_FILE_TYPES: tuple[tuple[str, Any], ...] = (
    ("path", str),
    ("size", int),
    ("sha256", str),
    ("role", str),
    ("format", (str, type(None))),
)
#: Keys inside `model` that name a member, and so must stay inside the archive.
_FILE_KEYS = ("handler", "serializedFile", "modelFile", "requirementsFile", "configFile")


def _unknown(read: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    return {key: value for key, value in read.items() if key not in known}


def created_on(source_date_epoch: str | None) -> str:
    """`createdOn` as TorchServe writes it, in UTC. `source_date_epoch`: the variable's value, seconds since 1970.

    Without it the constant 1980-01-01, never the clock, so that the same inputs give the same bytes
    (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    try:
        seconds = int(source_date_epoch) if source_date_epoch else _EPOCH_1980
        return datetime.fromtimestamp(seconds, timezone.utc).strftime(CREATED)
    except (ValueError, OverflowError, OSError):
        message = f"SOURCE_DATE_EPOCH is {source_date_epoch!r}, not a number of seconds since 1970"
        raise UsageError(message) from None


def parse(data: bytes, archive: str) -> Manifest:
    """Read a MANIFEST.json. Raises DamagedArchive for what is none, RefusedArchive where it points outside."""
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise _broken(archive, f"is no JSON: {error}") from error
    except RecursionError as error:
        raise _broken(archive, "is nested too deeply") from error
    if b"\\u" in data and not _is_text(raw):
        raise _broken(archive, "escapes half a character, which is no text")
    if not isinstance(raw, dict) or not isinstance(raw.get("model"), dict):
        raise _broken(archive, "has no `model` mapping")
    return _from_json(raw, archive)


def _is_text(raw: Any) -> bool:
    r"""JSON may escape a lone surrogate (`\\ud800`), which nobody can write, print or name a file after."""
    try:
        json.dumps(raw, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def synthesise(name: str, members: Collection[str]) -> Manifest:
    """The manifest of an archive that has none: TorchServe serves those too. `name`: from the file's name."""
    top = sorted(member for member in members if "/" not in member)
    python = [member for member in top if member.endswith(".py")]
    handlers = [*(known for known in _HANDLERS if known in python), *_only_handler(python)]
    weights = [member for member in top if PurePosixPath(member).suffix in _WEIGHTS]
    return Manifest(
        model_name=name,
        model_version="1.0",
        handler=handlers[0] if handlers else None,
        serialized_file=weights[0] if len(weights) == 1 else None,
        model_file="model.py" if "model.py" in python and handlers[:1] != ["model.py"] else None,
        config_file="model-config.yaml" if "model-config.yaml" in top else None,
        requirements_file="requirements.txt" if "requirements.txt" in top else None,
    )


def digest(files: Iterable[tuple[str, str]]) -> str:
    """Digest of an archive's content: sha256 over its sorted `sha256  name` lines, the manifest's included, a
    signature's not.

    It does not depend on how the members are packed. In an unpacked archive it is what this prints:
    `find * -type f ! -path MAR-INF/model.sig | LC_ALL=C sort | xargs sha256sum | sha256sum`.
    """
    lines = sorted((name.encode("utf-8", "surrogateescape"), sha) for name, sha in files if name != SIGNATURE)
    whole = b"".join(sha.encode() + b"  " + name + b"\n" for name, sha in lines)
    return hashlib.sha256(whole).hexdigest()


def with_files(manifest: Manifest, files: Iterable[FileEntry]) -> Manifest:
    """The manifest once its members are written, sorted by name."""
    return replace(manifest, files=tuple(sorted(files, key=lambda file: file.path.encode())))


def _from_json(raw: dict[str, Any], archive: str) -> Manifest:
    model: dict[str, Any] = raw["model"]
    for key in _FILE_KEYS:
        _stay_inside(_text(model, key, archive), key, archive)
    values = {attribute: _text(model, key, archive) for key, attribute in _MODEL_KEYS.items()}
    name = values.pop("model_name")
    if not name:
        raise _broken(archive, "has no `model.modelName`")
    description = _text(model, "description", archive) or _text(raw, "description", archive)
    return Manifest(
        model_name=name,
        model_version=values.pop("model_version") or "1.0",
        runtime=_text(raw, "runtime", archive) or "python",
        created_on=_text(raw, "createdOn", archive),
        archiver_version=_text(raw, "archiverVersion", archive),
        specification_version=_text(raw, "specificationVersion", archive),
        description=description,
        license=_text(raw, "license", archive),
        files=_files(raw.get("files"), archive),
        build=_build(raw.get("build")),
        precompiled=_precompiled(raw.get("precompiled"), archive),
        parent=_text(raw, "parent", archive),
        report=_report(raw.get("report")),
        raw=raw,
        **values,
    )


def _text(mapping: Mapping[str, Any], key: str, archive: str) -> str | None:
    """A text value; numbers count as text (a version 1.0 without quotes), empty text as absent."""
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
        raise _broken(archive, f"has {value!r} for `{key}`, which must be text")
    return None if value in (None, "") else str(value)


def _stay_inside(name: str | None, key: str, archive: str) -> None:
    if name and (name.startswith("/") or "\\" in name or ".." in name.split("/")):
        raise refuse(archive, "archive/escapes-root", f"`{key}: {name}` in member `{MANIFEST}` points outside")


def _files(value: Any, archive: str) -> tuple[FileEntry, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _broken(archive, "has no list for `files`")
    files = tuple(_file(item, archive) for item in value)
    if len({file.path for file in files}) != len(files):
        raise _broken(archive, "lists one file twice in `files`")
    return files


def _file(item: Any, archive: str) -> FileEntry:
    if not isinstance(item, dict) or not all(isinstance(item.get(key), kind) for key, kind in _FILE_TYPES):
        raise _broken(archive, f"has a broken entry in `files`: {item!r:.80}")
    known: dict[str, Any] = {key: item.get(key) for key, _ in _FILE_TYPES}
    return FileEntry(**known)


def _file_json(file: FileEntry) -> dict[str, Any]:
    known = {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "role": file.role,
        "format": file.format,
    }
    return {key: value for key, value in known.items() if value is not None}


def _build(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def _precompiled(value: Any, archive: str) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _broken(archive, "has no list of mappings for `precompiled`")
    return tuple(value)


def _report(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _only_handler(python: list[str]) -> list[str]:
    """`x_handler.py` where there is just one, or the only Python file."""
    named = [name for name in python if name.endswith("_handler.py")]
    return next((names for names in (named, python) if len(names) == 1), [])


def _broken(archive: str, what: str) -> DamagedArchive:
    return DamagedArchive(f"its {MANIFEST} {what}", where=archive)
