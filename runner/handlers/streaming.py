"""Pieces of answers, sent while a batch is still running. TorchServe's call for it.

A handler of ours returns generators among its answers instead; see docs/design/04-processes.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from runner.handlers.context import Context
from runner.handlers.errors import PredictionException


class Outlet(Protocol):
    """Where a running batch's pieces go. May be called from any thread."""

    def send(self, values: Mapping[int, Any]) -> None:
        """A piece for each of these rows, by row number. Raises StreamOver after the batch has been answered."""


class StreamOver(RuntimeError):
    """The batch has been answered: there is nobody to send a piece to."""

    def __init__(self) -> None:
        super().__init__("this batch has been answered already; a piece must be sent before handle() returns")


def send_intermediate_predict_response(
    ret: Sequence[Any], req_id_map: Mapping[int, str], message: str, code: int, context: Context
) -> None:
    """Send `ret[i]` as the next piece of the answer to the request `req_id_map[i]`, for every i of the map.

    Status and headers come from `context`, as set when the first piece goes out. Processes of a group other than its
    first send nothing. Raises PredictionException for a `code` other than 200, ValueError for a request that is not
    in the batch, StreamOver after the batch.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    if code != 200:
        raise PredictionException(message, code)
    if context.outlet is None:
        raise StreamOver
    context.outlet.send({_number(context, i, request): ret[i] for i, request in req_id_map.items()})


def _number(context: Context, i: int, request: str) -> int:
    """The row that a request id means. Clients may choose ids, so two rows may share one: then `i` decides."""
    ids = context.request_ids or {}
    if ids.get(i) == request:
        return i
    for number, known in ids.items():
        if known == request:
            return number
    raise ValueError(f"no request {request} in this batch")
