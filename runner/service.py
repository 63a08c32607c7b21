"""Composition root of the server: settings → pool + front end + metrics; start, ready, drain, stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from archiver.archive import Archive
from archiver.errors import ArchiveError, ServeFailed
from archiver.progress import Progress, silent
from runner.deploying import Deployer
from runner.frontend.app import App
from runner.frontend.control import Actions
from runner.frontend.health import Health
from runner.frontend.http import http_server
from runner.frontend.tokens import KeyFileError, Tokens
from runner.metrics import Metrics
from runner.pool.control import Control, Order
from runner.pool.deployment import Deployment
from runner.pool.registry import DuplicateVersion, Registry
from runner.pool.spawner import Spawner
from runner.pool.supervisor import LoadError
from runner.settings import declared

log = logging.getLogger("archive.server")

_BACKLOG = 2048
_FILES = 65_536


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to serve.

    `flags`: config keys set on the command line; `drain_timeout`: seconds for accepted requests at the end;
    `max_request_size` in bytes; `trust`: checkpoints may hold pickles beyond torch's weights_only list;
    `model_store`: the folder whose archives may be registered over HTTP; `key_file`: requests need its keys.
    """

    host: str
    port: int
    flags: Mapping[str, Any]
    max_request_size: int
    drain_timeout: float
    trust: bool
    model_store: Path | None = None
    key_file: Path | None = None


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ServeFailed when the address cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServeFailed(
                f"{host}:{port} is taken by another program", hint="`--port 0` picks a free port"
            ) from error
        raise ServeFailed(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


class Service:
    """One server, from its archives to its end. `ready` is called once with the service when all is READY."""

    def __init__(self, settings: ServerSettings, progress: Progress = silent) -> None:
        self.settings = settings
        self._progress = progress
        self.registry = Registry()
        self.metrics = Metrics()
        self.health = Health(self.registry)
        self.address = ("", 0)
        self._stop = asyncio.Event()
        self._signals = 0

    async def run(self, archives: Sequence[Order], ready: Callable[[Service], None]) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises ArchiveError when it cannot become ready."""
        _allow_many_connections()
        sock = bind(self.settings.host, self.settings.port)
        self.address = sock.getsockname()[:2]
        local = ipaddress.ip_address(self.address[0]).is_loopback
        tokens = _tokens(self.settings.key_file)
        if not local and tokens is None:
            log.warning("listening on %s without authentication: whoever reaches it can use it", self.address[0])
        self._watch_signals()
        spawner = Spawner(_preloads(archives))
        spawner.start()
        deployer = Deployer(
            spawner, self.metrics, self.settings.flags, trust=self.settings.trust, progress=self._progress
        )
        control = Control(self.registry, deployer.prepare)
        actions = Actions(control, self.settings.model_store, allowed=local or tokens is not None)
        app = App(self.registry, self.metrics, self.health, self.settings.max_request_size, actions, tokens)
        http = http_server(app, self.settings.drain_timeout)
        serving = asyncio.create_task(http.serve(sockets=[sock]))
        try:
            if await self._deploy_all(archives, deployer):
                self.health.started = True
                _settle_memory()
                ready(self)
                await self._stop.wait()
        finally:
            self.health.draining = True
            http.should_exit = True
            await self._drain(serving)
            await self._end(spawner, control)

    async def _deploy_all(self, archives: Sequence[Order], deployer: Deployer) -> bool:
        """Deploy each archive; False when we were told to stop meanwhile."""
        deploying = asyncio.gather(*(self._deploy(order, deployer) for order in archives))
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

    async def _deploy(self, order: Order, deployer: Deployer) -> None:
        deployment = await deployer.prepare(order)
        try:
            self.registry.add(deployment)
        except DuplicateVersion as error:
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

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("%s again: stopping now", signal.Signals(number).name)
            self._answer_the_rest()
            return
        waiting = sum(deployment.model.batcher.open for deployment in self.registry)
        log.info("%s: finishing %d requests, then stopping", signal.Signals(number).name, waiting)
        self._stop.set()

    async def _drain(self, serving: asyncio.Task[None]) -> None:
        """The socket is closed, accepted requests get their answers; after the drain timeout the rest get 503."""
        await asyncio.wait({serving}, timeout=self.settings.drain_timeout)
        if not serving.done():
            log.warning("stopping with requests unanswered after %g s", self.settings.drain_timeout)
        self._answer_the_rest()
        await serving

    def _answer_the_rest(self) -> None:
        for deployment in self.registry:
            deployment.model.stop()

    async def _end(self, spawner: Spawner, control: Control) -> None:
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


def _tokens(file: Path | None) -> Tokens | None:
    """The keys that requests need; made where there are none yet. Raises ServeFailed."""
    if file is None:
        return None
    tokens = Tokens(file, time.time)
    try:
        tokens.create()
    except KeyFileError as error:
        raise ServeFailed(str(error), hint="name a file that the server may write, or a good one") from error
    log.info("requests need the keys of %s", file)
    return tokens


def _preloads(archives: Sequence[Order]) -> list[str]:
    """The union of what the archives want imported in the template, in order."""
    wanted: dict[str, None] = {}
    for order in archives:
        with Archive.open(order.path) as archive:
            config, _ = declared(archive.config_text(), f"{order.path}", lenient=True).settle({}, None)
        wanted |= dict.fromkeys(config.preload)
    return [module for module in wanted if module != "torch"]


def _load_failed(deployment: Deployment, error: LoadError) -> ArchiveError:
    failure = error.failure
    hint = f"`archive run {deployment.url} --input FILE` loads it in one process, for a debugger"
    if failure.kind == "UntrustedPickle":
        hint = "if you trust whoever made this archive: `archive serve --trust …`"
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
