"""The Open Inference Protocol v2 over REST, with tensors as JSON or as bytes. One request is one row: handlers get
the whole decoded object, as TorchServe hands it to them; an answer that is no protocol answer yet is wrapped into
one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archiver import __version__
from runner import wire
from runner.frontend.binary_tensors import NoSuchOutput, TensorError
from runner.frontend.bodies import ClientGone, Receive, Scope, Send, TooLarge, number_in, read_body, send_answer
from runner.frontend.health import Health
from runner.frontend.inference_request import HEADER, InferenceRequest
from runner.frontend.management import respond
from runner.frontend.predictions import Predictions
from runner.frontend.problems import Problem, problem
from runner.pool.deployment import Deployment

SERVER = {"name": "torch-archive", "version": __version__, "extensions": ["binary_tensor_data"]}
_HEADER = HEADER.lower().encode()
_EXPLAIN = ((b"explain", b"True"),)


class OpenInference:
    """The routes below /v2."""

    def __init__(self, predictions: Predictions, health: Health) -> None:
        self._predictions = predictions
        self._health = health

    def routes(self) -> list[Route]:
        infer, explain = Infer(self._predictions), Infer(self._predictions, _EXPLAIN)
        own = [
            Route("/v2", self._server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._health.readyz),
        ]
        for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            own.append(Route(f"{base}/infer", infer, methods=["POST"]))
            own.append(Route(f"{base}/explain", explain, methods=["POST"]))
            own.append(Route(f"{base}/ready", self._ready))
            own.append(Route(base, self._model))
        return own

    async def _server(self, _: Request) -> Response:
        return JSONResponse(SERVER)

    async def _model(self, request: Request) -> Response:
        path = request.path_params
        target = self._predictions.named(path["model"], path.get("version", ""))
        if isinstance(target, Problem):
            return respond(target)
        return JSONResponse(metadata(target, self._predictions.versions(path["model"])))

    async def _live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, request: Request) -> Response:
        path = request.path_params
        target = self._predictions.named(path["model"], path.get("version", ""))
        if isinstance(target, Problem):
            return respond(target)
        ready = target.supervisor.ready_workers > 0
        return JSONResponse({"name": path["model"], "ready": ready}, 200 if ready else 503)


def metadata(target: Deployment, versions: list[str]) -> dict[str, object]:
    """What the protocol wants to know of a model. A handler does not say what tensors it takes and gives, so none are
    listed."""
    return {"name": target.model.name, "versions": versions, "platform": "pytorch", "inputs": [], "outputs": []}


class Infer:
    """POST …/infer as an ASGI callable. `headers`: what the row gets besides the client's."""

    def __init__(self, predictions: Predictions, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._predictions = predictions
        self._headers = headers

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
        headers = dict(scope["headers"])
        try:
            body = await read_body(receive, headers.get(b"content-length"), self._predictions.limit)
            asked = InferenceRequest.read(body, _header_length(headers.get(_HEADER)))
        except TooLarge:
            return problem("too-large", limit=self._predictions.limit)
        except TensorError as error:
            return problem("bad-request", reason=str(error))
        packed = wire.pack_headers([*scope["headers"], *self._headers])
        answer = await self._predictions.run(target, wire.Row(request_id, asked.params, packed), receive)
        if isinstance(answer, Problem):
            return answer
        try:
            return asked.reply(answer, target.model.name, target.model.version)
        except NoSuchOutput as error:
            return problem("bad-request", reason=str(error))
        except TensorError as error:
            return problem("server-fault", reason=f"The handler's answer is no tensor: {error}")


def _header_length(given: bytes | None) -> int | None:
    if given is None:
        return None
    length = number_in(given.decode("latin-1"))
    if length is None:
        raise TensorError(f"{HEADER} must be a whole number.")
    return length
