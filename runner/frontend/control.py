"""The management API's actions: register, scale, set-default and unregister. Routes and texts are TorchServe's.

They change what is served, so they are open only where the server listens on a loopback address or checks tokens.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archiver.errors import ArchiveError, CannotWrite, UntrustedSignature
from runner.frontend.bodies import ClientGone, TooLarge, number_in, read_body
from runner.frontend.downloads import AlreadyThere, DownloadFailed, Downloads, NotAllowed
from runner.frontend.management import respond
from runner.frontend.model_store import NoSuchArchive, NotInStore, find
from runner.frontend.problems import Problem, problem
from runner.pool.control import CleanUpTimeout, Control, Order
from runner.pool.deployment import Deployment
from runner.pool.environments import RequirementsFailed, Stopping
from runner.pool.link import LoadError
from runner.pool.registry import DefaultVersion, DuplicateVersion, UnknownModel, UnknownVersion

log = logging.getLogger("archive.server")

#: Model, version and parameters of a request → a sentence, and a status where it is not 200.
Action = Callable[[str, str | None, Mapping[str, str]], Awaitable[str | tuple[str, int]]]
#: Parameters of a registration → config keys.
_SETTINGS = {
    "batch_size": "batchSize",
    "max_batch_delay": "maxBatchDelay",
    "response_timeout": "responseTimeout",
    "startup_timeout": "startupTimeout",
}
_LARGEST_BODY = 65_536
_LONGEST_NAME = 255
_UNDER_WAY = ("Processing worker updates...", 202)


class NodeOfWorkflow(Exception):
    """The model comes and goes with its workflow."""


class NoWorkers(Exception):
    """The workers of a version could not be started; the message is the reason of the first one."""

    def __init__(self, deployment: Deployment, failure: LoadError) -> None:
        super().__init__(str(failure))
        self.name, self.version = deployment.model.name, deployment.model.version


class BadParameter(ValueError):
    """A parameter that is missing or wrong; the message is for the client."""


class Actions:
    """The routes that act. `allowed`: whether they are taken here; `registers`: whether models may come and go;
    `downloads`: where archives may come from besides the model store."""

    def __init__(
        self,
        control: Control,
        model_store: Path | None = None,
        *,
        allowed: bool,
        registers: bool = True,
        downloads: Downloads | None = None,
    ) -> None:
        self._control = control
        self._downloads = downloads
        self._registers = registers
        self._store = model_store
        self._allowed = allowed
        self._under_way: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        register, unregister = self._endpoint("register"), self._endpoint("unregister")
        scale = self._endpoint("scale")
        return [
            Route("/models", register, methods=["POST"]),
            Route("/models/{model}", scale, methods=["PUT"]),
            Route("/models/{model}/{version}", scale, methods=["PUT"]),
            Route("/models/{model}/{version}/set-default", self._endpoint("set-default"), methods=["PUT"]),
            Route("/models/{model}", unregister, methods=["DELETE"]),
            Route("/models/{model}/{version}", unregister, methods=["DELETE"]),
        ]

    def _endpoint(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        """The action over HTTP: its sentence is the `status` of the answer."""

        async def endpoint(request: Request) -> Response:
            try:
                asked = await parameters(request)
            except BadParameter as error:
                return respond(problem("bad-request", reason=str(error)))
            path = request.path_params
            done = await self.act(name, path.get("model", ""), path.get("version"), asked)
            if isinstance(done, Problem):
                return respond(done)
            sentence, status = done
            return JSONResponse({"status": sentence}, status)

        return endpoint

    async def act(
        self, name: str, model: str, version: str | None, asked: Mapping[str, str]
    ) -> tuple[str, int] | Problem:
        """Do "register", "scale", "set-default" or "unregister", where it is allowed: sentence and status, or why
        not."""
        if not self._allowed:
            return problem("not-local")
        if not self._registers and name in ("register", "unregister"):
            return problem("method")
        actions: dict[str, Action] = {
            "register": self._register,
            "scale": self._scale,
            "set-default": self._set_default,
            "unregister": self._unregister,
        }
        try:
            answer = await actions[name](model, version, asked)
        except _REFUSALS as error:
            return _refusal(error, model or asked.get("url", ""), version)
        return (answer, 200) if isinstance(answer, str) else answer

    async def _register(self, _model: str, _version: str | None, asked: Mapping[str, str]) -> str | tuple[str, int]:
        url = asked.get("url")
        if not url:
            raise BadParameter("Parameter url is required.")
        _check_runtime(asked.get("runtime"))
        _check_name(asked.get("model_name", "m"))
        _check_handler(asked.get("handler", ""))
        waits = _flag(asked, "synchronous", default=True)
        settings = settings_of(asked)
        workers = _number(asked, "initial_workers", 0) if "initial_workers" in asked else None
        if self._downloads is not None and "://" in url:
            url = await asyncio.to_thread(self._downloads.fetch, url)
        order = Order(find(self._store, url), asked.get("model_name"), asked.get("handler"), workers, url, settings)
        deployment = await self._control.prepare(order)
        starting = _started(deployment, self._control.start(deployment))
        if not waits:
            return self._in_background(starting, deployment.model.name)
        await starting
        model, count = deployment.model, deployment.supervisor.size
        hint = "" if count else ". Use scale workers API to add workers for the model."
        return f'Model "{model.name}" Version: {model.version} registered with {count} initial workers{hint}'

    async def _scale(self, model: str, version: str | None, asked: Mapping[str, str]) -> str | tuple[str, int]:
        least = _number(asked, "min_worker", 0) if "min_worker" in asked else 1
        most = _number(asked, "max_worker", 0) if "max_worker" in asked else least
        if most < least:
            raise BadParameter("max_worker cannot be less than min_worker.")
        waits = _flag(asked, "synchronous", default=False)
        deployment = self._control.find(model, version)
        scaling = _started(deployment, self._control.scale(model, version, least, most))
        if not waits:
            return self._in_background(scaling, model)
        await scaling
        return f"Workers scaled to {least} for model: {model}" + (f", version: {version}" if version else "")

    async def _set_default(self, model: str, version: str | None, _: Mapping[str, str]) -> str:
        self._control.set_default(model, version or "")
        return f'Default version successfully updated for model "{model}" to "{version}"'

    async def _unregister(self, model: str, version: str | None, _: Mapping[str, str]) -> str:
        workflow = self._control.find(model, version).workflow
        if workflow is not None:
            raise NodeOfWorkflow(f'Model "{model}" is a node of workflow "{workflow}": unregister the workflow.')
        await self._control.unregister(model, version)
        return f'Model "{model}" unregistered'

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


async def _started(deployment: Deployment, starting: Coroutine[Any, Any, None]) -> None:
    try:
        await starting
    except LoadError as failure:
        raise NoWorkers(deployment, failure) from failure


#: What an action may be refused for → the situation of the answer; the others' own words are the answer.
_SITUATIONS: dict[type[Exception], str] = {
    UnknownModel: "model",
    UnknownVersion: "version",
    DefaultVersion: "default-version",
    CleanUpTimeout: "clean-up",
    DuplicateVersion: "duplicate-version",
    NoWorkers: "load-failed",
    NodeOfWorkflow: "node",
    NoSuchArchive: "archive",
    AlreadyThere: "archive-exists",
    DownloadFailed: "download",
    CannotWrite: "server-fault",
    RequirementsFailed: "requirements",
    Stopping: "stopped",
    UntrustedSignature: "untrusted",
}
_REFUSALS: tuple[type[Exception], ...] = (*(*_SITUATIONS, BadParameter, NotInStore, NotAllowed, ArchiveError),)


def _refusal(error: Exception, model: str, version: str | None) -> Problem:
    situation = _SITUATIONS.get(type(error))
    if situation is None:
        return problem("bad-request", reason=words(error))
    model, version = getattr(error, "name", model), getattr(error, "version", version)
    return problem(situation, model=model, version=version, reason=words(error))


def settings_of(asked: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a registration that are config keys. Raises BadParameter."""
    return {key: _number(asked, name, 1) for name, key in _SETTINGS.items() if name in asked}


async def parameters(request: Request) -> Mapping[str, str]:
    """The query's, over those of a JSON object in the body. Raises BadParameter."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return request.query_params
    try:
        body = json.loads(await read_body(request.receive, None, _LARGEST_BODY) or b"{}")
    except (TooLarge, ClientGone) as error:
        raise BadParameter(f"The body is larger than {_LARGEST_BODY} bytes, or cut off.") from error
    except RecursionError as error:
        raise BadParameter("The body is nested too deeply.") from error
    except ValueError as error:
        raise BadParameter(f"The body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadParameter("The body must be a JSON object of parameters.")
    plain = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    return {**plain, **request.query_params}


def words(error: Exception) -> str:
    """The sentence, the findings of a config that is wrong, and what to do about a signature."""
    if isinstance(error, UntrustedSignature):
        return f"{error}; {error.hint}"
    findings = getattr(error, "findings", ())
    return " ".join([str(error), *map(str, findings)])


def _check_runtime(runtime: str | None) -> None:
    """TorchServe's names of the Python runtime are all the same here; its LSP is for C++."""
    if runtime is not None and runtime.lower() not in ("python", "python3"):
        raise BadParameter(f"Invalid RuntimeType value: {runtime}")


def _check_name(name: str) -> None:
    """It becomes a part of paths, and stands in lines of logs."""
    if not name or len(name) > _LONGEST_NAME or "/" in name or not name.isprintable():
        raise BadParameter(f"Parameter model_name is no name of a model: {name!r:.40}")


def _check_handler(handler: str) -> None:
    """What a manifest may not name, nobody else may: a file outside of the archive."""
    if handler.startswith("/") or "\\" in handler or ".." in handler.split("/") or not handler.isprintable():
        raise BadParameter(f"Parameter handler names nothing inside of the archive: {handler!r:.40}")


def _number(asked: Mapping[str, str], name: str, least: int) -> int:
    number = number_in(asked[name])
    if number is None or number < least:
        raise BadParameter(f"Parameter {name} must be a whole number of at least {least}, not {asked[name]!r:.40}.")
    return number


def _flag(asked: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = asked.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise BadParameter(f"Parameter {name} must be true or false, not {text!r}.")
    return text == "true"
