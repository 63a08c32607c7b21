"""ts.torch_handler.request_envelope.base: a protocol around a handler, so that the handler sees plain inputs."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from runner.handlers.errors import BadRequest, RowFailed


class BaseEnvelope(ABC):
    """`handle` unwraps each request into the handler's inputs, calls the handler once with all of them, and gives
    each request its own answers back, wrapped. A request may hold several inputs, or none.

    `parse_input(data)` and `format_output(answers)` do the same for a whole batch; `format_output` belongs to the
    batch that was parsed last.
    """

    def __init__(self, handle_fn: Callable[[Any, Any], Any]) -> None:
        self._handle_fn = handle_fn
        self.context: Any = None
        self._requests: list[Any] = []
        self._counts: list[int] = []

    def handle(self, data: Sequence[Any] | None, context: Any) -> Any:
        """One answer per request. Raises BadRequest for a body that breaks the protocol."""
        self.context = context
        if data is None:
            return self._handle_fn(None, context)
        if context.get_request_header(0, "describe") == "True":
            return self._handle_fn(data, context)
        inputs = self.parse_input(data)
        return self.format_output(self._handle_fn(inputs, context) if inputs else [])

    def parse_input(self, data: Sequence[Any]) -> list[Any]:
        """All requests' inputs, one after the other."""
        self._requests = [body_of(row) for row in data]
        inputs = [self.inputs_of(request) for request in self._requests]
        self._counts = [len(some) for some in inputs]
        return [one for some in inputs for one in some]

    def format_output(self, answers: Sequence[Any]) -> list[Any]:
        """One answer per request. Raises ValueError when the handler's answers are not one per input."""
        if len(answers) != sum(self._counts):
            raise ValueError(f"the handler returned {len(answers)} answers to {sum(self._counts)} inputs")
        whole, start = [], 0
        for number, count in enumerate(self._counts):
            whole.append(self._answer(number, answers[start : start + count]))
            start += count
        return whole

    def _answer(self, number: int, answers: Sequence[Any]) -> Any:
        # Half an answer is none: a request fails with the first of its inputs that does.
        failure = next((answer for answer in answers if isinstance(answer, RowFailed)), None)
        return self.wrapped(number, answers) if failure is None else failure

    def explains(self, number: int) -> bool:
        """Whether request `number` of the batch asks for an explanation."""
        return bool(self.context) and self.context.get_request_header(number, "explain") == "True"

    @abstractmethod
    def inputs_of(self, request: Any) -> list[Any]:
        """The handler's inputs in one request's body. Raises BadRequest."""

    @abstractmethod
    def wrapped(self, number: int, answers: Sequence[Any]) -> Any:
        """Request `number`'s answer, from the answers to its inputs."""


def body_of(row: Any) -> Any:
    """A row's "data" or "body"; what is no row as it is."""
    if not isinstance(row, dict):
        return row
    data = row.get("data")
    return row.get("body") if data is None else data


def mapping_of(request: Any) -> dict[str, Any]:
    """The request as a JSON object, decoded if it came without its content type. Raises BadRequest."""
    if isinstance(request, str | bytes | bytearray):
        try:
            request = json.loads(request)
        except ValueError as error:
            raise BadRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(request, dict):
        raise BadRequest("the body must be a JSON object")
    return request
