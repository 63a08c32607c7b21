"""ts.torch_handler.request_envelope.body: the handler gets each row's payload instead of the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ts.torch_handler.request_envelope.base import (  # type: ignore[import-not-found,unused-ignore]  # by the hook
    BaseEnvelope,
)


class BodyEnvelope(BaseEnvelope):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """One input and one answer per request, both as they are."""

    def inputs_of(self, request: Any) -> list[Any]:
        return [request]

    def wrapped(self, number: int, answers: Sequence[Any]) -> Any:
        return answers[0]
