"""`archive workflow`: pack a workflow, with the flags of torch-workflow-archiver."""

from __future__ import annotations

from pathlib import Path

import click

from archiver.cli import console
from archiver.workflow.graph import Graph
from archiver.workflow.pack import pack_workflow
from archiver.workflow.spec import Node


@click.command()
@click.option("--workflow-name", required=True, metavar="NAME", help="Name of the workflow and of the archive.")
@click.option("--spec-file", required=True, type=click.Path(path_type=Path), help="Its models and its dag, YAML.")
@click.option("--handler", type=click.Path(path_type=Path), help="Python file with the functions of the dag.")
@click.option("--extra-files", metavar="LIST", default="", help="Comma-separated files for the functions.")
@click.option(
    "--export-path",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="this folder",
    help="Where the archive goes; made when missing.",
)
@click.option("-f", "--force", is_flag=True, help="Replace an archive that is there.")
def workflow(
    workflow_name: str, spec_file: Path, handler: Path | None, extra_files: str, export_path: Path, force: bool
) -> None:
    """Pack the spec and the functions of a workflow into NAME.war.

    The models stay in the model store; `archive serve` finds them there. Nothing is written when a check fails.
    """
    extra = [Path(name.strip()) for name in extra_files.split(",") if name.strip()]
    packed = pack_workflow(workflow_name, spec_file, handler, extra, export_path, force=force)
    for finding in packed.warnings:
        console.note(console.finding_text(finding))
    nodes = packed.spec.nodes
    console.out(f"{console.bold(str(packed.path))}  {len(nodes)} nodes")
    for node in nodes.values():
        console.out(f"  {node_line(node, packed.spec.graph)}")


def node_line(node: Node, graph: Graph) -> str:
    """A node, its archive, and the nodes after it."""
    following = ", ".join(graph.after[node.name]) or "the answer"
    return f"{node.name:<20} {node.url or 'function':<24} → {following}"
