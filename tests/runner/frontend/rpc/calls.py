"""A gRPC server over workers without processes, and calls as any client makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from runner.frontend.health import Health
from runner.frontend.listener import EVERYTHING, Address, Surface
from runner.frontend.management import Management
from runner.frontend.predictions import Predictions
from runner.frontend.rpc.messages import class_of, message, service
from runner.frontend.rpc.server import RpcServer
from runner.frontend.tokens import Tokens
from runner.metrics import Metrics
from runner.pool.deployment import Deployment
from runner.pool.registry import Registry
from tests.runner.frontend.apps import Answer, actions_on, deploy, echo

INFERENCE = "org.pytorch.serve.grpc.inference"
MANAGEMENT = "org.pytorch.serve.grpc.management"


class Client:
    """Calls by the services' descriptions. `metadata` goes with every call."""

    def __init__(self, channel: grpc.aio.Channel, deployment: Deployment, health: Health) -> None:
        self.channel = channel
        self.deployment = deployment
        self.health = health
        self.metadata: list[tuple[str, str]] = []

    def method(self, path: str) -> Any:
        """The multicallable of "package.Service/Method"."""
        name, _, method = path.partition("/")
        described = service(name.replace("org.pytorch.serve.grpc.openinference", "inference"))
        found = described.methods_by_name[method]
        kinds = {(False, False): "unary_unary", (False, True): "unary_stream", (True, True): "stream_stream"}
        make = getattr(self.channel, kinds[found.client_streaming, found.server_streaming])
        serialise = class_of(found.input_type).SerializeToString
        return make(f"/{path}", serialise, class_of(found.output_type).FromString)

    async def call(self, path: str, request: Any) -> Any:
        return await self.method(path)(request, metadata=self.metadata)

    async def stream(self, path: str, request: Any) -> list[Any]:
        return [each async for each in self.method(path)(request, metadata=self.metadata)]

    async def refused(self, path: str, request: Any) -> tuple[str, str]:
        """Name of the status, and its words."""
        try:
            await self.call(path, request)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        raise AssertionError("it was answered")


@asynccontextmanager
async def serving(
    answer: Answer | None = echo,
    *,
    surfaces: Iterable[Surface] = EVERYTHING,
    tokens: Tokens | None = None,
    **config: Any,
) -> AsyncIterator[Client]:
    registry, metrics = Registry(), Metrics()
    deployment = deploy(registry, metrics, answer=answer, **config)
    health = Health(registry)
    health.started = True
    predictions = Predictions(registry, metrics, 1000)
    server = RpcServer(
        Address("127.0.0.1", 0),
        frozenset(surfaces),
        predictions,
        Management(registry, predictions),
        actions_on(registry),
        health,
        tokens,
        None,
    )
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.address.port}") as channel:
            yield Client(channel, deployment, health)
    finally:
        await server.stop(0)


def predict(model: str = "m", version: str = "", **fields: bytes) -> Any:
    return message(f"{INFERENCE}.PredictionsRequest")(model_name=model, model_version=version, input=fields)
