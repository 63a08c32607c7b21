"""What a config.properties says, as settings of our server and the archives to start with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from archiver.errors import UsageError
from runner.deploying import Defaults, existing, of_store
from runner.frontend.listener import EVERYTHING, LOCAL, Surface, merged
from runner.pool.control import Order
from runner.pool.registry import Registry
from runner.server_settings import ServerSettings
from runner.torchserve.settings import TorchServeSettings
from runner.torchserve.snapshot import Snapshot

#: Where TorchServe keeps the keys.
KEY_FILE = Path("key_file.json")


def served_as(found: TorchServeSettings, asked: Mapping[str, Any]) -> ServerSettings:
    """Settings as the file says; `asked`: fields that the command line sets, None where it does not."""
    asked_for = [pair for pair in found.addresses if found.metrics_api or pair[1] is not Surface.METRICS]
    settings = ServerSettings(
        listeners=merged(asked_for) or [(LOCAL, EVERYTHING)],
        rpc=merged(found.rpc),
        defaults=_defaults(found),
        default_versions=[(model.name, model.version) for model in found.models if model.is_default],
        max_request_size=found.max_request_size,
        unregister_timeout=found.unregister_timeout,
        model_store=found.model_store,
        workflow_store=found.workflow_store,
        registers=found.model_api is not False,
        allowed_urls=found.allowed_urls,
        key_file=KEY_FILE if found.checks_tokens else None,
        insecure=found.checks_tokens is False,
        token_minutes=found.token_minutes,
        # Both said in so many words: it is the operator's decision, and TorchServe would do so.
        open_management=found.model_api is True and found.checks_tokens is False,
        envelope=found.envelope,
        cors=found.cors,
        certificate=found.certificate,
        host_metrics=found.host_metrics,
        metrics_defined=found.metrics_defined,
        metrics_log=found.metrics_log,
        metrics_interval=found.metrics_interval,
        hidden_variables=found.hidden_variables,
        private_urls=found.private_urls,
        installs=found.installs,
    )
    return replace(settings, **{name: value for name, value in asked.items() if value is not None})


def _defaults(found: TorchServeSettings) -> Defaults:
    by_version = {} if found.is_snapshot else {(each.name, each.version): each.values for each in found.models}

    def of(name: str, version: str) -> Mapping[str, Any]:
        return {**found.defaults, **by_version.get((name, version), {})}

    return of


def orders_of(found: TorchServeSettings, store: Path | None, models: str | None) -> list[Order]:
    """The archives to start with: `models` of the command line before `load_models`; a snapshot's own.

    Raises UsageError without a model store, NotFound for an archive that is not there.
    """
    names = models or found.load_models
    if not names and not found.is_snapshot:
        return []
    if store is None:
        raise UsageError("the archives to load are in a model store", hint="--model-store DIR, or model_store=DIR")
    if names:
        return of_store(store, names)
    return [
        Order(existing(str(store / str(each.file))), each.name, None, each.workers, each.file, each.values)
        for each in found.models
    ]


def keeps_snapshot(
    file: Path | None, store: Path | None, found: TorchServeSettings
) -> Callable[[Registry], None] | None:
    """What keeps the snapshot up to date. Raises UsageError without a model store: it names archives by it."""
    if file is None:
        return None
    if store is None:
        raise UsageError("a snapshot is of a model store", hint="--model-store DIR")
    return Snapshot(file, store, found.properties).save
