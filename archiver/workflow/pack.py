"""Spec, handler and more files → a workflow archive, which TorchServe reads too. Nothing is written when a check
fails."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from archiver import __version__
from archiver.checks import bound_names
from archiver.config.findings import Finding, Severity, Where
from archiver.containers.formats import Format
from archiver.containers.zip import ZipSink
from archiver.errors import ArchiveError, InvalidInput, NotFound, UsageError
from archiver.manifest import created_on
from archiver.pack import publishing, refuse_existing
from archiver.workflow.archive import MANIFEST
from archiver.workflow.naming import SUFFIX
from archiver.workflow.spec import Spec, read_spec

_FORM = Format(SUFFIX, ZipSink)


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written. `warnings` of the spec."""

    path: Path
    spec: Spec
    warnings: tuple[Finding, ...]


def pack_workflow(
    name: str, spec_file: Path, handler: Path | None, extra: Sequence[Path], folder: Path, *, force: bool = False
) -> Packed:
    """Write `{folder}/{name}.war`.

    Raises InvalidInput, NotFound, OutputExists, CannotWrite, and UsageError for two files of one name.
    """
    target = folder / f"{name}{SUFFIX}"
    refuse_existing(target, force=force)
    files = [spec_file, *([handler] if handler else []), *extra]
    contents = {file.name: _content(file) for file in files}
    if len(contents) < len(files):
        raise UsageError("two files have the same name", hint="an archive of a workflow has no folders: rename one")
    spec, findings = read_spec(contents[spec_file.name], str(spec_file), has_handler=handler is not None)
    if spec is not None and handler is not None:
        findings += _missing(spec, contents[handler.name], handler, spec_file)
    if spec is None or any(finding.is_error for finding in findings):
        raise InvalidInput(findings)
    contents[MANIFEST] = _manifest(name, spec_file, handler)
    with publishing(_FORM, target) as sink:
        for member, content in contents.items():
            sink.begin(member, len(content))
            sink.write(content)
            sink.end()
    return Packed(target, spec, tuple(findings))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}") from None
    except OSError as error:
        raise ArchiveError(f"cannot read {file}: {error.strerror}") from error


def _missing(spec: Spec, source: bytes, handler: Path, spec_file: Path) -> Iterator[Finding]:
    """Functions of the dag that the handler file does not define. TorchServe finds out when a worker ends."""
    try:
        tree = ast.parse(source, str(handler))
    except SyntaxError as error:
        where = Where(str(handler), error.lineno, error.offset)
        yield Finding("workflow/no-function", Severity.ERROR, where, f"the handler file is no Python: {error.msg}")
        return
    known = bound_names(tree)
    for node in spec.nodes.values():
        if node.url is None and node.name not in known:
            message = f"`{node.name}` is neither one of `models` nor a function of {handler}"
            yield Finding("workflow/no-function", Severity.ERROR, Where(str(spec_file), path="dag"), message)


def _manifest(name: str, spec_file: Path, handler: Path | None) -> bytes:
    workflow = {"workflowName": name, "specFile": spec_file.name}
    if handler is not None:
        workflow["handler"] = handler.name
    document = {
        "createdOn": created_on(os.environ.get("SOURCE_DATE_EPOCH")),
        "workflow": workflow,
        "archiverVersion": __version__,
    }
    return (json.dumps(document, indent=2) + "\n").encode()
