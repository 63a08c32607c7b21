"""A workflow archive (.war): its manifest, its spec and its handler file, read under the rules of every archive.

TorchServe's `torch-workflow-archiver` makes them: a zip file with WAR-INF/MANIFEST.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiver.archive import Archive
from archiver.errors import DamagedArchive
from archiver.manifest import LARGEST
from archiver.store import Gate
from archiver.workflow.spec import Spec, valid_spec

MANIFEST = "WAR-INF/MANIFEST.json"


@dataclass(frozen=True, slots=True)
class WorkflowManifest:
    """`handler`: a Python file of the archive, None where its nodes are all models."""

    name: str
    spec_file: str
    handler: str | None


@dataclass(frozen=True, slots=True)
class WorkflowArchive:
    """An archive that was read; its handler file is not run."""

    path: Path
    name: str
    handler: str | None
    spec: Spec


def open_workflow(path: Path, gate: Gate | None = None) -> WorkflowArchive:
    """Read and check it, if the gate lets it pass.

    Raises NotFound, DamagedArchive, RefusedArchive, InvalidInput for its spec, and what the gate raises.
    """
    with Archive.open(path) as archive:
        if gate is not None:
            gate(archive)
        manifest = read_manifest(archive)
        text = archive.read(manifest.spec_file)
    spec = valid_spec(text, f"{path}/{manifest.spec_file}", has_handler=manifest.handler is not None)
    return WorkflowArchive(path, manifest.name, manifest.handler, spec)


def read_manifest(archive: Archive) -> WorkflowManifest:
    """What an opened archive says about itself as a workflow. Raises DamagedArchive."""
    members = {member.name: member for member in archive.members}
    if MANIFEST not in members:
        hint = "`torch-workflow-archiver` makes workflow archives"
        raise DamagedArchive(f"is no workflow archive: it has no {MANIFEST}", where=str(archive.path), hint=hint)
    if members[MANIFEST].size > LARGEST:
        raise _broken(archive, f"has {members[MANIFEST].size} bytes, the limit is {LARGEST}")
    try:
        raw = json.loads(archive.read(MANIFEST))
    except (ValueError, RecursionError) as error:
        raise _broken(archive, f"is no JSON: {error}") from error
    workflow = raw.get("workflow") if isinstance(raw, dict) else None
    if not isinstance(workflow, dict):
        raise _broken(archive, "has no `workflow` mapping")
    name, spec = _text(workflow, "workflowName", archive), _text(workflow, "specFile", archive)
    handler = _text(workflow, "handler", archive) if workflow.get("handler") else None
    for file in filter(None, (spec, handler)):
        if file not in members:
            raise _broken(archive, f"names the file `{file}`, which is not there")
    return WorkflowManifest(name, spec, handler)


def _text(workflow: dict[str, Any], key: str, archive: Archive) -> str:
    value = workflow.get(key)
    if not isinstance(value, str) or not value:
        raise _broken(archive, f"has no text for `workflow.{key}`")
    return value


def _broken(archive: Archive, what: str) -> DamagedArchive:
    return DamagedArchive(f"its {MANIFEST} {what}", where=str(archive.path))
