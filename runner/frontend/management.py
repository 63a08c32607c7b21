"""GET /models, and what a model looks like from outside: TorchServe's describe payload, and ours beside it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archiver.config.model import ModelConfig
from runner.frontend.bodies import number_in
from runner.frontend.openapi import management_document
from runner.frontend.predictions import Predictions
from runner.frontend.problems import Problem, problem
from runner.pool.deployment import Deployment
from runner.pool.link import Link
from runner.pool.registry import Registry, UnknownModel, UnknownVersion

_PAGE = 100


class BadPage(ValueError):
    """What a list is asked for is no page; the message is for the client."""


class Management:
    """The part of the management API that reads; what acts is in `control.py`."""

    def __init__(self, registry: Registry, predictions: Predictions) -> None:
        self._registry = registry
        self._predictions = predictions

    def routes(self) -> list[Route]:
        return [
            Route("/models", self.list_models),
            Route("/models/{model}", self.describe),
            Route("/models/{model}/{version}", self.describe),
            Route("/models/{model}", self.routes_of, methods=["OPTIONS"]),
            Route("/models/{model}/{version}", self.routes_of, methods=["OPTIONS"]),
        ]

    async def list_models(self, request: Request) -> Response:
        """Names and archives, a page at a time (`limit`, `next_page_token`)."""
        try:
            return JSONResponse(self.page(*asked_page(request)))
        except BadPage as error:
            return respond(problem("bad-request", reason=str(error)))

    async def describe(self, request: Request) -> Response:
        name, version = request.path_params["model"], request.path_params.get("version")
        found = self.described(name, version)
        if not isinstance(found, Problem) and request.query_params.get("customized", "").lower() == "true":
            found = await self.customized(found)
        return respond(found) if isinstance(found, Problem) else JSONResponse(found)

    async def routes_of(self, request: Request) -> Response:
        """What can be done with the model here, as an OpenAPI document."""
        found = self._predictions.named(request.path_params["model"], request.path_params.get("version", ""))
        if isinstance(found, Problem):
            return respond(found)
        model, text = found.model, found.manifest.get("description")
        return JSONResponse(management_document(model.name, model.version, text))

    async def customized(self, described: list[dict[str, Any]]) -> list[dict[str, Any]] | Problem:
        """The descriptions with what each version's handler says of itself (`describe_handle`), or why it cannot."""
        for each in described:
            target = self._registry.get(each["modelName"], each["modelVersion"])
            said = await self._predictions.description(target)
            if isinstance(said, Problem):
                return said
            each["customizedMetadata"] = said
        return described

    def page(self, start: int, limit: int) -> dict[str, Any]:
        """The models from number `start` on."""
        models = [{"modelName": each.model.name, "modelUrl": each.url} for each in self._registry.defaults()]
        return page_of("models", models, start, limit)

    def described(self, name: str, version: str | None) -> list[dict[str, Any]] | Problem:
        """One version, the default one, or `all`; always a list, as TorchServe answers."""
        try:
            every = version == "all"
            found = self._registry.versions(name) if every else [self._registry.get(name, version)]
        except UnknownModel:
            return problem("model", model=name)
        except UnknownVersion:
            return problem("version", model=name, version=version)
        return [describe(deployment) for deployment in found]


def asked_page(request: Request) -> tuple[int, int]:
    """`next_page_token` and `limit` of a list. Raises BadPage."""
    asked = request.query_params
    start, limit = number_in(asked.get("next_page_token", "0")), number_in(asked.get("limit", str(_PAGE)))
    if start is None or limit is None:
        raise BadPage("limit and next_page_token must be whole numbers.")
    return start, limit


def page_of(name: str, items: list[dict[str, Any]], start: int, limit: int) -> dict[str, Any]:
    """A list's items from number `start` on; a limit that makes no sense is TorchServe's."""
    limit = limit if 0 < limit <= _PAGE else _PAGE
    body: dict[str, Any] = {name: items[start : start + limit]}
    if start + limit < len(items):
        body["nextPageToken"] = str(start + limit)
    return body


def respond(answer: Problem) -> Response:
    """A problem as a Starlette response."""
    return Response(answer.body(), answer.status, answer.headers, "application/json")


def describe(deployment: Deployment) -> dict[str, Any]:
    """TorchServe's keys first, then `status`, `settings`, `applied`, `placement`, `environment`, `archive` and
    `lastError`."""
    model, config, supervisor = deployment.model, deployment.model.config, deployment.supervisor
    error = supervisor.last_error
    least, most = deployment.declared_workers()
    return {
        "modelName": model.name,
        "modelVersion": model.version,
        "modelUrl": deployment.url,
        "runtime": deployment.manifest.get("runtime", "python"),
        "minWorkers": least,
        "maxWorkers": most,
        "batchSize": config.batch_size,
        "maxBatchDelay": config.max_batch_delay,
        "responseTimeout": config.response_timeout,
        "startupTimeout": config.startup_timeout,
        "maxRetryTimeoutInSec": config.max_retry_timeout,
        "clientTimeoutInMills": config.client_timeout or 0,
        "parallelType": config.parallel.type or "",
        "parallelLevel": config.parallel.accelerators if config.parallel.accelerators > 1 else 0,
        "continuousBatching": config.continuous_batching,
        "useJobTicket": config.use_job_ticket,
        "useVenv": deployment.environment is not None,
        **_sequences(config),
        "deviceType": deployment.placement.kind.replace("cuda", "gpu"),
        "deviceIds": [*config.device_ids] if config.device_ids else None,
        "loadedAtStartup": deployment.at_startup,
        "workers": [_worker(link) for link in deployment.links],
        "jobQueueStatus": model.queue_status(),
        "status": model.state.value,
        "settings": deployment.settings,
        "applied": deployment.report(),
        "notApplied": deployment.not_applied,
        "placement": _placement(deployment),
        "environment": _environment(deployment),
        "archive": {"digest": deployment.digest, "manifest": deployment.manifest},
        "lastError": error and {"type": error.kind, "message": error.message, "trace": error.trace},
    }


def _sequences(config: ModelConfig) -> dict[str, Any]:
    found = config.sequences
    return {
        "stateful": found is not None,
        "sequenceMaxIdleMSec": found.idle if found else 0,
        "sequenceTimeoutMSec": found.timeout if found else 0,
        "maxNumSequence": found.most if found else 0,
        "maxSequenceJobQueueSize": found.waiting if found else 0,
    }


def _worker(link: Link) -> dict[str, Any]:
    started = datetime.fromtimestamp(link.started_at, timezone.utc)
    return {
        "id": str(link.number),
        "startTime": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status": link.state.value,
        "memoryUsage": link.loaded.memory if link.loaded else 0,
        "pid": link.pid,
        "gpu": link.device.startswith("cuda"),
        "device": link.device,
        "loadSeconds": round(link.loaded.seconds, 3) if link.loaded else None,
    }


def _environment(deployment: Deployment) -> dict[str, Any] | None:
    """Of the model's own requirements; None for the server's."""
    found = deployment.environment
    return None if found is None else {"path": str(found.path), "installed": [*found.installed]}


def _placement(deployment: Deployment) -> dict[str, Any]:
    placement = deployment.placement
    return {
        "device": placement.kind,
        "devices": placement.all_devices,
        "workers": placement.workers,
        "processesPerWorker": deployment.model.config.parallel.processes,
        "threadsPerWorker": placement.threads,
        "fallback": placement.fallback,
    }
