"""gRPC's health service: the server's health under the empty name, a model's under its own."""

from __future__ import annotations

import asyncio
from typing import Any

from runner.frontend.health import Health
from runner.frontend.rpc.calls import Caller, Context, Refused
from runner.frontend.rpc.messages import message

_Response = message("grpc.health.v1.HealthCheckResponse")
_SERVING, _NOT_SERVING, _UNKNOWN = 1, 2, 3
#: Seconds between two looks of a watched name.
_EVERY = 0.5


class HealthService:
    """Check and Watch."""

    NAMES = ("grpc.health.v1.Health",)

    def __init__(self, caller: Caller, health: Health) -> None:
        self._caller = caller
        self._health = health

    async def Check(self, request: Any, _: Context) -> Any:
        status = self._status(request.service)
        if status == _UNKNOWN:
            raise Refused(404, f"There is no service {request.service}.")
        return _Response(status=status)

    async def Watch(self, request: Any, context: Context) -> None:
        last = None
        while True:
            status = self._status(request.service)
            if status != last:
                await context.write(_Response(status=status))
                last = status
            await asyncio.sleep(_EVERY)

    def _status(self, name: str) -> int:
        if not name:
            return _SERVING if self._health.is_ready else _NOT_SERVING
        try:
            return _SERVING if self._caller.target(name, "").can_answer else _NOT_SERVING
        except Refused:
            return _UNKNOWN
