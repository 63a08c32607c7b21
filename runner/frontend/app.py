"""The ASGI entry: predictions go straight to their callable, everything else through Starlette."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runner.frontend import openapi
from runner.frontend.bodies import Message, Receive, Scope, Send
from runner.frontend.body_memory import Hold, NoMemory
from runner.frontend.control import Actions
from runner.frontend.cors import Cors
from runner.frontend.doors import Doors
from runner.frontend.health import Health
from runner.frontend.listener import EVERYTHING, Surface
from runner.frontend.management import Management, respond
from runner.frontend.openinference import OpenInference
from runner.frontend.predictions import PREFIX, Predictions
from runner.frontend.problems import problem
from runner.frontend.tokens import KeyFileError, Tokens, authorization_of
from runner.frontend.workflow_actions import WorkflowActions
from runner.frontend.workflow_predictions import WorkflowPredictions
from runner.metrics import Metrics
from runner.pool.registry import Registry

_RENEWAL = "/token"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class App:
    """The HTTP surface of one server, or the part of it that an address serves. Health is everywhere."""

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        health: Health,
        max_request_size: int,
        actions: Actions,
        tokens: Tokens | None = None,
        surfaces: frozenset[Surface] = EVERYTHING,
        cors: Cors | None = None,
        workflows: WorkflowActions | None = None,
    ) -> None:
        self.tokens = tokens
        self.cors = cors
        self.surfaces = surfaces
        self._registry = registry
        self._metrics = metrics
        self._workflows = workflows
        self.predictions = Predictions(registry, metrics, max_request_size)
        routes = [*self._routes(Management(registry, self.predictions), actions, health)]
        self._rest = Starlette(routes=routes, exception_handlers={HTTPException: _as_problem, NoMemory: _no_memory})
        self._entry = self._route if cors is None else cors.around(self._route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hold = Hold(self.predictions.memory)
        try:
            await self._entry(scope, hold.counting(receive), send)
        finally:
            hold.end()

    @property
    def predicts(self) -> bool:
        """Whether predictions are served here."""
        return Surface.INFERENCE in self.surfaces

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.tokens is not None and not _allowed(self.tokens, scope):
            situation = "api-token" if scope["path"] == _RENEWAL else "token"
            await respond(problem(situation))(scope, receive, self._with_id(scope, send))
        elif scope["type"] == "http" and scope["path"].startswith(PREFIX) and self.predicts:
            try:
                await self.predictions(scope, receive, send)
            except NoMemory:
                await respond(problem("no-memory"))(scope, receive, self._with_id(scope, send))
        else:
            await self._rest(scope, receive, self._with_id(scope, send))

    def _with_id(self, scope: Scope, send: Send) -> Send:
        """Every answer has an x-request-id, as TorchServe's have."""

        async def sends(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"] = [*message.get("headers", ())]
                if all(name != b"x-request-id" for name, _ in headers):
                    given = dict(scope["headers"]).get(b"x-request-id")
                    headers.append((b"x-request-id", self.predictions.request_id(given)))
            await send(message)

        return sends

    def _routes(self, management: Management, actions: Actions, health: Health) -> Iterator[Route]:
        """In the order in which they are tried: those whose first part is a model's name come last."""
        doors = Doors(self._registry, self.predictions)
        yield from health.routes()
        if self.predicts:
            yield from OpenInference(self.predictions, health).routes()
            yield from doors.routes()
            if self._workflows is not None:
                yield from WorkflowPredictions(self._workflows.workflows, self.predictions).routes()
        if Surface.MANAGEMENT in self.surfaces:
            yield from doors.kserve_models()
            yield from management.routes()
            yield from actions.routes()
            if self._workflows is not None:
                yield from self._workflows.routes()
            yield Route(_RENEWAL, self._token)
        if Surface.METRICS in self.surfaces:
            yield Route("/metrics", self._exposition)
        yield Route("/", self._openapi, methods=["OPTIONS"])
        yield Route("/openapi.json", self._openapi)
        yield Route("/api-description", self._openapi)
        if self.predicts:
            yield from doors.legacy()

    async def _token(self, request: Request) -> Response:
        """A new key for predictions or management. Who asks has shown the API key."""
        if self.tokens is None:
            return respond(problem("not-found"))
        kind = request.query_params.get("type", "")
        try:
            return JSONResponse(self.tokens.renew(kind))
        except KeyError:
            return respond(problem("bad-request", reason="Parameter type must be inference or management."))
        except KeyFileError as error:
            return respond(problem("server-fault", reason=str(error)))

    async def _exposition(self, request: Request) -> Response:
        self._metrics.gauges = [deployment.gauges() for deployment in self._registry]
        names = request.query_params.getlist("name[]")
        await self._metrics.refresh()
        return Response(self._metrics.exposition(names), media_type=_EXPOSITION)

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(openapi.document())


async def _as_problem(_: Request, error: Exception) -> Response:
    situations: dict[Any, str] = {404: "not-found", 405: "method"}
    assert isinstance(error, HTTPException)
    situation = situations.get(error.status_code)
    if situation is None:
        return respond(problem("bad-request", reason=error.detail))
    return respond(problem(situation))


async def _no_memory(_: Request, __: Exception) -> Response:
    return respond(problem("no-memory"))


def _allowed(tokens: Tokens, scope: Scope) -> bool:
    if scope["type"] != "http":
        return True
    return tokens.allows(scope["method"], scope["path"], authorization_of(scope["headers"]))
