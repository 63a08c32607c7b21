"""Extra files as the user typed them → files on disk with their names in the archive.

    labels.json        the file, at the root                 (as torch-model-archiver)
    *.json             every file that matches, at the root  (as torch-model-archiver)
    assets  assets/    the folder with its name and its tree
    assets/.           what is in the folder, at the root    (torch-model-archiver does this for every folder)

Folders named `__pycache__` or `__MACOSX` and folders that start with a dot are left out.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from archiver.config.findings import Finding, Severity, Where
from archiver.containers.directory import belongs


@dataclass(frozen=True, slots=True)
class Extra:
    """One item of `--extra-files` or `extraFiles`; a relative one starts at `base`."""

    typed: str
    base: Path

    @property
    def path(self) -> Path:
        return self.base / self.typed

    @property
    def shown(self) -> str:
        """As people find it from their working directory."""
        return self.typed if self.base == Path.cwd() else str(self.path)

    @property
    def is_glob(self) -> bool:
        return glob.has_magic(self.typed)


def split(items: str | list[str] | tuple[str, ...] | None) -> list[str]:
    """Items of a comma-separated text, or of several."""
    texts = [items] if isinstance(items, str) else items or []
    return [item.strip() for text in texts for item in text.split(",") if item.strip()]


def expand(extra: Extra) -> tuple[list[tuple[str, Path]], list[Finding]]:
    """The files an item stands for, as (name in the archive, path), and a finding where it stands for none."""
    if extra.is_glob and not extra.path.exists():
        paths = sorted(glob.glob(str(extra.path), recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
        found = [pair for path in map(Path, paths) if _wanted(path) for pair in _files(path, flat=False)]
        return found, [] if found else [_no_match(extra)]
    if not extra.path.exists():
        return [], [missing_file(extra.path, extra.shown, "extra file")]
    return list(_files(extra.path, flat=_is_flat(extra.typed))), []


def missing_file(path: Path, shown: str, what: str) -> Finding:
    """The finding for a file that is named but not there; `what` as people call it."""
    return Finding("project/missing-file", Severity.ERROR, Where(shown), f"the {what} does not exist", _near(path))


def _is_flat(typed: str) -> bool:
    return typed == "." or typed.endswith(("/.", "/./"))


def _wanted(path: Path) -> bool:
    """A pattern does not mean the folders that are left out everywhere else."""
    return not path.is_dir() or belongs(path.name)


def _no_match(extra: Extra) -> Finding:
    return Finding("project/no-match", Severity.ERROR, Where(extra.shown), "no file matches this pattern")


def _near(path: Path) -> str | None:
    from difflib import get_close_matches

    names = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return f"did you mean `{near[0]}`?" if near else None


def _files(path: Path, *, flat: bool) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield path.name, path
        return
    root = Path(os.path.normpath(path.absolute()))
    for file in _walk(root, frozenset({root.resolve()})):
        yield file.relative_to(root if flat else root.parent).as_posix(), file


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Files below a folder, through links too; a link back to a folder above is not followed."""
    for child in sorted(folder.iterdir()):
        if not child.is_dir():
            yield child
        elif belongs(child.name) and child.resolve() not in above:
            yield from _walk(child, above | {child.resolve()})
