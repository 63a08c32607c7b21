"""Archives for tests: functions whose arguments have defaults, instead of fixtures with hidden state."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from archiver.pack import create
from archiver.project import Project, from_flags

HANDLER = """\
class Echo:
    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        return [row.get("body") for row in data]
"""

CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\n"


def safetensors(size: int = 64, fill: bytes = b"\0") -> bytes:
    """A valid .safetensors file with one tensor of `size` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + fill * size


def make_project(
    folder: Path,
    *,
    name: str = "echo",
    version: str = "1.0",
    handler: str = "handler.py",
    handler_text: str = HANDLER,
    config: str | None = CONFIG,
    checkpoint: bytes | None = None,
    model_text: str | None = None,
    extra: Mapping[str, str | bytes] | None = None,
    archive_format: str = "default",
) -> Project:
    """A project on disk: `folder/src` holds its files, its archive goes to `folder`.

    `extra`: name below src/extra → content; packed flat, as `extra/.`.
    """
    source = folder / "src"
    source.mkdir(parents=True, exist_ok=True)
    files = {"handler.py": handler_text, "model-config.yaml": config, "model.safetensors": checkpoint}
    files |= {"model.py": model_text, **{f"extra/{path}": content for path, content in (extra or {}).items()}}
    for path, content in files.items():
        if content is not None:
            write(source / path, content)
    return from_flags(
        model_name=name,
        version=version,
        handler=str(source / handler),
        serialized_file=source / "model.safetensors" if checkpoint is not None else None,
        model_file=source / "model.py" if model_text is not None else None,
        config_file=source / "model-config.yaml" if config is not None else None,
        extra_files=f"{source}/extra/." if extra else None,
        export_path=folder,
        archive_format=archive_format,
    )


def make_archive(folder: Path, **project: object) -> Path:
    """An archive that `create` makes of `make_project(folder, **project)`; replaces an older one."""
    return create(make_project(folder, **project), force=True).path  # type: ignore[arg-type]  # same arguments


def make_torchserve_archive(
    path: Path,
    *,
    handler: str = "handler.py",
    members: Mapping[str, str | bytes] | None = None,
    compression: int = zipfile.ZIP_DEFLATED,
    manifest: bool = True,
    model: Mapping[str, str] | None = None,
) -> Path:
    """A .mar as torch-model-archiver writes it: deflated, manifest last, no hashes. `model`: more manifest keys."""
    document = {
        "createdOn": "17/03/2025 11:20:57",
        "runtime": "python",
        "model": {"modelName": path.stem, "handler": handler, "modelVersion": "1.0", **(model or {})},
        "archiverVersion": "0.12.0",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (members or {"handler.py": HANDLER}).items():
            archive.writestr(name, content)
        if manifest:
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps(document))
    return path


def write(path: Path, content: str | bytes) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
