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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from archiver.archive import Archive
from archiver.compiled import compiled_root
from archiver.config.model import ModelConfig, to_plain
from archiver.config.origins import Effective, Origin
from archiver.errors import ArchiveError, NotFound, ServeFailed
from archiver.manifest import MANIFEST
from archiver.progress import Progress, silent
from archiver.project import PROJECT_FILE
from archiver.store import Unpacked, unpack
from runner import wire
from runner.frontend.app import App
from runner.frontend.control import Actions
from runner.frontend.health import Health
from runner.frontend.http import http_server
from runner.metrics import Metrics
from runner.pool.control import Control
from runner.pool.cores import available_cores
from runner.pool.deployment import Deployment
from runner.pool.gpu_memory import check_fit, free_memory
from runner.pool.model import Model
from runner.pool.placement import Placement, device_kind, place
from runner.pool.registry import DuplicateVersion, Registry
from runner.pool.spawner import Platform, Spawner, TemplateBroken
from runner.pool.supervisor import LoadError, Seat, Supervisor
from runner.settings import Declared, declared, not_applied

log = logging.getLogger("archive.server")

_BACKLOG = 2048
_FILES = 65_536


@dataclass(frozen=True, slots=True)
class Served:
    """An archive that the user named, perhaps under another model name."""

    path: Path
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> Served:
        """`path` or `name=path`. Raises NotFound."""
        name, separator, path = text.partition("=")
        if separator and not Path(text).exists():
            return cls(_existing(path), name)
        return cls(_existing(text))


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise NotFound(f"no such archive: {text}", hint="`archive create` builds one")
    if (path / PROJECT_FILE).is_file() and not (path / MANIFEST).is_file():
        raise NotFound(f"{text} is a project, not an archive", hint=f"`archive create {text}` packs it")
    return path


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to serve.

    `flags`: config keys set on the command line; `drain_timeout`: seconds for accepted requests at the end;
    `max_request_size` in bytes; `trust`: checkpoints may hold pickles beyond torch's weights_only list.
    """

    host: str
    port: int
    flags: Mapping[str, Any]
    max_request_size: int
    drain_timeout: float
    trust: bool


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


@dataclass(frozen=True, slots=True)
class _Opened:
    """An archive between opening and deployment."""

    served: Served
    unpacked: Unpacked
    declared: Declared

    @property
    def weights(self) -> int:
        """Bytes of the archive's weights, as far as its manifest tells."""
        return sum(file.size for file in self.unpacked.manifest.files if file.role == "weights")


class Service:
    """One server, from its archives to its end. `ready` is called once with the service when all is READY."""

    def __init__(self, settings: ServerSettings, progress: Progress = silent) -> None:
        self.settings = settings
        self._progress = progress
        self.registry = Registry()
        self.control = Control(self.registry)
        self.metrics = Metrics()
        self.health = Health(self.registry)
        self.address = ("", 0)
        self._stop = asyncio.Event()
        self._signals = 0

    async def run(self, archives: Sequence[Served], ready: Callable[[Service], None]) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises ArchiveError when it cannot become ready."""
        _allow_many_connections()
        sock = bind(self.settings.host, self.settings.port)
        self.address = sock.getsockname()[:2]
        local = ipaddress.ip_address(self.address[0]).is_loopback
        if not local:
            log.warning("listening on %s without authentication: whoever reaches it can use it", self.address[0])
        self._watch_signals()
        spawner = Spawner(_preloads(archives))
        spawner.start()
        actions = Actions(self.control, allowed=local)
        app = App(self.registry, self.metrics, self.health, self.settings.max_request_size, actions)
        http = http_server(app, self.settings.drain_timeout)
        serving = asyncio.create_task(http.serve(sockets=[sock]))
        try:
            if await self._deploy_all(archives, spawner):
                self.health.started = True
                _settle_memory()
                ready(self)
                await self._stop.wait()
        finally:
            self.health.draining = True
            http.should_exit = True
            await self._drain(serving)
            await self._end(spawner)

    async def _deploy_all(self, archives: Sequence[Served], spawner: Spawner) -> bool:
        """Deploy each archive; False when we were told to stop meanwhile."""
        deploying = asyncio.gather(*(self._deploy(served, spawner) for served in archives))
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

    async def _deploy(self, served: Served, spawner: Spawner) -> None:
        opened = await asyncio.to_thread(_open, served, self._progress)
        for finding in opened.declared.ignored:
            log.warning("%s; ignored, as TorchServe does", finding)
        platform = await _platform(spawner)
        deployment = self._plan(opened, platform, spawner)
        if deployment.placement.kind == "cuda":
            free = await asyncio.to_thread(free_memory)
            check_fit(deployment.model.name, deployment.placement.devices, opened.weights, free)
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
        for line in deployment.report().get("lines", []):
            log.info("%s: %s", deployment.model.name, line)

    def _plan(self, opened: _Opened, platform: Platform, spawner: Spawner) -> Deployment:
        placement, config, settled = self._place(opened.declared, platform)
        manifest = opened.unpacked.manifest
        name = opened.served.name or manifest.model_name
        ignored = not_applied(settled)
        for sentence in filter(None, [placement.fallback, *ignored]):
            log.warning("%s: %s", name, sentence)
        counters = self.metrics.model(name, manifest.model_version)
        model = Model(name, manifest.model_version, config, counters)
        seats = [
            Seat(number, _load(model, opened.unpacked, placement, number, self.settings.trust))
            for number in range(placement.workers)
        ]
        compiled = config.pt2.compile is not None and config.pt2.compile.enable
        background = compiled and config.pt2.background
        supervisor = Supervisor(
            model,
            spawner,
            seats,
            first_alone=compiled and not background,
            background=background,
            on_restart=counters.restarted,
        )
        return Deployment(
            url=str(opened.served.path),
            digest=opened.unpacked.digest,
            manifest=dict(manifest.raw),
            settings=settled.describe(),
            not_applied=ignored,
            placement=placement,
            model=model,
            supervisor=supervisor,
            metrics=counters,
        )

    def _place(self, wanted: Declared, platform: Platform) -> tuple[Placement, ModelConfig, Effective]:
        """The device decides which block of `devices` counts, so the settings settle in two steps."""
        first, origins = wanted.settle(self.settings.flags, None)
        by_flag = origins.origins.get("deviceType") is Origin.FLAG
        kind, fallback = device_kind(first.device_type, platform, by_flag=by_flag)
        config, settled = wanted.settle(self.settings.flags, kind)
        return place(config, kind, fallback, platform, available_cores()), config, settled

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

    async def _end(self, spawner: Spawner) -> None:
        await asyncio.gather(*(deployment.supervisor.stop() for deployment in self.registry))
        await self.control.close()
        await spawner.close()


def run_service(
    settings: ServerSettings, archives: Sequence[Served], ready: Callable[[Service], None], progress: Progress
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


def _preloads(archives: Sequence[Served]) -> list[str]:
    """The union of what the archives want imported in the template, in order."""
    wanted: dict[str, None] = {}
    for served in archives:
        with Archive.open(served.path) as archive:
            config, _ = _declared(archive.config_text(), served, lenient=True).settle({}, None)
        wanted |= dict.fromkeys(config.preload)
    return [module for module in wanted if module != "torch"]


def _declared(text: str | None, served: Served, *, lenient: bool) -> Declared:
    return declared(text, f"{served.path}", lenient=lenient)


def _open(served: Served, progress: Progress) -> _Opened:
    """Verify and unpack; the archive's hashes are checked on the way."""
    unpacked = unpack(served.path, progress=progress)
    made_here = unpacked.manifest.specification_version is not None and bool(unpacked.manifest.files)
    return _Opened(served, unpacked, _declared(unpacked.config_text, served, lenient=not made_here))


async def _platform(spawner: Spawner) -> Platform:
    try:
        return await spawner.platform()
    except TemplateBroken as error:
        raise ServeFailed(
            f"the worker template cannot start: {error}", hint="pip install 'torch-archive[serve]'"
        ) from error


def _load(model: Model, unpacked: Unpacked, placement: Placement, number: int, trust: bool) -> wire.Load:
    cpus = placement.cpus[number]
    return wire.Load(
        model_name=model.name,
        model_version=model.version,
        model_dir=str(unpacked.model_dir),
        manifest=dict(unpacked.manifest.raw),
        config=to_plain(model.config),
        device=placement.devices[number],
        threads=placement.threads,
        cpus=list(cpus) if cpus is not None else None,
        trusted=trust,
        envelope=unpacked.manifest.envelope,
        digest=unpacked.manifest.content() or unpacked.digest,
        compile_cache=str(compiled_root()),
        # Its handler runs as well: whoever named the archive trusts it.
        precompiled=True,
    )


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
