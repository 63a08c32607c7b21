"""`archive inspect`: what is in an archive, without reading its weights."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import click

from archiver.archive import Archive, MemberInfo
from archiver.cli import console
from archiver.cli.workflow import node_line
from archiver.config.findings import Finding
from archiver.errors import NotFound
from archiver.manifest import COMPILED_CODE, SBOM, Manifest
from archiver.signing.statement import Malformed
from archiver.signing.verify import BadSignature, bundle_of
from archiver.workflow.archive import WorkflowArchive, open_workflow
from archiver.workflow.naming import is_workflow

#: What an environment says of the machine.
_MACHINE = ("torch", "python", "device")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--sbom", is_flag=True, help="Print the bill of materials instead: CycloneDX, JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(file: Path, sbom: bool, as_json: bool) -> None:
    """Show manifest, effective config, files, digest and problems of an archive."""
    if sbom:
        _print_sbom(file)
        return
    if is_workflow(file):
        _show_workflow(open_workflow(file), as_json=as_json)
        return
    with Archive.open(file) as archive:
        config, problems = _config(archive)
        if as_json:
            console.out_json(_as_json(archive, config, problems))
            return
        parts = (
            _head(archive),
            _manifest_lines(archive),
            _compiled_lines(archive),
            _config_lines(config),
            _file_lines(archive),
        )
        for line in chain.from_iterable(parts):
            console.out(line)
        for finding in problems:
            console.out(console.finding_text(finding))


def _print_sbom(file: Path) -> None:
    """As it is packed. Raises NotFound for an archive without one."""
    with Archive.open(file) as archive:
        if SBOM not in {member.name for member in archive.members}:
            raise NotFound(f"{file} has no {SBOM}", hint="`archive create` and `archive optimize` write one")
        console.out(archive.read(SBOM).decode("utf-8", "replace").rstrip("\n"))


def _show_workflow(found: WorkflowArchive, *, as_json: bool) -> None:
    """Its nodes, what each is, and where its answer goes."""
    graph = found.spec.graph
    if as_json:
        nodes = {node.name: {**asdict(node), "after": graph.after[node.name]} for node in found.spec.nodes.values()}
        console.out_json({"path": str(found.path), "name": found.name, "handler": found.handler, "nodes": nodes})
        return
    console.out(f"{console.bold(found.name)}  {found.path}, a workflow")
    for node in found.spec.nodes.values():
        console.out(f"  {node_line(node, graph)}")


def _config(archive: Archive) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The effective config with origins as `serve` would have it, and what is wrong with the packed one."""
    data = archive.config_bytes()
    if data is None:
        return [], []
    from archiver.config.origins import Origin, effective
    from archiver.config.source import read_source
    from archiver.config.validate import check_config

    file = f"{archive.path}/{archive.manifest.config_file}"
    findings = check_config(data, file, members=[member.name for member in archive.members])
    if any(finding.is_error for finding in findings):
        return [], findings
    return effective({Origin.YAML: read_source(data, file).values}).describe(), findings


def _head(archive: Archive) -> list[str]:
    manifest = archive.manifest
    size = sum(member.size for member in archive.members)
    digest = archive.claimed_digest
    return [
        f"{console.bold(f'{manifest.model_name} {manifest.model_version}')}  {archive.path}",
        f"  {console.dim('format  ')}{archive.kind}, {len(archive.members)} files, {console.size(size)} unpacked",
        f"  {console.dim('digest  ')}{f'sha256:{digest}' if digest else 'the manifest has no hashes'}",
        *_signature_lines(archive),
    ]


def _signature_lines(archive: Archive) -> list[str]:
    """Whose it says it is: nothing is proven here."""
    try:
        bundle = bundle_of(archive)
        by = f"key {bundle.hint[:16]}" if bundle.hint else "a certificate" if bundle.certificates else "a key"
        said = f"by {by}; `archive verify` proves it"
    except BadSignature:
        return []
    except Malformed as error:
        said = f"the signature {error}"
    return [f"  {console.dim('signed  ')}{said}"]


def _manifest_lines(archive: Archive) -> list[str]:
    source = "MAR-INF/MANIFEST.json" if archive.has_manifest else "no manifest; taken from the files"
    lines = ["", f"{console.bold('Manifest')}  {console.dim(source)}"]
    return lines + [f"  {key:<22} {value}" for key, value in _fields(archive.manifest).items()]


def _fields(manifest: Manifest) -> dict[str, Any]:
    document = manifest.to_json()
    for key in ("files", "precompiled", "report"):
        document.pop(key, None)
    build = {f"build.{key}": value for key, value in document.pop("build", {}).items()}
    return {**document.pop("model"), **document, **build}


def _compiled_lines(archive: Archive) -> list[str]:
    """What the archive brings optimised and compiled: for which machine, and what that showed when it was packed."""
    lines = [f"  {line}" for line in archive.manifest.report]
    for entry in archive.manifest.precompiled:
        key, environment, report = (entry.get(name, {}) for name in ("key", "environment", "report"))
        prefix = f"{COMPILED_CODE}/{key}/"
        size = sum(member.size for member in archive.members if member.name.startswith(prefix))
        machine = ", ".join(f"{name} {_brief(environment[name])}" for name in _MACHINE if name in environment)
        lines += [f"  {key}  {console.size(size)}, {machine}", *(f"    {line}" for line in report.get("lines", ()))]
    return ["", console.bold("Optimised"), *lines] if lines else []


def _brief(value: Any) -> str:
    """The first of several: commits and a processor's instructions are for comparing."""
    return str(value[0] if isinstance(value, list) and value else value)


def _config_lines(config: list[dict[str, Any]]) -> list[str]:
    if not config:
        return []
    lines = ["", console.bold("Config")]
    return lines + [f"  {row['key']:<28} {_shown(row['value']):<24} {console.dim(row['origin'])}" for row in config]


def _shown(value: Any) -> str:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _file_lines(archive: Archive) -> list[str]:
    width = max(len(member.name) for member in archive.members)
    return ["", console.bold("Files"), *(_file_line(member, width) for member in archive.members)]


def _file_line(member: MemberInfo, width: int) -> str:
    sha = f"  {console.dim(member.sha256[:12])}" if member.sha256 else ""
    return (
        f"  {member.name:<{width}}  {console.size(member.size):>9}  {member.compression:<9}  {member.role:<12}{sha}"
    )


def _as_json(archive: Archive, config: list[dict[str, Any]], problems: list[Finding]) -> dict[str, Any]:
    return {
        "path": str(archive.path),
        "format": archive.kind,
        "digest": f"sha256:{archive.claimed_digest}" if archive.claimed_digest else None,
        "hasManifest": archive.has_manifest,
        "manifest": archive.manifest.to_json(),
        "config": config,
        "files": [asdict(member) for member in archive.members],
        "problems": [{"code": f.code, "severity": f.severity.value, "message": str(f)} for f in problems],
    }
