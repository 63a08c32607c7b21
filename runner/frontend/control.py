"""The management API's actions: PUT set-default and DELETE. Routes and texts are TorchServe's.

They change what is served, so they are open only where the server listens on a loopback address alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runner.frontend.management import respond
from runner.frontend.problems import Problem, problem
from runner.pool.control import CleanUpTimeout, Control
from runner.pool.registry import DefaultVersion, UnknownModel, UnknownVersion

Action = Callable[[Request], Awaitable[str]]


class Actions:
    """The routes that act. `allowed`: whether this server takes them."""

    def __init__(self, control: Control, *, allowed: bool) -> None:
        self._control = control
        self._allowed = allowed

    def routes(self) -> list[Route]:
        unregister = self._guarded(self._unregister)
        return [
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
                return JSONResponse({"status": await action(request)})
            except (UnknownModel, UnknownVersion, DefaultVersion, CleanUpTimeout) as error:
                return respond(_refusal(error, request))

        return endpoint

    async def _set_default(self, request: Request) -> str:
        name, version = request.path_params["model"], request.path_params["version"]
        self._control.set_default(name, version)
        return f'Default version successfully updated for model "{name}" to "{version}"'

    async def _unregister(self, request: Request) -> str:
        name = request.path_params["model"]
        await self._control.unregister(name, request.path_params.get("version"))
        return f'Model "{name}" unregistered'


def _refusal(error: Exception, request: Request) -> Problem:
    situations = {
        UnknownModel: "model",
        UnknownVersion: "version",
        DefaultVersion: "default-version",
        CleanUpTimeout: "clean-up",
    }
    facts = request.path_params
    return problem(situations[type(error)], model=facts["model"], version=facts.get("version"))
