"""The Open Inference Protocol's service: a request becomes the JSON and bytes that REST would have sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from runner.frontend.binary_tensors import NoSuchOutput, TensorError, as_bytes, packed
from runner.frontend.health import Health
from runner.frontend.inference_request import InferenceRequest
from runner.frontend.openinference import SERVER, metadata
from runner.frontend.rpc.calls import Caller, Context, Refused
from runner.frontend.rpc.messages import message
from runner.frontend.tensors import flat

_Response = message("inference.ModelInferResponse")
#: Datatype → the field of typed contents that holds it; half floats have none and come raw.
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **{"INT64": "int64_contents", "UINT64": "uint64_contents", "BYTES": "bytes_contents"},
    **{"FP32": "fp32_contents", "FP64": "fp64_contents"},
}


class GRPCInferenceService:
    """Under the protocol's name and under TorchServe's."""

    NAMES = ("inference.GRPCInferenceService", "org.pytorch.serve.grpc.openinference.GRPCInferenceService")

    def __init__(self, caller: Caller, health: Health) -> None:
        self._caller = caller
        self._health = health

    async def ServerLive(self, _request: Any, _: Context) -> Any:
        return message("inference.ServerLiveResponse")(live=True)

    async def ServerReady(self, _request: Any, _: Context) -> Any:
        return message("inference.ServerReadyResponse")(ready=self._health.is_ready)

    async def ModelReady(self, request: Any, _: Context) -> Any:
        ready = self._caller.target(request.name, request.version).can_answer
        return message("inference.ModelReadyResponse")(ready=ready)

    async def ServerMetadata(self, _request: Any, _: Context) -> Any:
        return message("inference.ServerMetadataResponse")(**SERVER)

    async def ModelMetadata(self, request: Any, _: Context) -> Any:
        target = self._caller.target(request.name, request.version)
        found = metadata(target, self._caller.predictions.versions(request.name))
        return message("inference.ModelMetadataResponse")(**found)

    async def ModelInfer(self, request: Any, context: Context) -> Any:
        target = self._caller.target(request.model_name, request.model_version)
        try:
            asked = read(request)
        except TensorError as error:
            raise Refused(400, str(error)) from error
        reply = await self._caller.whole(target, self._caller.row(asked.params, context))
        try:
            found = asked.answer(reply, target.model.name, target.model.version)
            if found is None:
                raise TensorError("it is bytes.")
            return response(found, raw=bool(request.raw_input_contents))
        except NoSuchOutput as error:
            raise Refused(400, str(error)) from error
        except TensorError as error:
            raise Refused(500, f"The handler's answer is no tensor: {error}") from error


def read(request: Any) -> InferenceRequest:
    """Raises TensorError."""
    if request.raw_input_contents and len(request.raw_input_contents) != len(request.inputs):
        raise TensorError(f"{len(request.inputs)} inputs have {len(request.raw_input_contents)} raw_input_contents.")
    raw: Sequence[bytes | None] = request.raw_input_contents or [None] * len(request.inputs)
    pairs = [_input(tensor, content) for tensor, content in zip(request.inputs, raw, strict=True)]
    outputs = [{"name": each.name, "parameters": _parameters(each.parameters)} for each in request.outputs]
    asked = {
        "inputs": [tensor for tensor, _ in pairs],
        "parameters": _parameters(request.parameters),
        **({"id": request.id} if request.id else {}),
        **({"outputs": outputs} if outputs else {}),
    }
    head = msgspec.json.encode(asked)
    return InferenceRequest.read(head + b"".join(content for _, content in pairs), len(head))


def _input(tensor: Any, raw: bytes | None) -> tuple[dict[str, Any], bytes]:
    """The tensor as REST describes it, and its bytes. Text is bytes in gRPC, so BYTES travel as such."""
    shape, parameters = list(tensor.shape), _parameters(tensor.parameters)
    described = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "parameters": parameters}
    if raw is None:
        name = _FIELDS.get(tensor.datatype)
        if name is None:
            raise TensorError(f'input "{tensor.name}": {tensor.datatype} has no typed contents; send it raw.')
        values = list(getattr(tensor.contents, name))
        if tensor.datatype != "BYTES":
            return {**described, "data": values}, b""
        raw = packed("BYTES", values)
    return {**described, "parameters": {**parameters, "binary_data_size": len(raw)}}, raw


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the protocol gives; binary data is gRPC's own matter."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for name, value in parameters.items()
        if name not in ("binary_data", "binary_data_size")
    }


def response(found: Mapping[str, Any], *, raw: bool) -> Any:
    """The answer as a message; `raw`: tensors as bytes, as the request had them. Raises TensorError."""
    message_ = _Response(
        model_name=str(found.get("model_name", "")),
        model_version=str(found.get("model_version") or ""),
        id=str(found.get("id") or ""),
    )
    tensors = [_checked(output) for output in found["outputs"]]
    half = any(datatype in ("FP16", "BF16") for _, datatype, _, _ in tensors)
    for name, datatype, shape, values in tensors:
        output = message_.outputs.add(name=name, datatype=datatype, shape=shape)
        data = packed(datatype, values)
        if raw or half:
            message_.raw_output_contents.append(data)
        else:
            field = _FIELDS[datatype]
            typed = map(as_bytes, values) if datatype == "BYTES" else values
            getattr(output.contents, field).extend(typed)
    return message_


def _checked(output: Any) -> tuple[str, str, list[int], list[Any]]:
    """Raises TensorError for what a handler calls an output and is no tensor."""
    try:
        values = flat(output["data"])
        found = str(output["name"]), str(output["datatype"]), [int(size) for size in output["shape"]], values
    except (KeyError, TypeError, ValueError) as error:
        raise TensorError(f"an output lacks name, datatype, shape or data: {error!r}") from error
    if math.prod(found[2]) != len(values):
        raise TensorError(f'output "{found[0]}": shape {found[2]} does not hold its {len(values)} values.')
    return found
