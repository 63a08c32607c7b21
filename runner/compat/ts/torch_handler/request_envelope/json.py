"""ts.torch_handler.request_envelope.json: TensorFlow Serving's row format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ts.torch_handler.request_envelope.kserve import (  # type: ignore[import-not-found,unused-ignore]  # by the hook
    KServeEnvelope,
    decoded,
)


class JSONEnvelope(KServeEnvelope):  # type: ignore[misc,unused-ignore]  # the hook's modules are Any to mypy
    """`{"instances": […]}` with `{"b64": …}` for bytes, alone or as an instance's field; the answer is JSON text."""

    def instance(self, value: Any) -> Any:
        if isinstance(value, dict) and set(value) != {"b64"}:
            return {name: decoded(part) for name, part in value.items()}
        return decoded(value)

    def wrapped(self, number: int, answers: Sequence[Any]) -> Any:
        return json.dumps(super().wrapped(number, answers))
