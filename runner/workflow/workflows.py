"""The workflows that are served. Each node is a model of its own, `{workflow}__{node}`: a worker for a function, what
the spec says for a model. All nodes come or none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from archiver.errors import ArchiveError
from archiver.store import Gate
from archiver.workflow.archive import WorkflowArchive, open_workflow
from archiver.workflow.spec import Node, Spec
from runner.pool.control import CleanUpTimeout, Control, Order
from runner.pool.deployment import Deployment
from runner.pool.link import LoadError
from runner.pool.registry import DuplicateVersion, UnknownModel

log = logging.getLogger("archive.server")

#: `url` of a model in a spec → its archive. May block. Raises ArchiveError.
FindModel = Callable[[str], Path]


class UnknownWorkflow(KeyError):
    """No workflow of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class DuplicateWorkflow(ValueError):
    """A workflow of that name is there already, or coming."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class NodesFailed(Exception):
    """Nodes that could not be started, a sentence for each; the others are gone again."""

    def __init__(self, name: str, failures: list[str]) -> None:
        super().__init__(f"Workflow {name} has failed to register. Failures: [{', '.join(failures)}]")
        self.name = name


@dataclass
class Workflow:
    """One that is served. `models`: node → name and version of the model that answers for it."""

    name: str
    url: str
    spec: Spec
    models: Mapping[str, tuple[str, str]]
    _open: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def __enter__(self) -> None:
        """A request is on its way through."""
        self._open += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        if not self._open:
            self._idle.set()

    async def drained(self) -> None:
        """Until no request is on its way."""
        if self._open:
            await self._idle.wait()


class Workflows:
    """All of them. `find_model`: where the archives of their models are; `timeout`: seconds that requests have to
    finish when their workflow is unregistered; `gate`: which archives are opened at all."""

    def __init__(self, control: Control, find_model: FindModel, timeout: float, gate: Gate | None = None) -> None:
        self._control = control
        self._find = find_model
        self._timeout = timeout
        self._gate = gate
        self._all: dict[str, Workflow] = {}
        self._coming: set[str] = set()

    def __iter__(self) -> Iterator[Workflow]:
        """By name."""
        return iter(self._all[name] for name in sorted(self._all))

    def get(self, name: str) -> Workflow:
        """Raises UnknownWorkflow."""
        if name not in self._all:
            raise UnknownWorkflow(name)
        return self._all[name]

    async def register(
        self, path: Path, name: str | None = None, url: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> Workflow:
        """Start every node. `settings`: config keys for all of them.

        Raises what opening an archive raises, DuplicateWorkflow, and NodesFailed.
        """
        archive = await asyncio.to_thread(open_workflow, path, self._gate)
        name = name or archive.name
        if name in self._all or name in self._coming:
            raise DuplicateWorkflow(name)
        self._coming.add(name)
        try:
            models = await self._start(name, archive, settings or {})
        finally:
            self._coming.discard(name)
        found = self._all[name] = Workflow(name, url or path.name, archive.spec, models)
        log.info("workflow %s is registered, nodes %s", name, ", ".join(models))
        return found

    async def _start(
        self, name: str, archive: WorkflowArchive, settings: Mapping[str, Any]
    ) -> dict[str, tuple[str, str]]:
        started: dict[str, tuple[str, str]] = {}

        async def start(node: Node) -> None:
            deployment = await self._deploy(f"{name}__{node.name}", node, archive, settings)
            started[node.name] = (deployment.model.name, deployment.model.version)

        nodes = archive.spec.nodes
        try:
            ends = await asyncio.gather(*map(start, nodes.values()), return_exceptions=True)
            failures = [_failure(f"{name}__{node}", end) for node, end in zip(nodes, ends, strict=True) if end]
            if failures:
                raise NodesFailed(name, failures)
        except BaseException:
            await self._retire(started)
            raise
        return {node: started[node] for node in nodes}

    async def _deploy(
        self, model: str, node: Node, archive: WorkflowArchive, settings: Mapping[str, Any]
    ) -> Deployment:
        """Raises what preparing and starting raise, and DuplicateVersion where any version has the name."""
        try:
            taken = self._control.find(model, None)
        except UnknownModel:
            order = await asyncio.to_thread(self._order, model, node, archive, settings)
            order = replace(order, workflow=model.removesuffix(f"__{node.name}"))
            deployment = await self._control.prepare(order)
            await self._control.start(deployment)
            return deployment
        raise DuplicateVersion(model, taken.model.version)

    def _order(self, model: str, node: Node, archive: WorkflowArchive, settings: Mapping[str, Any]) -> Order:
        settings = {
            **settings,
            "minWorkers": node.min_workers,
            "maxWorkers": node.max_workers,
            "batchSize": node.batch_size,
            "maxBatchDelay": node.max_batch_delay,
        }
        if node.url is not None:
            return Order(self._find(node.url), model, url=node.url, settings=settings)
        # The archive of the workflow is the function's: its handler file is all that it needs, a GPU is not.
        handler = f"{archive.handler}:{node.name}"
        return Order(archive.path, model, handler, url=archive.path.name, settings={**settings, "deviceType": "cpu"})

    async def unregister(self, name: str) -> None:
        """Take it out, let the requests on their way finish, then end its nodes.

        Raises UnknownWorkflow, and CleanUpTimeout when requests had to be given up.
        """
        workflow = self.get(name)
        del self._all[name]
        log.info("workflow %s is unregistered", name)
        await asyncio.shield(asyncio.ensure_future(self._leave(workflow)))

    async def _leave(self, workflow: Workflow) -> None:
        try:
            await asyncio.wait_for(workflow.drained(), self._timeout)
        except asyncio.TimeoutError as error:
            raise CleanUpTimeout(workflow.name) from error
        finally:
            await self._retire(workflow.models)

    async def _retire(self, models: Mapping[str, tuple[str, str]]) -> None:
        ends = await asyncio.gather(
            *(self._control.unregister(*model) for model in models.values()), return_exceptions=True
        )
        for (model, _), end in zip(models.values(), ends, strict=True):
            if isinstance(end, UnknownModel):
                log.warning("%s was unregistered before its workflow", model)
            elif end is not None:
                raise end


def _failure(model: str, error: BaseException) -> str:
    """Its sentence; an exception that no bad archive causes is raised again."""
    if isinstance(error, DuplicateVersion):
        words = f"Model version {error.version} is already registered for model {error.name}"
    elif isinstance(error, LoadError | ArchiveError):
        words = " ".join([str(error), *map(str, getattr(error, "findings", ()))])
    else:
        raise error
    return f"Workflow Node {model} failed to register. Details: {words}"
