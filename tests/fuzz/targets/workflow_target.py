"""Spec files of workflows: findings, or a graph that can be walked from its start to its leaves."""

from __future__ import annotations

from archiver.workflow.graph import Graph
from archiver.workflow.spec import read_spec


def one(data: bytes) -> None:
    spec, findings = read_spec(data, "spec.yaml")
    errors = [finding for finding in findings if finding.is_error]
    assert (spec is None) == bool(errors)
    if spec is not None:
        assert set(spec.nodes) == set(spec.graph.nodes)
        assert set(spec.graph.leaves) <= _reached(spec.graph) == set(spec.graph.nodes)


def _reached(graph: Graph) -> set[str]:
    reached, coming = set(), [graph.start]
    while coming:
        node = coming.pop()
        if node not in reached:
            reached.add(node)
            coming += graph.after[node]
    return reached
