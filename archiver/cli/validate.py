"""`archive validate`: configs, projects and archives, before they ship."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from archiver.cli import console
from archiver.config.findings import Finding, Severity, Where, in_order
from archiver.config.render import FORMATS, render, text
from archiver.config.render.verdict import Verdict
from archiver.config.source import MAX_SIZE
from archiver.config.validate import check_config, config_missing, examine_project
from archiver.errors import ArchiveError, UsageError
from archiver.workflow.naming import SUFFIX, is_workflow

#: TorchServe's examples write it with either sign.
_CONFIG = re.compile(r"model[-_]config.*\.ya?ml\Z")
_PROJECT = ("archive.yaml", "archive.yml")
_ARCHIVES = (".mar", ".tar.gz", ".tgz", ".zip")
_STDIN = Path("-")
_NOT_SEARCHED = {"node_modules", "__pycache__", "venv", "site-packages"}

#: One file that was looked at and what was found in it.
Result = tuple[str, list[Finding]]


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, allow_dash=True, path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="How to print findings. Default: github inside GitHub Actions, else text.",
)
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option("--quiet", is_flag=True, help="Print errors only, with --strict warnings too; no summary.")
def validate(paths: tuple[Path, ...], format_: str | None, strict: bool, quiet: bool) -> None:
    """Check model configs, archive.yaml projects and the configs inside archives.

    PATHS are files, folders to search (model-config*.yaml, archive.yaml, *.mar, *.war), or - for standard input.
    Without PATHS the current folder is searched. Exit codes: 0 clean, 1 findings, 2 usage.
    """
    results = list(_check_all(paths or (Path(),)))
    if not results:
        raise UsageError(
            f"nothing to validate in {', '.join(map(str, paths)) or 'this folder'}",
            hint="name a file, e.g. `archive validate config.yaml`",
        )
    fatal = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    findings = [finding for _, found in results for finding in found if not quiet or finding.severity in fatal]
    verdict = Verdict(tuple(file for file, _ in results), tuple(findings))
    _print(verdict, format_ or ("github" if os.environ.get("GITHUB_ACTIONS") == "true" else "text"), quiet)
    sys.exit(1 if any(finding.severity in fatal for finding in findings) else 0)


def _print(verdict: Verdict, format_: str, quiet: bool) -> None:
    if format_ != "text":
        console.out(render(format_, verdict))
    elif not quiet:
        console.out(text.render(verdict, console.finding_text))
    else:
        for finding in verdict.findings:
            console.out(console.finding_text(finding))


def _check_all(paths: tuple[Path, ...]) -> Iterator[Result]:
    """Each file once, also where a folder, a project and the command line all name it."""
    seen: set[Path] = set()
    for path in paths:
        for file in _files(path):
            yield from _check(file, seen)


def _files(path: Path) -> Iterator[Path]:
    """What to check for a path on the command line."""
    if path == _STDIN or not path.is_dir() or _is_unpacked(path):
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_SEARCHED)
        for name in sorted(names):
            if _is_ours(name):
                yield Path(folder, name)
        unpacked = [name for name in folders if _is_unpacked(Path(folder, name))]
        yield from (Path(folder, name) for name in unpacked)
        folders[:] = [name for name in folders if name not in unpacked]


def _is_unpacked(folder: Path) -> bool:
    """A folder made with `--format no-archive`."""
    return (folder / "MAR-INF").is_dir()


def _is_ours(name: str) -> bool:
    return _CONFIG.match(name) is not None or name in _PROJECT or name.endswith((".mar", SUFFIX))


def _check(path: Path, seen: set[Path]) -> Iterator[Result]:
    if path == _STDIN:
        yield "<stdin>", check_config(sys.stdin.buffer.read(MAX_SIZE + 1), "<stdin>")
        return
    if path.resolve() in seen:
        return
    seen.add(path.resolve())
    if is_workflow(path):
        yield _check_workflow(path)
    elif path.is_dir() or path.name.endswith(_ARCHIVES):
        yield _check_archive(path)
    elif path.name in _PROJECT:
        yield from _check_project(path, seen)
    else:
        yield str(path), check_config(_read(path), str(path))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SIZE + 1)


def _check_project(path: Path, seen: set[Path]) -> Iterator[Result]:
    """The project file, then the model config that it names."""
    project = examine_project(_read(path), str(path))
    named = project.values.get("config")
    config = path.parent / named if named else None
    if config is not None and not config.is_file():
        yield str(path), in_order([*project.findings, config_missing(project)])
        return
    yield str(path), project.findings
    if config is not None:
        yield from _check(config, seen)


def _check_workflow(path: Path) -> Result:
    """The spec inside; an archive that cannot be opened is a finding like any other."""
    from archiver.archive import Archive
    from archiver.workflow.archive import read_manifest
    from archiver.workflow.spec import read_spec

    try:
        with Archive.open(path) as archive:
            manifest = read_manifest(archive)
            text = archive.read(manifest.spec_file)
    except ArchiveError as error:
        return str(path), [Finding(error.code, Severity.ERROR, Where(str(path)), error.message, error.hint)]
    file = f"{path}/{manifest.spec_file}"
    return file, read_spec(text, file, has_handler=manifest.handler is not None)[1]


def _check_archive(path: Path) -> Result:
    """The config inside, if there is one; an archive that cannot be opened is a finding like any other."""
    from archiver.archive import Archive

    try:
        with Archive.open(path) as archive:
            data = archive.config_bytes()
            names = [member.name for member in archive.members]
            file = f"{path}/{archive.manifest.config_file}"
    except ArchiveError as error:
        return str(path), [Finding(error.code, Severity.ERROR, Where(str(path)), error.message, error.hint)]
    return (str(path), []) if data is None else (file, check_config(data, file, members=names))
