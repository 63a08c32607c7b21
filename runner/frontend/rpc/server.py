"""A gRPC server on the event loop of the HTTP one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc

from archiver.errors import ServeFailed
from runner.frontend.control import Actions
from runner.frontend.health import Health
from runner.frontend.listener import Address, Certificate, Surface
from runner.frontend.management import Management
from runner.frontend.predictions import Predictions
from runner.frontend.rpc.calls import Caller, Context, Refused
from runner.frontend.rpc.health import HealthService
from runner.frontend.rpc.messages import class_of, service
from runner.frontend.rpc.openinference import GRPCInferenceService
from runner.frontend.rpc.torchserve import InferenceAPIsService, ManagementAPIsService
from runner.frontend.tokens import Tokens

#: What a method of these services is over HTTP, for the keys that it needs.
_AS_HTTP = {"InferenceAPIsService": "/predictions/", "ManagementAPIsService": "/models"}
_ALWAYS_OPEN = ("Ping", "ServerLive", "ServerReady", "ServerMetadata", "Check", "Watch")
_REFUSED = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"


class RpcServer:
    """The services of some surfaces on one address. `address` has the port that was given to port 0."""

    def __init__(
        self,
        wanted: Address,
        surfaces: frozenset[Surface],
        predictions: Predictions,
        management: Management,
        actions: Actions,
        health: Health,
        tokens: Tokens | None,
        certificate: Certificate | None,
    ) -> None:
        limits = [("grpc.max_receive_message_length", predictions.limit), ("grpc.max_send_message_length", -1)]
        self._server = grpc.aio.server(options=[*limits, ("grpc.so_reuseport", 0)])
        self._tokens = tokens
        caller = Caller(predictions)
        services: list[Any] = [HealthService(caller, health)]
        if Surface.INFERENCE in surfaces:
            services += [InferenceAPIsService(caller, health), GRPCInferenceService(caller, health)]
        if Surface.MANAGEMENT in surfaces:
            services.append(ManagementAPIsService(management, actions))
        self._server.add_generic_rpc_handlers([handler for each in services for handler in self._handlers(each)])
        self.address = Address(wanted.host, self._bind(wanted, certificate), secure=wanted.secure)

    def _bind(self, wanted: Address, certificate: Certificate | None) -> int:
        where = f"[{wanted.host}]:{wanted.port}" if ":" in wanted.host else f"{wanted.host}:{wanted.port}"
        try:
            if wanted.secure and certificate is not None:
                pair = (certificate.key.read_bytes(), certificate.file.read_bytes())
                return int(self._server.add_secure_port(where, grpc.ssl_server_credentials([pair])))
            return int(self._server.add_insecure_port(where))
        except (RuntimeError, OSError) as error:
            raise ServeFailed(f"gRPC cannot listen on {where}", hint="`--grpc-port 0` picks a free port") from error

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Take no more calls; those that run have so long."""
        await self._server.stop(seconds)

    def _handlers(self, servicer: Any) -> Sequence[grpc.GenericRpcHandler]:
        described = service(servicer.NAMES[0])
        methods = {method.name: self._method(servicer, method) for method in described.methods}
        return [grpc.method_handlers_generic_handler(name, methods) for name in servicer.NAMES]

    def _method(self, servicer: Any, method: Any) -> grpc.RpcMethodHandler:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        handler: grpc.RpcMethodHandler = make(
            self._guarded(getattr(servicer, method.name), type(servicer).__name__),
            request_deserializer=class_of(method.input_type).FromString,
            response_serializer=class_of(method.output_type).SerializeToString,
        )
        return handler

    def _guarded(
        self, call: Callable[[Any, Context], Awaitable[Any]], servicer: str
    ) -> Callable[..., Awaitable[Any]]:
        """The method behind its keys, its refusals as statuses."""
        is_open = call.__name__ in _ALWAYS_OPEN
        path = _AS_HTTP.get(servicer, "/predictions/")

        async def guarded(request: Any, context: Context) -> Any:
            if self._tokens is not None and not is_open:
                authorization = dict(context.invocation_metadata() or ()).get("authorization", "")
                if not self._tokens.allows("POST", path, str(authorization)):
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, _REFUSED)
            try:
                return await call(request, context)
            except Refused as refused:
                await refused.end(context)

        return guarded
