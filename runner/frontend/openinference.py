"""The Open Inference Protocol v2 over REST, with tensors as JSON. One request is one row: handlers get the whole
decoded object, as TorchServe hands it to them; an answer that is no protocol answer yet is wrapped into one."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archiver import __version__
from runner import wire
from runner.frontend.bodies import ClientGone, Receive, Scope, Send, TooLarge, read_body, send_answer
from runner.frontend.health import Health
from runner.frontend.management import respond
from runner.frontend.predictions import Predictions
from runner.frontend.problems import Problem, problem
from runner.frontend.tensors import TensorError, check_inputs, outputs_of
from runner.pool.deployment import Deployment

_JSON = "application/json"


class OpenInference:
    """The routes below /v2."""

    def __init__(self, predictions: Predictions, health: Health) -> None:
        self._predictions = predictions
        self._health = health

    def routes(self) -> list[Route]:
        infer = Infer(self._predictions)
        own = [
            Route("/v2", self._server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._health.readyz),
        ]
        for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            own.append(Route(f"{base}/infer", infer, methods=["POST"]))
            own.append(Route(f"{base}/ready", self._ready))
        return own

    async def _server(self, _: Request) -> Response:
        return JSONResponse({"name": "torch-archive", "version": __version__, "extensions": []})

    async def _live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        path = request.path_params
        target = self._predictions.named(path["model"], path.get("version", ""))
        if isinstance(target, Problem):
            return respond(target)
        ready = target.supervisor.ready_workers > 0
        return JSONResponse({"name": path["model"], "ready": ready}, 200 if ready else 503)


class Infer:
    """POST …/infer as an ASGI callable."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._predictions.request_id(dict(scope["headers"]).get(b"x-request-id"))
        try:
            answer = await self._infer(scope, receive, request_id.decode("latin-1"))
        except ClientGone:
            return
        self._predictions.count(answer)
        await send_answer(send, answer, request_id)

    async def _infer(self, scope: Scope, receive: Receive, request_id: str) -> wire.Reply | Problem:
        path = scope["path_params"]
        target = self._predictions.named(path["model"], path.get("version", ""))
        if isinstance(target, Problem):
            return target
        with target.model.arriving():
            return await self._answer(target, scope, receive, request_id)

    async def _answer(
        self, target: Deployment, scope: Scope, receive: Receive, request_id: str
    ) -> wire.Reply | Problem:
        try:
            declared = dict(scope["headers"]).get(b"content-length")
            body = await read_body(receive, declared, self._predictions.limit)
            asked = _request(body)
        except TooLarge:
            return problem("too-large", limit=self._predictions.limit)
        except TensorError as error:
            return problem("bad-request", reason=str(error))
        row = wire.Row(request_id, [("body", _JSON, body)], wire.pack_headers(scope["headers"]))
        answer = await self._predictions.run(target, row, receive)
        return answer if isinstance(answer, Problem) else _wrapped(answer, asked, target)


def _request(body: bytes) -> dict[str, Any]:
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TensorError(f"The body is not valid JSON: {error}") from error
    if not isinstance(asked, dict):
        raise TensorError("The body must be an object with inputs.")
    check_inputs(asked.get("inputs"))
    return asked


def _wrapped(reply: wire.Reply, asked: dict[str, Any], target: Deployment) -> wire.Reply:
    """The reply as the protocol has it; errors, and what the handler answered in the protocol, as they are."""
    if reply.status != 200:
        return reply
    try:
        answer = msgspec.json.decode(reply.body) if reply.content_type.startswith(_JSON) else reply.body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return reply
    if isinstance(answer, dict) and "outputs" in answer:
        return reply
    model = target.model
    whole = {"model_name": model.name, "model_version": model.version, "outputs": outputs_of(answer)}
    if "id" in asked:
        whole["id"] = asked["id"]
    return wire.Reply(200, reply.phrase, _JSON, reply.headers, msgspec.json.encode(whole))
