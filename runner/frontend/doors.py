"""The other ways to a prediction: TorchServe's, SageMaker's and KServe v1's routes. What a prediction is stays in
`predictions.py`; a door says which model is meant and what its route adds to the row.

Routes and their meaning are those of TorchServe's InferenceRequestHandler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runner.frontend.bodies import Receive, Scope, Send
from runner.frontend.management import respond
from runner.frontend.predictions import Extra, Predictions
from runner.frontend.problems import Problem, problem
from runner.pool.deployment import Deployment
from runner.pool.registry import Registry

_EXPLAIN = ((b"explain", b"True"),)


@dataclass(frozen=True)
class Door:
    """One route as an ASGI callable. `find`: the model that a request means."""

    predictions: Predictions
    find: Callable[[Scope], Deployment | Problem]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    query_is_fields: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        params = tuple(_fields(scope)) if self.query_is_fields else ()
        await self.predictions.predict(self.find(scope), Extra(params, self.headers), scope, receive, send)


class Doors:
    """All of them."""

    def __init__(self, registry: Registry, predictions: Predictions) -> None:
        self._registry = registry
        self._predictions = predictions
        self._plain = Door(predictions, self._in_path)
        self._explain = Door(predictions, self._in_path, headers=_EXPLAIN)

    def routes(self) -> list[Route]:
        """Those that come before the routes of the models."""
        return [
            Route("/explanations/{model}", self._explain),
            Route("/explanations/{model}/{version}", self._explain),
            Route("/models/{model}/invoke", self._sagemaker(self._in_path), methods=["POST"]),
            Route("/invocations", self._sagemaker(self._in_query), methods=["POST"]),
            Route("/v1/models/{model}:predict", self._plain),
            Route("/v1/models/{model}:explain", self._explain),
            *self.kserve_models(),
        ]

    def kserve_models(self) -> list[Route]:
        """KServe v1's word about models; TorchServe has it on its management address."""
        return [Route("/v1/models", self._names), Route("/v1/models/{model}", self._ready)]

    def legacy(self) -> list[Route]:
        """Those whose first part is a model's name: they come after everything else."""
        return [
            Route("/{model}/predict", self._plain, methods=["POST"]),
            Route("/{model}/{version}/predict", self._plain, methods=["POST"]),
        ]

    def _sagemaker(self, find: Callable[[Scope], Deployment | Problem]) -> Door:
        return Door(self._predictions, find, query_is_fields=True)

    def _in_path(self, scope: Scope) -> Deployment | Problem:
        path = scope["path_params"]
        return self._predictions.named(path["model"], path.get("version", ""))

    def _in_query(self, scope: Scope) -> Deployment | Problem:
        """The model of the parameter `model_name`; without it the only one there is."""
        name = {key: value for key, _, value in _fields(scope)}.get("model_name")
        if name is not None:
            return self._predictions.named(name.decode())
        models = self._registry.defaults()
        if len(models) != 1:
            return problem("bad-request", reason="Parameter model_name is required.")
        return models[0]

    async def _names(self, _: Request) -> Response:
        return JSONResponse({"models": [deployment.model.name for deployment in self._registry.defaults()]})

    async def _ready(self, request: Request) -> Response:
        """Whether the default version has a READY worker."""
        name = request.path_params["model"]
        target = self._predictions.named(name)
        if isinstance(target, Problem):
            return respond(target)
        return JSONResponse({"name": name, "ready": target.supervisor.ready_workers > 0})


def _fields(scope: Scope) -> list[tuple[str, str, bytes]]:
    """The query's parameters as a row's."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return [(name, "", value.encode()) for name, value in pairs]
