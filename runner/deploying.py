"""An archive → a model version that can be started: opened, settled, placed. Start-up and the management API do it
alike, so that a model is the same however it came to be served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archiver.compiled import compiled_apart, compiled_root
from archiver.config.model import ModelConfig, to_plain
from archiver.config.origins import Effective, Origin
from archiver.errors import NotFound, ServeFailed
from archiver.manifest import MANIFEST, Manifest
from archiver.progress import Progress, silent
from archiver.project import PROJECT_FILE
from archiver.repack import members_of
from archiver.scan.scan import scan_folder
from archiver.store import Gate, Unpacked, unpack
from runner import wire
from runner.metrics import Metrics
from runner.pool.control import Order
from runner.pool.cores import available_cores
from runner.pool.deployment import Deployment
from runner.pool.gpu_memory import check_fit, free_memory
from runner.pool.homes import Home, Homes
from runner.pool.model import Model
from runner.pool.placement import Placement, device_kind, place
from runner.pool.spawner import Platform
from runner.pool.supervisor import Seat, Supervisor
from runner.settings import Declared, declared, not_applied, preloads

log = logging.getLogger("archive.server")

#: Model and version → config keys that hold below what the archive's own YAML says.
Defaults = Callable[[str, str], Mapping[str, Any]]


def no_defaults(_name: str, _version: str) -> Mapping[str, Any]:
    """The server's config says nothing."""
    return {}


def named(text: str) -> Order:
    """`model.mar` or `name=model.mar`. Raises NotFound."""
    name, separator, path = text.partition("=")
    if not separator or "/" in name or Path(text).exists():
        return Order(existing(text))
    return Order(existing(path), name)


#: Endings of archives in a model store; folders with a manifest are archives as well.
_ENDINGS = (".mar", ".tar.gz", ".tgz")


def of_store(store: Path, models: str) -> list[Order]:
    """TorchServe's `--models` over a model store: `all`, or names and `name=file` with commas. Raises NotFound."""
    if models.strip().lower() == "all":
        found = [path for path in sorted(store.iterdir()) if _is_archive(path)]
        if not found:
            raise NotFound(f"no archive in the model store {store}", hint="`archive create` builds one")
        return [Order(path, url=path.name) for path in found]
    orders = []
    for item in filter(None, map(str.strip, models.split(","))):
        name, separator, file = item.rpartition("=")
        orders.append(Order(existing(str(store / file)), name if separator else None, url=file))
    return orders


def _is_archive(path: Path) -> bool:
    return path.name.endswith(_ENDINGS) if path.is_file() else (path / MANIFEST).is_file()


def existing(text: str) -> Path:
    """The archive of that name. Raises NotFound."""
    path = Path(text)
    if not path.exists():
        raise NotFound(f"no such archive: {text}", hint="`archive create` builds one")
    if (path / PROJECT_FILE).is_file() and not (path / MANIFEST).is_file():
        raise NotFound(f"{text} is a project, not an archive", hint=f"`archive create {text}` packs it")
    return path


@dataclass(frozen=True, slots=True)
class _Opened:
    """An archive between opening and deployment."""

    order: Order
    unpacked: Unpacked
    declared: Declared

    @property
    def name(self) -> str:
        """The model's, as the order or the archive says."""
        return self.order.name or self.unpacked.manifest.model_name

    @property
    def preload(self) -> list[str]:
        """What the archive wants imported in its template."""
        return preloads([self.declared])

    @property
    def weights(self) -> int:
        """Bytes of the archive's weights."""
        members = members_of(self.unpacked.manifest, self.unpacked.model_dir)
        return sum(member.size for member in members if member.role == "weights")


class Deployer:
    """What every deployment of one server shares. `flags`: config keys of the command line; `envelope`: for archives
    that name none; `metrics_defined`: units, types and dimensions of handlers' metrics; `gate`: which archives are
    opened at all; `confinement`: what workers give up."""

    def __init__(
        self,
        homes: Homes,
        metrics: Metrics,
        flags: Mapping[str, Any],
        defaults: Defaults = no_defaults,
        *,
        trust: bool,
        envelope: str | None = None,
        metrics_defined: Sequence[wire.MetricDefinition] = (),
        gate: Gate | None = None,
        confinement: wire.Confinement = wire.Confinement(),  # noqa: B008  frozen
        progress: Progress = silent,
    ) -> None:
        self._confinement = confinement
        self._homes = homes
        self._metrics = metrics
        self._flags = flags
        self._defaults = defaults
        self._envelope = envelope
        self._trust = trust
        self._metrics_defined = metrics_defined
        self._gate = gate
        self._progress = progress

    async def prepare(self, order: Order, *, at_startup: bool = False) -> Deployment:
        """A deployment whose workers are not started, and which nobody can find yet.

        Raises what opening an archive raises, UntrustedPickle, UntrustedSignature, InvalidInput for its config, and
        ServeFailed.
        """
        opened = await asyncio.to_thread(_open, order, self._gate, self._progress)
        if not self._trusts_pickles:
            report = await asyncio.to_thread(scan_folder, order.path, opened.unpacked.model_dir)
            report.require_safe()
        for finding in opened.declared.ignored:
            log.warning("%s; ignored, as TorchServe does", finding)
        home = await self._homes.of(opened.name, opened.unpacked, opened.preload)
        try:
            deployment = self._planned(opened, home, await home.platform(), at_startup)
            if deployment.placement.kind == "cuda":
                free = await asyncio.to_thread(free_memory)
                spread = deployment.model.config.parallel.accelerators
                check_fit(deployment.model.name, deployment.placement.all_devices, opened.weights // spread, free)
        except BaseException:
            await home.close()
            raise
        return deployment

    @property
    def _trusts_pickles(self) -> bool:
        """Whether pickles may do what torch's weights_only list does not: the operator's word, or a signature that is
        trusted, without which nothing has come in here."""
        return self._trust or self._gate is not None

    def _planned(self, opened: _Opened, home: Home, platform: Platform, at_startup: bool) -> Deployment:
        manifest, name = opened.unpacked.manifest, opened.name
        server = self._defaults(name, manifest.model_version)
        layers = {Origin.FLAG: self._flags, Origin.API: opened.order.settings, Origin.SERVER: server}
        placement, config, settled = _placed(opened.declared, platform, layers)
        if self._confinement.sandbox and config.parallel.torchrun:
            message = "its processes (torchrun) meet over TCP, which --sandbox takes from them"
            raise ServeFailed(message, where=f"model `{name}`", hint="serve it without --sandbox")
        ignored = [*not_applied(settled), *self._homes.not_applied(manifest, use_venv=settled.values["useVenv"])]
        for sentence in filter(None, [placement.fallback, *ignored]):
            log.warning("%s: %s", name, sentence)
        counters = self._metrics.model(name, manifest.model_version)
        model = Model(name, manifest.model_version, config, counters)
        document = _document(manifest, opened.order)
        seat = self._seats(model, opened.unpacked, document, placement, platform)
        # A model that is spread over processes is not compiled, see Session.
        compiled = config.pt2.compile is not None and config.pt2.compile.enable and config.parallel.processes == 1
        # A worker that takes another one's place does not have its sequences' state.
        background = compiled and config.pt2.background and config.sequences is None
        supervisor = Supervisor(
            model,
            home.spawner,
            [seat(number) for number in range(placement.workers)],
            first_alone=compiled and not background,
            background=background,
            on_restart=counters.restarted,
            on_stop=home.close,
        )
        return Deployment(
            url=opened.order.url or str(opened.order.path),
            path=opened.order.path,
            digest=opened.unpacked.digest,
            manifest=document,
            settings=settled.describe(),
            not_applied=ignored,
            placement=placement,
            model=model,
            supervisor=supervisor,
            metrics=counters,
            seat=seat,
            environment=home.environment,
            at_startup=at_startup,
            workflow=opened.order.workflow,
        )

    def _seats(
        self,
        model: Model,
        unpacked: Unpacked,
        document: Mapping[str, Any],
        placement: Placement,
        platform: Platform,
    ) -> Callable[[int], Seat]:
        """Number → the seat of that worker, also beyond those that the model starts with."""

        def seat(number: int) -> Seat:
            where = placement if number < placement.workers else _extended(placement, model.config, platform, number)
            return Seat(number, self._load(model, unpacked, document, where, number))

        return seat

    def _load(
        self, model: Model, unpacked: Unpacked, document: Mapping[str, Any], placement: Placement, number: int
    ) -> wire.Load:
        cpus = placement.cpus[number]
        return wire.Load(
            model_name=model.name,
            model_version=model.version,
            model_dir=str(unpacked.model_dir),
            manifest=dict(document),
            config=to_plain(model.config),
            device=placement.devices[number],
            threads=placement.threads,
            cpus=list(cpus) if cpus is not None else None,
            trusted=self._trusts_pickles,
            envelope=unpacked.manifest.envelope or self._envelope,
            digest=unpacked.manifest.content() or unpacked.digest,
            compile_cache=str(self._compiled_of(unpacked)),
            # Its handler runs as well: whoever named the archive trusts it.
            precompiled=True,
            world=model.config.parallel.processes if model.config.parallel.torchrun else 0,
            visible=list(placement.spans[number]),
            metrics=[*self._metrics_defined],
            confinement=self._confinement,
        )

    def _compiled_of(self, unpacked: Unpacked) -> Path:
        """Where compiled code is kept. A sandboxed archive shares none with others: it is native code."""
        return compiled_apart(unpacked.digest) if self._confinement.sandbox else compiled_root()


def _placed(
    wanted: Declared, platform: Platform, layers: Mapping[Origin, Mapping[str, Any]]
) -> tuple[Placement, ModelConfig, Effective]:
    """The device decides which block of `devices` counts, so the settings settle in two steps."""
    first, origins = wanted.settle(layers, None)
    by_flag = origins.origins.get("deviceType") is Origin.FLAG
    kind, fallback = device_kind(first.device_type, platform, by_flag=by_flag)
    config, settled = wanted.settle(layers, kind)
    return place(config, kind, fallback, platform, available_cores()), config, settled


def _extended(placement: Placement, config: ModelConfig, platform: Platform, number: int) -> Placement:
    """The placement for more workers: devices go on round robin; cores are shared out already, so none are pinned."""
    more = replace(config, min_workers=number + 1, max_workers=number + 1, threads=replace(config.threads, pin=False))
    wider = place(more, placement.kind, placement.fallback, platform, available_cores())
    return replace(wider, threads=placement.threads)


def _open(order: Order, gate: Gate | None, progress: Progress) -> _Opened:
    """Verify and unpack; the archive's hashes are checked on the way."""
    unpacked = unpack(order.path, progress=progress, gate=gate)
    made_here = unpacked.manifest.specification_version is not None and bool(unpacked.manifest.files)
    return _Opened(order, unpacked, declared(unpacked.config_text, f"{order.path}", lenient=not made_here))


def _document(manifest: Manifest, order: Order) -> dict[str, Any]:
    """The manifest with what the order says instead."""
    document = manifest.document()
    if order.handler is not None:
        document["model"] = {**document["model"], "handler": order.handler}
        document["model"].pop("handlerClass", None)
    return document
