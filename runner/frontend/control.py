"""The management API's actions: register, scale, set-default and unregister. Routes and texts are TorchServe's.

They change what is served, so they are open only where the server listens on a loopback address or checks tokens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archiver.errors import ArchiveError
from runner.frontend.management import respond
from runner.frontend.model_store import NotInStore, find
from runner.frontend.problems import Problem, problem
from runner.pool.control import CleanUpTimeout, Control, Order
from runner.pool.link import LoadError
from runner.pool.registry import DefaultVersion, DuplicateVersion, UnknownModel, UnknownVersion

log = logging.getLogger("archive.server")

#: An action answers a sentence, and a status where it is not 200.
Action = Callable[[Request], Awaitable[str | tuple[str, int]]]
#: Parameters of a registration → config keys.
_SETTINGS = {
    "batch_size": "batchSize",
    "max_batch_delay": "maxBatchDelay",
    "response_timeout": "responseTimeout",
    "startup_timeout": "startupTimeout",
}
_UNDER_WAY = ("Processing worker updates...", 202)


class BadParameter(ValueError):
    """A parameter that is missing or wrong; the message is for the client."""


class Actions:
    """The routes that act. `allowed`: whether they are taken here; `registers`: whether models may come and go."""

    def __init__(
        self, control: Control, model_store: Path | None = None, *, allowed: bool, registers: bool = True
    ) -> None:
        self._control = control
        self._registers = registers
        self._store = model_store
        self._allowed = allowed
        self._under_way: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        register = self._guarded(self._register) if self._registers else _not_here
        unregister = self._guarded(self._unregister) if self._registers else _not_here
        scale = self._guarded(self._scale)
        return [
            Route("/models", register, methods=["POST"]),
            Route("/models/{model}", scale, methods=["PUT"]),
            Route("/models/{model}/{version}", scale, methods=["PUT"]),
            Route("/models/{model}/{version}/set-default", self._guarded(self._set_default), methods=["PUT"]),
            Route("/models/{model}", unregister, methods=["DELETE"]),
            Route("/models/{model}/{version}", unregister, methods=["DELETE"]),
        ]

    def _guarded(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        """The action where it is allowed, its sentence as `status`, its refusals as problems."""

        @wraps(action)
        async def endpoint(request: Request) -> Response:
            if not self._allowed:
                return respond(problem("not-local"))
            try:
                answer = await action(request)
            except _REFUSALS as error:
                return respond(_refusal(error, request))
            sentence, status = (answer, 200) if isinstance(answer, str) else answer
            return JSONResponse({"status": sentence}, status)

        return endpoint

    async def _register(self, request: Request) -> str | tuple[str, int]:
        asked = request.query_params
        url = asked.get("url")
        if not url:
            raise BadParameter("Parameter url is required.")
        _check_runtime(asked.get("runtime"))
        waits = _flag(asked, "synchronous", default=True)
        settings = {key: _number(asked, name, 1) for name, key in _SETTINGS.items() if name in asked}
        workers = _number(asked, "initial_workers", 0) if "initial_workers" in asked else None
        order = Order(find(self._store, url), asked.get("model_name"), asked.get("handler"), workers, settings)
        deployment = await self._control.prepare(order)
        if not waits:
            return self._in_background(self._control.start(deployment), deployment.model.name)
        await self._control.start(deployment)
        model, count = deployment.model, deployment.supervisor.size
        hint = "" if count else ". Use scale workers API to add workers for the model."
        return f'Model "{model.name}" Version: {model.version} registered with {count} initial workers{hint}'

    async def _scale(self, request: Request) -> str | tuple[str, int]:
        asked, facts = request.query_params, request.path_params
        name, version = facts["model"], facts.get("version")
        least = _number(asked, "min_worker", 0) if "min_worker" in asked else 1
        most = _number(asked, "max_worker", 0) if "max_worker" in asked else least
        if most < least:
            raise BadParameter("max_worker cannot be less than min_worker.")
        waits = _flag(asked, "synchronous", default=False)
        self._control.find(name, version)
        scaling = self._control.scale(name, version, least, most)
        if not waits:
            return self._in_background(scaling, name)
        await scaling
        return f"Workers scaled to {least} for model: {name}" + (f", version: {version}" if version else "")

    def _in_background(self, work: Coroutine[Any, Any, None], model: str) -> tuple[str, int]:
        """Answered before it is done; a failure is in the log, and in what the model's description says."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(lambda done: self._finished(done, model))
        return _UNDER_WAY

    def _finished(self, task: asyncio.Task[None], model: str) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s: %s", model, task.exception())

    async def _set_default(self, request: Request) -> str:
        name, version = request.path_params["model"], request.path_params["version"]
        self._control.set_default(name, version)
        return f'Default version successfully updated for model "{name}" to "{version}"'

    async def _unregister(self, request: Request) -> str:
        name = request.path_params["model"]
        await self._control.unregister(name, request.path_params.get("version"))
        return f'Model "{name}" unregistered'


async def _not_here(_: Request) -> Response:
    return respond(problem("method"))


#: What an action may be refused for → the situation of the answer; the others' own words are the answer.
_SITUATIONS: dict[type[Exception], str] = {
    UnknownModel: "model",
    UnknownVersion: "version",
    DefaultVersion: "default-version",
    CleanUpTimeout: "clean-up",
    DuplicateVersion: "duplicate-version",
    LoadError: "load-failed",
}
_REFUSALS: tuple[type[Exception], ...] = (*_SITUATIONS, BadParameter, NotInStore, ArchiveError)


def _refusal(error: Exception, request: Request) -> Problem:
    situation = _SITUATIONS.get(type(error))
    if situation is None:
        return problem("bad-request", reason=_words(error))
    model = getattr(error, "name", None) or request.path_params.get("model") or request.query_params.get("url")
    version = getattr(error, "version", None) or request.path_params.get("version")
    return problem(situation, model=model, version=version, reason=_words(error))


def _words(error: Exception) -> str:
    """The sentence, and the findings of a config that is wrong."""
    findings = getattr(error, "findings", ())
    return " ".join([str(error), *map(str, findings)])


def _check_runtime(runtime: str | None) -> None:
    """TorchServe's names of the Python runtime are all the same here; its LSP is for C++."""
    if runtime is not None and runtime.lower() not in ("python", "python3"):
        raise BadParameter(f"Invalid RuntimeType value: {runtime}")


def _number(asked: Mapping[str, str], name: str, least: int) -> int:
    text = asked[name]
    if not text.isdecimal() or int(text) < least:
        raise BadParameter(f"Parameter {name} must be a whole number of at least {least}, not {text!r}.")
    return int(text)


def _flag(asked: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = asked.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise BadParameter(f"Parameter {name} must be true or false, not {text!r}.")
    return text == "true"
