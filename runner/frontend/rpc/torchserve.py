"""TorchServe's inference and management services."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from runner.frontend.control import Actions
from runner.frontend.health import Health
from runner.frontend.management import Management
from runner.frontend.problems import Problem
from runner.frontend.rpc.calls import Caller, Context, Refused
from runner.frontend.rpc.messages import message

_INFERENCE, _MANAGEMENT = "org.pytorch.serve.grpc.inference", "org.pytorch.serve.grpc.management"
_Response = message(f"{_INFERENCE}.PredictionResponse")
_Healthy = message(f"{_INFERENCE}.TorchServeHealthResponse")
_Managed = message(f"{_MANAGEMENT}.ManagementResponse")


class InferenceAPIsService:
    """Each entry of `input` is a field of the row, as bytes; the header `ts_request_sequence_id` is `sequence_id`."""

    NAMES = (f"{_INFERENCE}.InferenceAPIsService",)

    def __init__(self, caller: Caller, health: Health) -> None:
        self._caller = caller
        self._health = health

    async def Ping(self, _request: Any, _: Context) -> Any:
        return _Healthy(health=json.dumps({"status": "Healthy" if self._health.is_healthy else "Unhealthy"}))

    async def Predictions(self, request: Any, context: Context) -> Any:
        target = self._caller.target(request.model_name, request.model_version)
        reply = await self._caller.whole(target, self._row(request, context))
        return _response(request, reply.body)

    async def StreamPredictions(self, request: Any, context: Context) -> None:
        target = self._caller.target(request.model_name, request.model_version)

        async def write(body: bytes) -> None:
            await context.write(_response(request, body))

        await self._caller.pieces(target, self._row(request, context), write)

    async def StreamPredictions2(self, requests: AsyncIterator[Any], context: Context) -> None:
        """One request after the other; an error is a message of the stream, which goes on. When the client has no
        more, the sequence that it began with is over."""
        first: Any = None
        async for request in requests:
            first = first or request
            try:
                await self.StreamPredictions(request, context)
            except Refused as refused:
                response = _response(request, b"")
                response.status.code, response.status.message = refused.code.value[0], refused.words
                await context.write(response)
        with suppress(Refused):
            if first is not None and first.sequence_id:
                self._caller.target(first.model_name, first.model_version).model.end_sequence(first.sequence_id)

    def _row(self, request: Any, context: Context) -> Any:
        sequence = {"ts_request_sequence_id": request.sequence_id} if request.HasField("sequence_id") else {}
        return self._caller.row([(name, "", value) for name, value in request.input.items()], context, **sequence)


def _response(request: Any, body: bytes) -> Any:
    response = _Response(prediction=body)
    if request.HasField("sequence_id"):
        response.sequence_id = request.sequence_id
    return response


class ManagementAPIsService:
    """Answers hold the JSON that HTTP would have sent; those of actions the sentence alone. Fields that are 0 or
    empty are not given."""

    NAMES = (f"{_MANAGEMENT}.ManagementAPIsService",)

    def __init__(self, management: Management, actions: Actions) -> None:
        self._management = management
        self._actions = actions

    async def DescribeModel(self, request: Any, _: Context) -> Any:
        found = self._management.described(request.model_name, request.model_version or None)
        if not isinstance(found, Problem) and request.customized:
            found = await self._management.customized(found)
        if isinstance(found, Problem):
            raise Refused.of(found)
        return _Managed(msg=json.dumps(found))

    async def ListModels(self, request: Any, _: Context) -> Any:
        return _Managed(msg=json.dumps(self._management.page(request.next_page_token, request.limit)))

    async def RegisterModel(self, request: Any, _: Context) -> Any:
        # Unlike HTTP: proto3 cannot tell `synchronous: false` from nothing, and TorchServe takes it as it comes.
        return await self._act("register", "", "", {**_given(request), "synchronous": _word(request.synchronous)})

    async def ScaleWorker(self, request: Any, _: Context) -> Any:
        return await self._act("scale", request.model_name, request.model_version, _given(request))

    async def SetDefault(self, request: Any, _: Context) -> Any:
        return await self._act("set-default", request.model_name, request.model_version, {})

    async def UnregisterModel(self, request: Any, _: Context) -> Any:
        return await self._act("unregister", request.model_name, request.model_version, {})

    async def _act(self, action: str, model: str, version: str, asked: Mapping[str, str]) -> Any:
        done = await self._actions.act(action, model, version or None, asked)
        if isinstance(done, Problem):
            raise Refused.of(done)
        return _Managed(msg=done[0])


def _given(request: Any) -> dict[str, str]:
    return {field.name: _word(value) for field, value in request.ListFields()}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
