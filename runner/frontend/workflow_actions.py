"""Workflows over HTTP: /workflows registers, lists, describes and unregisters them.

Routes, texts and types are those of TorchServe's workflow management API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archiver.errors import ArchiveError, InvalidInput, NotFound, UntrustedSignature
from runner.frontend.control import BadParameter, parameters, settings_of, words
from runner.frontend.downloads import AlreadyThere, DownloadFailed, Downloads, NotAllowed
from runner.frontend.management import BadPage, asked_page, page_of, respond
from runner.frontend.model_store import NoSuchArchive, NotInStore, find
from runner.frontend.problems import Problem, problem
from runner.pool.control import CleanUpTimeout
from runner.workflow.workflows import (
    DuplicateWorkflow,
    FindModel,
    NodesFailed,
    UnknownWorkflow,
    Workflow,
    Workflows,
)

_TIMEOUTS = ("responseTimeout", "startupTimeout")


def models_from(store: Path | None, downloads: Downloads | None) -> FindModel:
    """Where the models of workflows are: in the model store, or where downloads may come from."""

    def find_model(url: str) -> Path:
        try:
            return find(store, downloads.fetch(url) if downloads is not None and "://" in url else url)
        except (NotInStore, NotAllowed, DownloadFailed, AlreadyThere) as error:
            raise NotFound(str(error)) from error

    return find_model


class WorkflowActions:
    """The routes below /workflows. `store`: where the archives of workflows are; `allowed` and `registers` as in
    `Actions`; `downloads`: where they may come from besides the store."""

    def __init__(
        self, workflows: Workflows, store: Path | None, downloads: Downloads | None, *, allowed: bool, registers: bool
    ) -> None:
        self.workflows = workflows
        self._store = store
        self._downloads = downloads
        self._allowed = allowed
        self._registers = registers

    def routes(self) -> list[Route]:
        one = "/workflows/{workflow}"
        return [
            Route("/workflows", self._list, methods=["GET"]),
            Route("/workflows", self._changing(self._register), methods=["POST"]),
            Route(one, self._describe, methods=["GET"]),
            Route(one, self._changing(self._unregister), methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        try:
            start, limit = asked_page(request)
        except BadPage as error:
            return respond(problem("bad-request", reason=str(error)))
        items = [{"workflowName": each.name, "workflowUrl": each.url} for each in self.workflows]
        return JSONResponse(page_of("workflows", items, start, limit))

    async def _describe(self, request: Request) -> Response:
        try:
            return JSONResponse([_described(self.workflows.get(request.path_params["workflow"]))])
        except UnknownWorkflow as error:
            return respond(problem("workflow", workflow=error.name))

    def _changing(self, action: Callable[[Request], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if not self._allowed:
                return respond(problem("not-local"))
            if not self._registers:
                return respond(problem("method"))
            try:
                return JSONResponse({"status": await action(request)})
            except _REFUSALS as error:
                return respond(_refusal(error))

        return endpoint

    async def _register(self, request: Request) -> str:
        asked = await parameters(request)
        url = asked.get("url")
        if not url:
            raise BadParameter("Parameter url is required.")
        if self._downloads is not None and "://" in url:
            url = await asyncio.to_thread(self._downloads.fetch, url)
        path = find(self._store, url, "Workflow not found in workflow store")
        settings = {key: value for key, value in settings_of(asked).items() if key in _TIMEOUTS}
        found = await self.workflows.register(path, asked.get("workflow_name"), url, settings)
        return f"Workflow {found.name} has been registered and scaled successfully."

    async def _unregister(self, request: Request) -> str:
        name = request.path_params["workflow"]
        await self.workflows.unregister(name)
        return f'Workflow "{name}" unregistered'


def _described(workflow: Workflow) -> dict[str, Any]:
    """TorchServe's keys, its way of writing a dag, and the models that answer for the nodes."""
    spec = workflow.spec
    edges = ", ".join(f"{node}=[{', '.join(ends)}]" for node, ends in spec.dag.items())
    return {
        "workflowName": workflow.name,
        "workflowUrl": workflow.url,
        "minWorkers": spec.shared.min_workers,
        "maxWorkers": spec.shared.max_workers,
        "batchSize": spec.shared.batch_size,
        "maxBatchDelay": spec.shared.max_batch_delay,
        "workflowDag": f"{{{edges}}}",
        "models": {node: name for node, (name, _) in workflow.models.items()},
    }


_SITUATIONS: dict[type[Exception], str] = {
    UnknownWorkflow: "workflow",
    NoSuchArchive: "workflow-archive",
    InvalidInput: "workflow-spec",
    DuplicateWorkflow: "workflow-exists",
    NodesFailed: "workflow-failed",
    CleanUpTimeout: "clean-up",
    AlreadyThere: "archive-exists",
    DownloadFailed: "download",
    UntrustedSignature: "untrusted",
}
_REFUSALS: tuple[type[Exception], ...] = (*(*_SITUATIONS, BadParameter, NotInStore, NotAllowed, ArchiveError),)


def _refusal(error: Exception) -> Problem:
    name = getattr(error, "name", "")
    return problem(_SITUATIONS.get(type(error), "bad-request"), workflow=name, model=name, reason=words(error))
