"""Composition root of the server: settings → pool + front end + metrics; start, ready, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from archiver.archive import Archive
from archiver.errors import ArchiveError, CannotWrite, ServeFailed
from archiver.progress import Progress, silent
from archiver.workflow.naming import is_workflow
from runner.deploying import Defaults, Deployer, no_defaults
from runner.frontend import exposure
from runner.frontend.app import App
from runner.frontend.control import Actions
from runner.frontend.cors import Cors
from runner.frontend.downloads import Downloads
from runner.frontend.health import Health
from runner.frontend.http import HttpServer, http_server
from runner.frontend.listener import Address, Certificate, Listener, Surface
from runner.frontend.management import Management
from runner.frontend.patience import Patience, room_for_connections
from runner.frontend.predictions import Predictions
from runner.frontend.tokens import KeyFileError, Tokens
from runner.frontend.workflow_actions import WorkflowActions, models_from
from runner.host_metrics import HostMetrics
from runner.metrics import Gauges, Metrics
from runner.metrics_log import MetricsLog
from runner.pool.control import Control, Order
from runner.pool.deployment import Deployment
from runner.pool.homes import Homes
from runner.pool.registry import DuplicateVersion, Registry
from runner.pool.spawner import Spawner, process_environment
from runner.pool.supervisor import LoadError
from runner.settings import declared, preloads
from runner.wire import MetricDefinition
from runner.workflow.workflows import DuplicateWorkflow, NodesFailed, Workflows

if TYPE_CHECKING:
    from runner.frontend.rpc.server import RpcServer

log = logging.getLogger("archive.server")

_FILES = 65_536


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to serve.

    `listeners`: addresses and what each serves, `rpc`: the same for gRPC; `flags`: config keys set on the command
    line; `defaults`: config keys below every archive's own; `default_versions`: the version of a model that answers
    when none is asked for; `max_request_size` in bytes; `drain_timeout`: seconds for accepted requests at the end,
    `unregister_timeout`: when their model is taken out; `patience`: with slow clients; `trust`: checkpoints may hold
    pickles beyond torch's weights_only list; `installs`: archives may install what they require; `model_store`: the
    folder whose archives may be registered over HTTP, `workflow_store`: those of workflows, the model store when
    None; `registers`: whether they may, `allowed_urls`: prefixes of addresses that they may come from; `key_file`:
    requests need its keys, new ones are good for `token_minutes`; `insecure`: strangers may use it without;
    `open_management`: models may be changed on any address without keys; `envelope`: for archives that name none;
    `hidden_variables`: workers do not see environment variables that this pattern matches; `host_metrics`: /metrics
    tells of the machine, too; `metrics_defined`: what holds for metrics of handlers; `metrics_log`: the folder of
    TorchServe's two logs of metrics, written every `metrics_interval` seconds; `on_change` is called when other
    models are served than before, or other numbers of workers.
    """

    listeners: Sequence[tuple[Address, frozenset[Surface]]]
    rpc: Sequence[tuple[Address, frozenset[Surface]]] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    defaults: Defaults = no_defaults
    default_versions: Sequence[tuple[str, str]] = ()
    max_request_size: int = 64_000_000
    drain_timeout: float = 30.0
    unregister_timeout: float = 120.0
    patience: Patience = Patience()
    trust: bool = False
    installs: bool = False
    model_store: Path | None = None
    workflow_store: Path | None = None
    registers: bool = True
    allowed_urls: Sequence[str] = ()
    key_file: Path | None = None
    insecure: bool = False
    token_minutes: float = 60.0
    open_management: bool = False
    envelope: str | None = None
    cors: Cors | None = None
    certificate: Certificate | None = None
    hidden_variables: str = ""
    host_metrics: bool = True
    metrics_defined: Sequence[MetricDefinition] = ()
    metrics_log: Path | None = None
    metrics_interval: float = 60.0
    on_change: Callable[[Registry], None] | None = None


class Service:
    """One server, from its archives to its end. `ready` is called once with the service when all is READY."""

    def __init__(self, settings: ServerSettings, progress: Progress = silent) -> None:
        self.settings = settings
        self._progress = progress
        self.registry = Registry()
        self._log = _metrics_log(settings)
        self.metrics = Metrics(self._log.counting) if self._log else Metrics()
        if settings.host_metrics:
            self.metrics.add_host(HostMetrics())
        self.health = Health(self.registry)
        self.listeners: list[Listener] = []
        self.rpc_addresses: list[Address] = []
        self.workflows: Workflows | None = None
        self._stop = asyncio.Event()
        self._signals = 0

    def address_of(self, surface: Surface) -> Address | None:
        """Where that part of the HTTP surface is served."""
        return next((listener.address for listener in self.listeners if surface in listener.surfaces), None)

    async def run(self, archives: Sequence[Order], ready: Callable[[Service], None]) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises ArchiveError when it cannot become ready."""
        settings = self.settings
        addresses = [address for address, _ in (*settings.listeners, *settings.rpc)]
        exposure.check(addresses, has_keys=settings.key_file is not None, insecure=settings.insecure)
        _allow_many_connections()
        with ExitStack() as sockets:
            for address, surfaces in settings.listeners:
                self.listeners.append(Listener(address, surfaces))
                sockets.callback(self.listeners[-1].close)
            await self._serve(archives, ready)

    def _gauges(self) -> list[Gauges]:
        return [deployment.gauges() for deployment in self.registry]

    async def _serve(self, archives: Sequence[Order], ready: Callable[[Service], None]) -> None:
        settings = self.settings
        tokens = _tokens(settings)
        self._watch_signals()
        variables = process_environment(settings.hidden_variables)
        spawner = Spawner(_preloads(archives, installs=settings.installs), variables)
        homes = Homes(spawner, variables, installs=settings.installs)
        deployer = self._deployer(homes)
        control = Control(self.registry, deployer.prepare, settings.unregister_timeout, self._changed_meanwhile)
        self.workflows = self._workflows(control)
        servers = [self._http(listener, control, tokens) for listener in self.listeners]
        calls = [await self._rpc(address, surfaces, control, tokens) for address, surfaces in settings.rpc]
        spawner.start()
        pairs = zip(servers, self.listeners, strict=True)
        serving = asyncio.gather(*(http.serve(sockets=[listener.sock]) for http, listener in pairs))
        try:
            if await self._until_stopped(self._deploy_all(archives, deployer)):
                self._choose_defaults()
                self._changed()
                self.health.started = True
                _settle_memory()
                if self._log is not None:
                    self._log.start(self.metrics, self._gauges)
                ready(self)
                await self._stop.wait()
        finally:
            self.health.draining = True
            homes.stop()
            for http in servers:
                http.should_exit = True
            await self._drain(asyncio.gather(serving, *(each.stop(settings.drain_timeout) for each in calls)))
            await self._end(spawner, control)

    def _deployer(self, homes: Homes) -> Deployer:
        settings = self.settings
        return Deployer(
            homes,
            self.metrics,
            settings.flags,
            settings.defaults,
            trust=settings.trust,
            envelope=settings.envelope,
            metrics_defined=settings.metrics_defined,
            progress=self._progress,
        )

    def _http(self, listener: Listener, control: Control, tokens: Tokens | None) -> HttpServer:
        """The server of one address. Raises ServeFailed for a certificate that cannot be used."""
        settings = self.settings
        manages = listener.address.is_local or tokens is not None or settings.open_management
        app = App(
            self.registry,
            self.metrics,
            self.health,
            settings.max_request_size,
            self._actions(control, allowed=manages),
            tokens,
            listener.surfaces,
            settings.cors,
            self._workflow_actions(allowed=manages),
        )
        certificate = settings.certificate if listener.address.secure else None
        try:
            room = room_for_connections().divided(len(settings.listeners))
            return http_server(app, settings.drain_timeout, certificate, patience=settings.patience, room=room)
        except OSError as error:
            raise ServeFailed(f"the certificate cannot be used: {error}", hint="both files are PEM") from error

    async def _rpc(
        self, address: Address, surfaces: frozenset[Surface], control: Control, tokens: Tokens | None
    ) -> RpcServer:
        """The gRPC server of one address, taking calls."""
        from runner.frontend.rpc.server import RpcServer

        settings = self.settings
        manages = address.is_local or tokens is not None or settings.open_management
        predictions = Predictions(self.registry, self.metrics, settings.max_request_size)
        server = RpcServer(
            address,
            surfaces,
            predictions,
            Management(self.registry, predictions),
            self._actions(control, allowed=manages),
            self.health,
            tokens,
            settings.certificate,
        )
        await server.start()
        self.rpc_addresses.append(server.address)
        return server

    def _actions(self, control: Control, *, allowed: bool) -> Actions:
        store = self.settings.model_store
        registers, downloads = self.settings.registers, self._downloads(store)
        return Actions(control, store, allowed=allowed, registers=registers, downloads=downloads)

    def _downloads(self, store: Path | None) -> Downloads | None:
        allowed = self.settings.allowed_urls
        return Downloads(store, allowed) if store is not None and allowed else None

    def _workflows(self, control: Control) -> Workflows:
        store = self.settings.model_store
        return Workflows(control, models_from(store, self._downloads(store)), self.settings.unregister_timeout)

    def _workflow_actions(self, *, allowed: bool) -> WorkflowActions:
        assert self.workflows is not None, "this is a bug: workflows come before their routes"
        store = self.settings.workflow_store or self.settings.model_store
        registers, downloads = self.settings.registers, self._downloads(store)
        return WorkflowActions(self.workflows, store, downloads, allowed=allowed, registers=registers)

    def _choose_defaults(self) -> None:
        for name, version in self.settings.default_versions:
            if self.registry.has(name, version):
                self.registry.set_default(name, version)

    def _changed(self) -> None:
        """Raises CannotWrite when what is served cannot be kept."""
        if self.settings.on_change is not None:
            self.settings.on_change(self.registry)

    def _changed_meanwhile(self) -> None:
        """What was asked for is done, whether or not it can be kept."""
        try:
            self._changed()
        except CannotWrite as error:
            log.error("%s", error)

    async def _until_stopped(self, starting: Coroutine[Any, Any, None]) -> bool:
        """Do what has to be done to become READY; False when we were told to stop meanwhile."""
        deploying = asyncio.ensure_future(starting)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            either: set[asyncio.Future[Any]] = {deploying, stopped}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if deploying.done():
                deploying.result()
                return True
            return False
        finally:
            deploying.cancel()
            stopped.cancel()
            await asyncio.gather(deploying, stopped, return_exceptions=True)

    async def _deploy_all(self, archives: Sequence[Order], deployer: Deployer) -> None:
        """Models and workflows beside each other."""
        models = (self._deploy(order, deployer) for order in archives if not is_workflow(order.path))
        workflows = (self._deploy_workflow(order) for order in archives if is_workflow(order.path))
        await asyncio.gather(*models, *workflows)

    async def _deploy_workflow(self, order: Order) -> None:
        assert self.workflows is not None, "this is a bug: workflows come after their registry"
        try:
            await self.workflows.register(order.path, order.name, order.url)
        except NodesFailed as error:
            hint = f"its models are looked for in {self.settings.model_store or 'the folder of --model-store'}"
            raise ServeFailed(str(error), hint=hint) from error
        except DuplicateWorkflow as error:
            raise ServeFailed(f"two archives hold the workflow `{error.name}`") from error

    async def _deploy(self, order: Order, deployer: Deployer) -> None:
        deployment = await deployer.prepare(order, at_startup=True)
        if order.workers is not None:
            deployment.start_with(order.workers)
        try:
            self.registry.add(deployment)
        except DuplicateVersion as error:
            await deployment.supervisor.stop()
            raise ServeFailed(
                f"two archives hold model `{error.name}` version {error.version}",
                hint="give one another name: `archive serve a.mar other=b.mar`",
            ) from error
        try:
            await deployment.supervisor.start()
        except LoadError as error:
            raise _load_failed(deployment, error) from error
        deployment.log_report()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        # Who started us with nohup has decided already.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            in_terminal = sys.stdin is not None and sys.stdin.isatty()
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup, in_terminal)

    def _on_hangup(self, in_terminal: bool) -> None:
        """Our terminal has been closed; or somebody means a daemon that reads its files again."""
        if in_terminal:
            self._on_signal(signal.SIGHUP)
        else:
            log.info("SIGHUP: nothing to read again, serving on; a key file is read whenever it changes")

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("%s again: stopping now", signal.Signals(number).name)
            self._answer_the_rest()
            return
        waiting = sum(deployment.model.batcher.open for deployment in self.registry)
        log.info("%s: finishing %d requests, then stopping", signal.Signals(number).name, waiting)
        self._stop.set()

    async def _drain(self, serving: asyncio.Future[Any]) -> None:
        """The sockets are closed, accepted requests get their answers; after the drain timeout the rest get 503."""
        await asyncio.wait({serving}, timeout=self.settings.drain_timeout)
        if not serving.done():
            log.warning("stopping with requests unanswered after %g s", self.settings.drain_timeout)
        self._answer_the_rest()
        await serving

    def _answer_the_rest(self) -> None:
        for deployment in self.registry:
            deployment.model.stop()

    async def _end(self, spawner: Spawner, control: Control) -> None:
        if self._log is not None:
            await self._log.stop()
        await asyncio.gather(*(deployment.supervisor.stop() for deployment in self.registry))
        await control.close()
        await spawner.close()


def run_service(
    settings: ServerSettings, archives: Sequence[Order], ready: Callable[[Service], None], progress: Progress
) -> None:
    """Run a server in this thread, on uvloop, until it is told to stop. Raises ArchiveError."""

    async def serve() -> None:
        await Service(settings, progress).run(archives, ready)

    loop = uvloop.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


def _metrics_log(settings: ServerSettings) -> MetricsLog | None:
    if settings.metrics_log is None:
        return None
    units = {each.name: each.unit for each in settings.metrics_defined}
    return MetricsLog(settings.metrics_log, settings.metrics_interval, units)


def _tokens(settings: ServerSettings) -> Tokens | None:
    """The keys that requests need; made where there are none yet. Raises ServeFailed."""
    if settings.key_file is None:
        return None
    tokens = Tokens(settings.key_file, time.time, settings.token_minutes)
    try:
        tokens.create()
    except KeyFileError as error:
        raise ServeFailed(str(error), hint="name a file that the server may write, or a good one") from error
    log.info("requests need the keys of %s", settings.key_file)
    return tokens


def _preloads(archives: Sequence[Order], *, installs: bool) -> list[str]:
    """What the archives want imported in the server's template; those with an environment have their own."""
    wanted = []
    for order in archives:
        with Archive.open(order.path) as archive:
            if not (installs and archive.manifest.requirements_file):
                wanted.append(declared(archive.config_text(), f"{order.path}", lenient=True))
    return preloads(wanted)


def _load_failed(deployment: Deployment, error: LoadError) -> ArchiveError:
    failure = error.failure
    hint = f"`archive run {deployment.path} --input FILE` loads it in one process, for a debugger"
    if failure.kind == "UntrustedPickle":
        hint = "if you trust whoever made this archive: `archive serve --trust …`"
    elif failure.kind == "ModuleNotFoundError" and deployment.lacks is not None:
        hint = f"`archive serve --install-requirements …` installs what its {deployment.lacks} names"
    trace = "".join(f"\n  {line}" for line in failure.trace)
    return ServeFailed(
        f"model `{deployment.model.name}` failed to load: {failure.kind}: {failure.message}{trace}",
        hint=hint,
    )


def _allow_many_connections() -> None:
    """Every connection is a file descriptor; the soft limit of many shells is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _settle_memory() -> None:
    """What lives now lives on: keep the collector off it, and let it run less often while serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
