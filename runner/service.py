"""Composition root of the server: settings → pool + front end + metrics; start, ready, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import uvloop
from msgspec import structs

from archiver.errors import CannotWrite, ServeFailed
from archiver.progress import Progress, silent
from runner import landlock
from runner.deploying import Deployer
from runner.frontend import exposure
from runner.frontend.health import Health
from runner.frontend.listener import Address, Listener, Surface
from runner.frontend.tokens import KeyFileError, Tokens
from runner.host_metrics import HostMetrics
from runner.metrics import Gauges, Metrics
from runner.metrics_log import MetricsLog
from runner.pool.control import Control, Order
from runner.pool.homes import Homes
from runner.pool.registry import Registry
from runner.pool.scratch import Scratch, scratch_folder
from runner.pool.spawner import Spawner, process_environment
from runner.pool.variables import cleaned, for_installers, looks_secret, without
from runner.server_settings import ServerSettings
from runner.startup import deploy_all, wanted_modules
from runner.surfaces import Surfaces
from runner.workflow.workflows import Workflows

log = logging.getLogger("archive.server")

_FILES = 65_536
#: That one line of the log names.
_NAMES = 8


class Service:
    """One server, from its archives to its end. `ready` is called once with the service when all is READY."""

    def __init__(self, settings: ServerSettings, progress: Progress = silent) -> None:
        self.settings = settings
        self._progress = progress
        self.registry = Registry()
        self.registry.complete = False
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
        if settings.confinement.sandbox:
            landlock.require()
        with ExitStack() as held:
            for address, surfaces in settings.listeners:
                self.listeners.append(Listener(address, surfaces))
                held.callback(self.listeners[-1].close)
            scratch = held.enter_context(scratch_folder()) if settings.confinement.sandbox else None
            await self._serve(archives, ready, scratch)

    def _gauges(self) -> list[Gauges]:
        return [deployment.gauges() for deployment in self.registry]

    async def _serve(
        self, archives: Sequence[Order], ready: Callable[[Service], None], scratch: Scratch | None
    ) -> None:
        settings = self.settings
        tokens = _tokens(settings)
        self._watch_signals()
        variables = process_environment(_shown(settings))
        installing = {**variables, **for_installers(os.environ)} if settings.installs else None
        modules = wanted_modules(archives, settings.gate, installs=settings.installs)
        spawner = Spawner(modules, variables, scratch=scratch)
        homes = Homes(spawner, variables, installing=installing, scratch=scratch)
        deployer = self._deployer(homes, scratch)
        control = Control(self.registry, deployer.prepare, settings.unregister_timeout, self._changed_meanwhile)
        surfaces = Surfaces(settings, self.registry, self.metrics, self.health, control, tokens)
        self.workflows = surfaces.workflows
        servers = [surfaces.http(listener) for listener in self.listeners]
        calls = [await surfaces.rpc(address, served) for address, served in settings.rpc]
        self.rpc_addresses = [each.address for each in calls]
        spawner.start()
        pairs = zip(servers, self.listeners, strict=True)
        serving = asyncio.gather(*(http.serve(sockets=[listener.sock]) for http, listener in pairs))
        try:
            if await self._until_stopped(deploy_all(archives, deployer, self.registry, surfaces.workflows)):
                self.registry.complete = True
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

    def _deployer(self, homes: Homes, scratch: Scratch | None) -> Deployer:
        settings = self.settings
        place = "" if scratch is None else str(scratch.folder)
        return Deployer(
            homes,
            self.metrics,
            settings.flags,
            settings.defaults,
            trust=settings.trust,
            envelope=settings.envelope,
            metrics_defined=settings.metrics_defined,
            gate=settings.gate,
            confinement=structs.replace(settings.confinement, scratch=place),
            progress=self._progress,
        )

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


def _shown(settings: ServerSettings) -> Mapping[str, str]:
    """The environment variables of workers; the log says which they are not given."""
    if settings.hidden_variables is not None and not settings.passed_variables:
        shown = without(os.environ, settings.hidden_variables)
        if secrets := [name for name, value in shown.variables.items() if looks_secret(name, value)]:
            log.warning("handlers see %s; blacklist_env_vars keeps variables from them", _few(secrets))
        return shown.variables
    shown = cleaned(os.environ, settings.passed_variables, sandbox=settings.confinement.sandbox)
    if shown.hidden:
        log.info("handlers do not see the environment's %s; --pass-env NAME passes one", _few(shown.hidden))
    return shown.variables


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


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
