"""What an operator may change while the server runs: the default version, and which versions there are."""

from __future__ import annotations

import asyncio
import logging

from runner.pool.deployment import Deployment
from runner.pool.registry import Registry

log = logging.getLogger("archive.server")

#: Seconds for accepted requests when their model is unregistered: TorchServe's `unregister_model_timeout`.
UNREGISTER_TIMEOUT = 120.0


class CleanUpTimeout(Exception):
    """The model was still answering requests when its time was over; they have been answered 503."""


class Control:
    """Changes of the registry that outlast one call: a version that leaves answers what it accepted."""

    def __init__(self, registry: Registry, unregister_timeout: float = UNREGISTER_TIMEOUT) -> None:
        self._registry = registry
        self._timeout = unregister_timeout
        self._leaving: list[Deployment] = []

    def set_default(self, name: str, version: str) -> None:
        """That version answers from now on when none is asked for. Raises UnknownModel or UnknownVersion."""
        self._registry.set_default(name, version)
        log.info("%s: version %s is the default", name, version)

    async def unregister(self, name: str, version: str | None) -> None:
        """Take a version (None: the default one) out, let accepted requests finish, end its workers.

        Raises UnknownModel, UnknownVersion, DefaultVersion, and CleanUpTimeout.
        """
        deployment = self._registry.remove(name, version)
        self._leaving.append(deployment)
        log.info("%s: version %s is unregistered", name, deployment.model.version)
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
        """The server stops: end the workers of versions that are still leaving."""
        await asyncio.gather(*(self._end(deployment) for deployment in [*self._leaving]))
