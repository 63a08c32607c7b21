"""How one input is written into a request, and where the answer has its output. Pure; one form per family of servers.

An input is a text or a list of floats; an output is whatever JSON the workload answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Form:
    """`body`: input → request, as JSON text. `output`: answer → what the model said of that input."""

    body: Callable[[Any], bytes]
    output: Callable[[bytes], Any]


def _plain(given: Any) -> bytes:
    return json.dumps({"x": given}).encode()


def _listed(given: Any) -> bytes:
    return json.dumps({"xs": [given]}).encode()


def _tensors(given: Any) -> bytes:
    """A tensor of one row: FP32 for numbers, BYTES for a text."""
    shape, kind, data = ([1, 1], "BYTES", [given]) if isinstance(given, str) else ([1, len(given)], "FP32", given)
    return json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": kind, "data": data}]}).encode()


def _of_tensors(answer: bytes) -> Any:
    """What is no tensor of numbers travels as JSON in a tensor of one text."""
    output = json.loads(answer)["outputs"][0]
    return json.loads(output["data"][0]) if output["datatype"] == "BYTES" else output["data"]


PLAIN = Form(_plain, json.loads)
LISTED = Form(_listed, lambda answer: json.loads(answer)[0])
TENSORS = Form(_tensors, _of_tensors)
