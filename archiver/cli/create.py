"""`archive create`: flags → a project → an archive → what is in it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click

from archiver import checkpoint, pack
from archiver.cli import console
from archiver.config.findings import Finding
from archiver.manifest import BILL, PRECOMPILED
from archiver.pack import Summary, refuse_existing
from archiver.project import PROJECT_FILE, Project, from_flags, known

_RUNTIMES = click.Choice(known("runtime")["enum"])
_FORMATS = click.Choice(known("format")["enum"])


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model-name", metavar="NAME", help="Name of the model; default: from the checkpoint's file.")
@click.option("--serialized-file", metavar="FILE", help="Weights or program: .pt .pth .safetensors .pt2 .onnx.")
@click.option("--model-file", metavar="FILE", help="Python file with the model's class, for bare weights.")
@click.option("--handler", metavar="HANDLER", help="file.py, file.py:Class, file:function or a built-in name.")
@click.option(
    "--extra-files", metavar="LIST", multiple=True, help="Comma-separated files, globs, DIR/, DIR/. (flat)."
)
@click.option("--runtime", type=_RUNTIMES, help="TorchServe's runtime.")
@click.option("--export-path", metavar="DIR", help="Where the archive goes; made when missing.")
@click.option("--archive-format", type=_FORMATS, help="default and zip-store: .mar, stored.")
@click.option("-f", "--force", is_flag=True, help="Replace an archive that is there.")
@click.option("-v", "--version", metavar="VERSION", help="Version of the model.")
@click.option("-r", "--requirements-file", metavar="FILE", help="pip requirements of the handler.")
@click.option("-c", "--config-file", metavar="FILE", help="The model's settings, YAML.")
@click.option("--description", metavar="TEXT", help="One sentence about the model, kept in the manifest.")
@click.option("--license", metavar="SPDX", help="Licence of the model, e.g. Apache-2.0; kept in manifest and SBOM.")
@click.option("--safetensors", is_flag=True, help="Pack a pickled state dict as safetensors.")
@click.option(
    "--precompile",
    "devices",
    multiple=True,
    type=click.Choice(["cpu", "cuda"]),
    help="Pack code compiled for this machine's DEVICE.",
)
@click.option("--no-check", is_flag=True, help="Errors of the checks become warnings.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def create(
    folder: Path | None,
    force: bool,
    safetensors: bool,
    devices: tuple[str, ...],
    no_check: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Pack checkpoint, handler and config into an archive.

    With flags as torch-model-archiver has them, or from a FOLDER that holds an archive.yaml, whose values flags
    replace. Without FOLDER the archive.yaml here counts, unless a flag names a file to pack.

    Nothing is written when a check fails, nor when --safetensors or --precompile does.
    """
    project = _project(folder, flags)
    refuse_existing(project.target, force=force)
    with _as_packed(project, safetensors, checks=not no_check) as (project, warnings):
        summary = _packer(devices)(project, force=force, checks=not no_check, progress=console.progress)
    for finding in (*warnings, *summary.warnings):
        console.note(console.finding_text(finding))
    if as_json:
        console.out_json(_as_json(summary))
    else:
        for line in _lines(summary):
            console.out(line)


def _packer(devices: tuple[str, ...]) -> Callable[..., Summary]:
    """How to pack. Compiling takes the runner, which is named as a string: see `archiver.cli`."""
    if not devices:
        return pack.create
    create: Callable[..., Summary] = importlib.import_module("runner.offline.create").create
    return partial(create, devices=devices, working=console.working)


def _as_packed(
    project: Project, safetensors: bool, *, checks: bool
) -> AbstractContextManager[tuple[Project, list[Finding]]]:
    """The project with its weights as they will be packed, and warnings. Converting takes the runner, too."""
    if not safetensors:
        return nullcontext((project, []))
    converted: Callable[..., AbstractContextManager[tuple[Project, list[Finding]]]]
    converted = importlib.import_module("runner.offline.convert").converted
    return converted(project, checks=checks)


def _project(folder: Path | None, flags: dict[str, Any]) -> Project:
    """Without a folder and without files named by flags, an archive.yaml here is the project."""
    named = any(flags[name] for name in ("serialized_file", "handler", "model_file"))
    here = Path()
    if folder is None and not named and (here / PROJECT_FILE).is_file():
        folder = here
    return from_flags(**{**flags, "extra_files": list(flags["extra_files"]) or None}, folder=folder)


def _lines(summary: Summary) -> list[str]:
    manifest = summary.manifest
    files = [file for file in manifest.files if file.role != BILL]
    facts = {
        "size": console.size(summary.size),
        "digest": f"sha256:{summary.digest}",
        "time": f"{summary.seconds:.2f} s",
        "model": f"{manifest.model_name} {manifest.model_version}",
        "handler": ":".join(filter(None, (manifest.handler, manifest.handler_class))),
        "weights": _weights(summary),
        "config": ", ".join(summary.config_keys),
        "code": _compiled(summary),
        "files": ", ".join(file.path for file in files[:8]) + (" …" if len(files) > 8 else ""),
    }
    count = len(files)
    head = f"{console.bold(_near(summary.path))}  {count} file{'' if count == 1 else 's'}"
    return [head, *(f"  {console.dim(f'{name:<8}')}{value}" for name, value in facts.items() if value)]


def _near(path: Path) -> str:
    """Relative where it lies below the working directory."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _weights(summary: Summary) -> str:
    found = (file for file in summary.manifest.files if file.role == "weights")
    return ", ".join(
        f"{file.path} ({checkpoint.KINDS[file.format or 'unknown']}, {console.size(file.size)})" for file in found
    )


def _compiled(summary: Summary) -> str:
    manifest = summary.manifest
    size = sum(file.size for file in manifest.files if file.role == PRECOMPILED)
    devices = (str(each["environment"]["device"][0]) for each in manifest.precompiled)
    return f"for {', '.join(devices)} ({console.size(size)})" if manifest.precompiled else ""


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "path": str(summary.path),
        "size": summary.size,
        "digest": f"sha256:{summary.digest}",
        "seconds": round(summary.seconds, 3),
        "manifest": summary.manifest.to_json(),
        "configKeys": list(summary.config_keys),
        "warnings": [str(finding) for finding in summary.warnings],
    }
