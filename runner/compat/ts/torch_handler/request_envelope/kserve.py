"""ts.torch_handler.request_envelope.kserve: KServe's protocol v1."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from ts.torch_handler.request_envelope.base import (  # type: ignore[import-not-found,unused-ignore]  # by the hook
    BaseEnvelope,
    mapping_of,
)

from runner.handlers.errors import BadRequest


class KServeEnvelope(BaseEnvelope):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """`{"instances": […]}` → one input per instance; `{"predictions": […]}`, or `{"explanations": […]}`."""

    def inputs_of(self, request: Any) -> list[Any]:
        instances = mapping_of(request).get("instances")
        if not isinstance(instances, list):
            raise BadRequest('the body must be {"instances": [...]}')
        return [self.instance(instance) for instance in instances]

    def instance(self, value: Any) -> Any:
        """One instance as the handler gets it."""
        return value

    def wrapped(self, number: int, answers: Sequence[Any]) -> Any:
        return {"explanations" if self.explains(number) else "predictions": list(answers)}


def decoded(value: Any) -> Any:
    """The bytes of `{"b64": text}`; anything else as it is. Raises BadRequest."""
    if not isinstance(value, dict) or set(value) != {"b64"}:
        return value
    try:
        return base64.b64decode(value["b64"])
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadRequest("an instance's b64 is not base64") from error
