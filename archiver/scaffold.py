"""`archive init`: write a template as a project of the user's own.

What happens to a template's files on the way:
1. PROJECT_NAME becomes the project's name, made from the folder's.
2. The schemas that the YAML files point to are laid beside them, so that an editor completes and checks the files
   without a network.
3. Above each key of model-config.yaml stands the sentence that its schema has for it. No template repeats one.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from archiver.config.schema import load, properties, schema_path
from archiver.errors import ArchiveError, CannotWrite, NotFound
from archiver.resources import resource

#: Where a project keeps the schemas that its YAML files point to, relative to each file.
SCHEMA_FOLDER = ".schemas"
PLACEHOLDER = "PROJECT_NAME"
CONFIG = "model-config.yaml"
CONFIG_SCHEMA = "model-config"
_SCHEMA_LINE = re.compile(
    rf"^# yaml-language-server: \$schema={re.escape(SCHEMA_FOLDER)}/(\S+)\.schema\.json$", re.MULTILINE
)
_KEY = re.compile(r"^([A-Za-z]\w*):")
_WIDTH = 100
_LEFTOVERS = {"__pycache__", ".pytest_cache"}


class NotEmpty(ArchiveError):
    """The folder already holds something and --force was not given."""

    code = "init/not-empty"

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} is not empty", hint="choose another folder, or add --force to write into it all the same"
        )


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was written: the project's name, and its files relative to the folder, schemas left out, in order."""

    name: str
    files: tuple[str, ...]


def templates() -> list[str]:
    """Names of the templates that ship with the package."""
    return sorted(path.name for path in resource("templates", "init").iterdir() if path.is_dir())


def scaffold(template: str, folder: Path, *, force: bool = False) -> Scaffold:
    """Write the template into `folder`, which is made if it is not there.

    With `force` a folder that holds something is accepted and files of the same names are replaced.
    Raises NotFound for an unknown template, NotEmpty, and CannotWrite when the system refuses.
    """
    if template not in templates():
        raise NotFound(f"there is no template `{template}`", hint=f"templates: {', '.join(templates())}")
    source = resource("templates", "init", template)
    name = project_name(folder) or template
    try:
        _claim(folder, force)
        files = tuple(_write(path, source, folder, name) for path in _files(source))
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotWrite(f"cannot write {error.filename or folder}: {reason.lower()}") from error
    return Scaffold(name, files)


def project_name(folder: Path) -> str:
    """The folder's name as a model may be called: runs of other signs become "-". Empty when nothing is left."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._")


def _claim(folder: Path, force: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not force and any(folder.iterdir()):
        raise NotEmpty(folder)


def _files(source: Path) -> Iterator[Path]:
    """Every file of a template in order; what Python or a test run left beside them does not count."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and not _LEFTOVERS.intersection(path.parts):
            yield path


def _write(path: Path, source: Path, folder: Path, name: str) -> str:
    inside = path.relative_to(source)
    text = path.read_text(encoding="utf-8").replace(PLACEHOLDER, name)
    if path.name == CONFIG:
        text = explained(text, _descriptions())
    target = folder / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    for schema in _SCHEMA_LINE.findall(text):
        _write_schema(schema, target.parent / SCHEMA_FOLDER)
    return inside.as_posix()


def _write_schema(name: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copyfile(schema_path(name), folder / f"{name}.schema.json")


def _descriptions() -> dict[str, str]:
    keys = properties(load(CONFIG_SCHEMA))
    return {key: schema["description"] for key, schema in keys.items() if "description" in schema}


def explained(config: str, descriptions: dict[str, str]) -> str:
    """The YAML with each top-level key's description as a comment above it."""
    lines: list[str] = []
    for line in config.splitlines():
        key = _KEY.match(line)
        if key and key[1] in descriptions:
            lines += ["", *textwrap.wrap(descriptions[key[1]], _WIDTH, initial_indent="# ", subsequent_indent="# ")]
        lines.append(line)
    return "\n".join(lines) + "\n"
