"""The servers of a service, one for each address: which models, keys and actions stand behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.frontend.app import App
from runner.frontend.control import Actions
from runner.frontend.downloads import Downloads
from runner.frontend.health import Health
from runner.frontend.http import HttpServer, http_server
from runner.frontend.listener import Address, Listener, Surface, check
from runner.frontend.management import Management
from runner.frontend.patience import room_for_connections
from runner.frontend.predictions import Predictions
from runner.frontend.tokens import Tokens
from runner.frontend.workflow_actions import WorkflowActions, models_from
from runner.metrics import Metrics
from runner.pool.control import Control
from runner.pool.registry import Registry
from runner.server_settings import ServerSettings
from runner.workflow.workflows import Workflows

if TYPE_CHECKING:
    from runner.frontend.rpc.server import RpcServer


class Surfaces:
    """Servers over the same models. `workflows`: those that they serve. Raises ServeFailed for a certificate that
    cannot be used."""

    def __init__(
        self,
        settings: ServerSettings,
        registry: Registry,
        metrics: Metrics,
        health: Health,
        control: Control,
        tokens: Tokens | None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._health = health
        self._control = control
        self._tokens = tokens
        if settings.certificate is not None:
            check(settings.certificate)
        store = settings.model_store
        models = models_from(store, self._downloads(store))
        self.workflows = Workflows(control, models, settings.unregister_timeout, settings.gate)

    def http(self, listener: Listener) -> HttpServer:
        """The server of one address."""
        settings = self._settings
        manages = listener.address.is_local or self._tokens is not None or settings.open_management
        app = App(
            self._registry,
            self._metrics,
            self._health,
            settings.max_request_size,
            self._actions(allowed=manages),
            self._tokens,
            listener.surfaces,
            settings.cors,
            self._workflow_actions(allowed=manages),
        )
        certificate = settings.certificate if listener.address.secure else None
        room = room_for_connections().divided(len(settings.listeners))
        return http_server(app, settings.drain_timeout, certificate, patience=settings.patience, room=room)

    async def rpc(self, address: Address, surfaces: frozenset[Surface]) -> RpcServer:
        """The gRPC server of one address, taking calls."""
        from runner.frontend.rpc.server import RpcServer

        settings = self._settings
        manages = address.is_local or self._tokens is not None or settings.open_management
        predictions = Predictions(self._registry, self._metrics, settings.max_request_size)
        server = RpcServer(
            address,
            surfaces,
            predictions,
            Management(self._registry, predictions),
            self._actions(allowed=manages),
            self._health,
            self._tokens,
            settings.certificate,
        )
        await server.start()
        return server

    def _actions(self, *, allowed: bool) -> Actions:
        store = self._settings.model_store
        registers, downloads = self._settings.registers, self._downloads(store)
        return Actions(self._control, store, allowed=allowed, registers=registers, downloads=downloads)

    def _downloads(self, store: Path | None) -> Downloads | None:
        allowed, private = self._settings.allowed_urls, self._settings.private_urls
        return Downloads(store, allowed, private) if store is not None and (allowed or private) else None

    def _workflow_actions(self, *, allowed: bool) -> WorkflowActions:
        store = self._settings.workflow_store or self._settings.model_store
        registers, downloads = self._settings.registers, self._downloads(store)
        return WorkflowActions(self.workflows, store, downloads, allowed=allowed, registers=registers)
