"""What an operator may change while the server runs: the default version, and which versions there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.pool.deployment import Deployment
from runner.pool.registry import DuplicateVersion, Registry

log = logging.getLogger("archive.server")

#: Seconds for accepted requests when their model is unregistered: TorchServe's `unregister_model_timeout`.
UNREGISTER_TIMEOUT = 120.0


class CleanUpTimeout(Exception):
    """The model was still answering requests when its time was over; they have been answered 503."""


@dataclass(frozen=True, slots=True)
class Order:
    """An archive to serve, perhaps under another model name, with another handler than its manifest's, with so many
    workers, or with config keys over its own (`settings`). `url`: what its model store calls it; `workflow`: whose
    node it is."""

    path: Path
    name: str | None = None
    handler: str | None = None
    workers: int | None = None
    url: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    workflow: str | None = None


#: An order → a deployment that is not started yet.
Prepare = Callable[[Order], Awaitable[Deployment]]


class Control:
    """Changes of the registry that outlast one call: a version that comes is found when its workers are READY, one
    that leaves answers what it accepted. `prepare`: how an archive becomes a deployment."""

    def __init__(
        self,
        registry: Registry,
        prepare: Prepare,
        unregister_timeout: float = UNREGISTER_TIMEOUT,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._prepare = prepare
        self._timeout = unregister_timeout
        self._on_change = on_change
        self._coming: dict[tuple[str, str], Deployment] = {}
        self._leaving: list[Deployment] = []
        self._scaling: dict[int, asyncio.Lock] = {}

    async def prepare(self, order: Order) -> Deployment:
        """A deployment to `start`, its name taken. Raises DuplicateVersion, and what preparing raises."""
        deployment = await self._prepare(order)
        model = deployment.model
        key = (model.name, model.version)
        if key in self._coming or self._registry.has(*key):
            await deployment.supervisor.stop()
            raise DuplicateVersion(*key)
        self._coming[key] = deployment
        if order.workers is not None:
            deployment.start_with(order.workers)
        return deployment

    async def start(self, deployment: Deployment) -> None:
        """Start its workers; when all are READY it can be found. Raises LoadError, and then it is gone."""
        model = deployment.model
        try:
            await deployment.supervisor.start()
            self._registry.add(deployment)
        except BaseException:
            await deployment.supervisor.stop()
            raise
        finally:
            self._coming.pop((model.name, model.version), None)
        deployment.log_report()
        log.info("%s: version %s is registered, %d workers", model.name, model.version, deployment.supervisor.size)
        self._on_change()

    def find(self, name: str, version: str | None) -> Deployment:
        """The version, or the default one. Raises UnknownModel or UnknownVersion."""
        return self._registry.get(name, version)

    async def scale(self, name: str, version: str | None, least: int, most: int) -> None:
        """Have so many workers; who leaves finishes what it was sent. Raises UnknownModel, UnknownVersion, and
        LoadError, after which there are as many as before."""
        deployment = self._registry.get(name, version)
        async with self._scaling.setdefault(id(deployment), asyncio.Lock()):
            await deployment.supervisor.resize([deployment.seat(number) for number in range(least)])
            deployment.declare_workers(least, most)
        log.info("%s: version %s has %d workers", name, deployment.model.version, least)
        self._on_change()

    def set_default(self, name: str, version: str) -> None:
        """That version answers from now on when none is asked for. Raises UnknownModel or UnknownVersion."""
        self._registry.set_default(name, version)
        log.info("%s: version %s is the default", name, version)
        self._on_change()

    async def unregister(self, name: str, version: str | None) -> None:
        """Take a version (None: the default one) out, let accepted requests finish, end its workers.

        Raises UnknownModel, UnknownVersion, DefaultVersion, and CleanUpTimeout.
        """
        deployment = self._registry.remove(name, version)
        self._scaling.pop(id(deployment), None)
        self._leaving.append(deployment)
        log.info("%s: version %s is unregistered", name, deployment.model.version)
        self._on_change()
        # A client that hangs up must not leave the workers behind.
        await asyncio.shield(asyncio.ensure_future(self._retire(deployment)))

    async def _retire(self, deployment: Deployment) -> None:
        try:
            await asyncio.wait_for(deployment.model.drained(), self._timeout)
        except asyncio.TimeoutError as error:
            raise CleanUpTimeout(deployment.model.name) from error
        finally:
            await self._end(deployment)

    async def _end(self, deployment: Deployment) -> None:
        if deployment in self._leaving:
            self._leaving.remove(deployment)
            deployment.model.stop()
            await deployment.supervisor.stop()

    async def close(self) -> None:
        """The server stops: end the workers of versions that are still coming or leaving."""
        coming = [deployment.supervisor.stop() for deployment in self._coming.values()]
        await asyncio.gather(*coming, *(self._end(deployment) for deployment in [*self._leaving]))
