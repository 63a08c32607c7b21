"""The spec file of a workflow: YAML → the nodes, their settings and their graph, or findings with their lines.

Keys and defaults are TorchServe's (its `docs/workflows.md`), and so is the rule that a workflow begins with one node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from archiver.config.findings import Finding, Severity, in_order
from archiver.config.schema import complete, load, properties
from archiver.config.shape import Fault, faults
from archiver.config.source import Path, Source, read_source
from archiver.errors import InvalidInput
from archiver.workflow.graph import Graph, Loop, Starts

#: Code → what it means; `docs/codes.md` is made from it.
CODES = {
    "workflow/no-dag": "The spec has no `dag`, or an empty one.",
    "workflow/loop": "A node's answer comes back to it.",
    "workflow/starts": "The `dag` begins with several nodes; only one is given the request.",
    "workflow/no-url": "A model has no `url`.",
    "workflow/unused-model": "A model is not in the `dag`; it is not started.",
    "workflow/no-handler": "The `dag` names functions, and the archive names no handler file.",
    "workflow/no-function": "The `dag` names a function that the handler file does not define.",
    "workflow/few-workers": "A model's `max-workers` is less than its `min-workers`.",
}

_SCHEMA = "workflow"


@dataclass(frozen=True, slots=True)
class Node:
    """One node. `url`: of the model's archive, None where the node is a function of the handler file. `timeout` of an
    attempt in seconds; `retries` after the first one; `max_batch_delay` in milliseconds."""

    name: str
    url: str | None
    min_workers: int = 1
    max_workers: int = 1
    batch_size: int = 1
    max_batch_delay: int = 0
    retries: int = 1
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Spec:
    """`nodes` by name; `shared`: what the description of the workflow says of all; `dag` as written."""

    nodes: Mapping[str, Node]
    graph: Graph
    shared: Node
    dag: Mapping[str, list[str]]


def read_spec(text: str | bytes, file: str, *, has_handler: bool = True) -> tuple[Spec | None, list[Finding]]:
    """The spec, None where there are errors, and the findings. Never raises on bad input."""
    source = read_source(text, file)
    if () not in source.places:
        return None, in_order(source.findings)
    found = [*source.findings, *(_of_shape(fault) for fault in faults(_SCHEMA, source))]
    if any(finding.is_error for finding in found):
        return None, in_order(found)
    models = complete(load(_SCHEMA)["properties"]["models"], source.values.get("models", {}))
    graph, wrong = _graph(source)
    found += [*wrong, *_of_models(models, graph, source, has_handler=has_handler)]
    if graph is None or any(finding.is_error for finding in found):
        return None, in_order(found)
    return _spec(models, graph, source.values["dag"]), in_order(found)


def valid_spec(text: str | bytes, file: str, *, has_handler: bool = True) -> Spec:
    """The spec. Raises InvalidInput."""
    spec, findings = read_spec(text, file, has_handler=has_handler)
    if spec is None:
        raise InvalidInput([finding for finding in findings if finding.is_error], spared="nothing was started")
    return spec


def _of_shape(fault: Fault) -> Finding:
    """TorchServe passes over keys that it does not know, and archives that it served are served here."""
    return fault.finding if fault.known else replace(fault.finding, severity=Severity.WARNING)


def _edges(dag: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """TorchServe skips names that are blank."""
    return {str(node): [end for end in ends if end.strip()] for node, ends in dag.items()}


def _graph(source: Source) -> tuple[Graph | None, list[Finding]]:
    dag = source.values.get("dag")
    if not dag:
        message = "there is no dag: it says which node's answer goes to which"
        return None, [_error(source, ("dag",), "workflow/no-dag", message, "write e.g. `dag: {first: [second]}`")]
    try:
        return Graph.of(_edges(dag)), []
    except Loop as error:
        message = f"`{error.nodes[0]}` comes after itself: {error}"
        return None, [_error(source, ("dag", error.nodes[0]), "workflow/loop", message, "remove one of the edges")]
    except Starts as error:
        message = f"the dag begins with {len(error.nodes)} nodes: {error}"
        hint = "begin with one node that gives them their input, e.g. a function"
        return None, [_error(source, ("dag", error.nodes[1]), "workflow/starts", message, hint)]


def _of_models(
    models: Mapping[str, Any], graph: Graph | None, source: Source, *, has_handler: bool
) -> Iterator[Finding]:
    named = _named(models)
    for name, own in named.items():
        path: Path = ("models", name)
        if "url" not in own:
            hint = "write e.g. `url: model.mar`"
            yield _error(source, path, "workflow/no-url", f"model `{name}` has no url", hint)
        if own.get("max-workers", models["max-workers"]) < own.get("min-workers", models["min-workers"]):
            yield _error(source, path, "workflow/few-workers", f"model `{name}` has max-workers below min-workers")
        if graph is not None and name not in graph.after:
            message = f"model `{name}` is not in the dag: it is not started"
            yield Finding("workflow/unused-model", Severity.WARNING, source.where(path, key=True), message)
    functions = [node for node in graph.nodes if node not in named] if graph else []
    if functions and not has_handler:
        message = f"`{functions[0]}` is no model, and the archive has no handler file whose function it could be"
        yield _error(source, ("dag", functions[0]), "workflow/no-handler", message, "name it under `models`")


def _spec(models: Mapping[str, Any], graph: Graph, dag: Mapping[str, list[str]]) -> Spec:
    named = _named(models)
    common = {key: value for key, value in models.items() if key not in named}
    nodes = {
        name: _node(name, {**common, **named[name]}) if name in named else _function(name, common)
        for name in graph.nodes
    }
    return Spec(nodes, graph, _node("", common), dag)


def _named(models: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    shared = properties(load(_SCHEMA)["properties"]["models"])
    return {name: own for name, own in models.items() if name not in shared}


def _node(name: str, settings: Mapping[str, Any]) -> Node:
    return Node(
        name,
        settings.get("url"),
        settings["min-workers"],
        settings["max-workers"],
        settings["batch-size"],
        settings["max-batch-delay"],
        settings["retry-attempts"],
        settings["timeout-ms"] / 1000,
    )


def _function(name: str, common: Mapping[str, Any]) -> Node:
    """One worker and no batches, whatever the models have: TorchServe's rule."""
    return Node(name, None, retries=common["retry-attempts"], timeout=common["timeout-ms"] / 1000)


def _error(source: Source, path: Path, code: str, message: str, hint: str | None = None) -> Finding:
    return Finding(code, Severity.ERROR, source.where(path, key=True), message, hint)
