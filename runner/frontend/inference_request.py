"""A request of the Open Inference Protocol, checked, and the answer that it asks for. Pure.

REST and gRPC both come here: a gRPC request is written as the JSON and bytes that REST would have sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from runner import wire
from runner.content_types import BINARY_TENSORS
from runner.frontend.binary_tensors import NoSuchOutput, TensorError, packed, size_of
from runner.frontend.tensors import check_inputs, flat, outputs_of

JSON = "application/json"
BINARY = "application/octet-stream"
HEADER = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class InferenceRequest:
    """`body` is JSON of `header` bytes, then the bytes of tensors; `asked` is the JSON."""

    body: bytes
    header: int
    asked: Mapping[str, Any]

    @classmethod
    def read(cls, body: bytes, header: int | None = None) -> InferenceRequest:
        """`header`: how long the JSON is, None for all of it. Raises TensorError."""
        length = len(body) if header is None else header
        if not 0 <= length <= len(body):
            raise TensorError(f"{HEADER} is {length}, but the body has {len(body)} bytes.")
        try:
            asked = msgspec.json.decode(body[:length])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TensorError(f"The body is not valid JSON: {error}") from error
        if not isinstance(asked, dict):
            raise TensorError("The body must be an object with inputs.")
        check_inputs(asked.get("inputs"), memoryview(body)[length:])
        if not isinstance(asked.get("parameters") or {}, dict):
            raise TensorError("parameters must be an object.")
        _check_outputs(asked.get("outputs", []))
        return cls(body, length, asked)

    @property
    def params(self) -> list[tuple[str, str, bytes]]:
        """The row's parameters. A tensor of no elements may be bytes, too, without any byte after the JSON."""
        if all(size_of(tensor) is None for tensor in self.asked["inputs"]):
            return [("body", JSON, self.body)]
        return [("body", f"{BINARY_TENSORS}; header={self.header}", self.body)]

    def answer(self, reply: wire.Reply, model: str, version: str) -> dict[str, Any] | None:
        """The reply as the protocol's object, with the outputs that are asked for; None for what is none: an error,
        or bytes. Raises NoSuchOutput."""
        if reply.status != 200:
            return None
        try:
            found = msgspec.json.decode(reply.body) if reply.content_type.startswith(JSON) else reply.body.decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not (isinstance(found, dict) and isinstance(found.get("outputs"), list)):
            found = {"model_name": model, "model_version": version, "outputs": outputs_of(found)}
            if "id" in self.asked:
                found["id"] = self.asked["id"]
        return {**found, "outputs": self._chosen(found["outputs"])}

    def is_binary(self, output: Mapping[str, Any]) -> bool:
        """Whether that output is asked for as bytes."""
        for wanted in self.asked.get("outputs") or ():
            if wanted["name"] == output.get("name") and "binary_data" in wanted.get("parameters", {}):
                return wanted["parameters"]["binary_data"] is True
        return (self.asked.get("parameters") or {}).get("binary_data_output") is True

    def _chosen(self, outputs: list[Any]) -> list[Any]:
        wanted = [each["name"] for each in self.asked.get("outputs") or ()]
        if not wanted:
            return outputs
        there = {
            each["name"]: each for each in outputs if isinstance(each, dict) and isinstance(each.get("name"), str)
        }
        missing = [name for name in wanted if name not in there]
        if missing:
            names = ", ".join(map(str, there))
            raise NoSuchOutput(f'output "{missing[0]}": there is no such output; there are: {names}.')
        return [there[name] for name in wanted]

    def reply(self, reply: wire.Reply, model: str, version: str) -> wire.Reply:
        """What REST sends: `answer` as JSON, or JSON and bytes. Raises NoSuchOutput, and TensorError for an answer
        that is not what it says it is."""
        found = self.answer(reply, model, version)
        if found is None:
            return reply
        parts = [self._split(output) for output in found["outputs"]]
        if not any(data for _, data in parts):
            return wire.Reply(200, reply.phrase, JSON, reply.headers, msgspec.json.encode(found))
        head = msgspec.json.encode({**found, "outputs": [output for output, _ in parts]})
        headers = [*reply.headers, (HEADER, str(len(head)))]
        return wire.Reply(200, reply.phrase, BINARY, headers, head + b"".join(data for _, data in parts))

    def _split(self, output: Any) -> tuple[Any, bytes]:
        if not isinstance(output, dict) or not isinstance(output.get("data"), list) or not self.is_binary(output):
            return output, b""
        parameters, datatype = output.get("parameters") or {}, output.get("datatype")
        if not isinstance(datatype, str) or not isinstance(parameters, dict):
            raise TensorError("an output needs a datatype, and an object as its parameters, if any.")
        data = packed(datatype, flat(output["data"]))
        rest = {key: value for key, value in output.items() if key != "data"}
        return {**rest, "parameters": {**parameters, "binary_data_size": len(data)}}, data


def _check_outputs(outputs: Any) -> None:
    if not isinstance(outputs, list):
        raise TensorError("outputs must be a list.")
    for number, output in enumerate(outputs):
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise TensorError(f"output {number} must be an object with a name.")
        parameters = output.get("parameters", {})
        if not isinstance(parameters, dict):
            raise TensorError(f'output "{output["name"]}": parameters must be an object.')
        if "classification" in parameters:
            raise TensorError(f'output "{output["name"]}": classification is not supported.')
