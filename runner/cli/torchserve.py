"""`archive torchserve`: TorchServe's command line, for the scripts that start it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli import console
from archiver.errors import UsageError
from runner.cli.serve import announce

if TYPE_CHECKING:
    from runner.service import Service
    from runner.torchserve.settings import TorchServeSettings

_LOG = "ts_log.log"
_DRAIN = 30.0
#: Longer than accepted requests are given.
_STOP = _DRAIN + 15
_WITHOUT_EFFECT = {
    "log_config": "the log goes to stderr; in the background to logs/ts_log.log",
    "cpp_log_config": "there is no C++ backend",
    "plugins_path": "there are no plugins",
}


@click.command(context_settings={"ignore_unknown_options": False})
@click.option("-v", "--version", is_flag=True, help="Print the version.")
@click.option("--start", is_flag=True, help="Start the server; without --foreground it goes to the background.")
@click.option("--stop", is_flag=True, help="Stop it; what it has accepted is answered first.")
@click.option("--foreground", is_flag=True, help="Stay in the foreground.")
@click.option("--ts-config", type=click.Path(dir_okay=False, path_type=Path), help="config.properties.")
@click.option("--model-store", type=click.Path(file_okay=False, path_type=Path), help="Folder of the archives.")
@click.option(
    "--workflow-store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the workflow archives; default: the model store.",
)
@click.option("--models", metavar="[NAME=]FILE ...", help="Archives to start with, or all.")
@click.option("--no-config-snapshots", "--ncs", is_flag=True, help="Taken and without effect: see --snapshot.")
@click.option("--snapshot", type=click.Path(dir_okay=False, path_type=Path), help="File to keep what is served in.")
@click.option("--disable-token-auth", "--dt", is_flag=True, help="Requests need no key.")
@click.option("--enable-model-api", is_flag=True, help="Models can be registered and unregistered over HTTP.")
@click.option("--trust", is_flag=True, help="Let pickles do more than torch's weights_only list allows.")
@click.option("--log-config", hidden=True)
@click.option("--cpp-log-config", hidden=True)
@click.option("--plugins-path", "--ppath", hidden=True)
@click.argument("more", nargs=-1, metavar="")
def torchserve(
    version: bool,
    start: bool,
    stop: bool,
    foreground: bool,
    ts_config: Path | None,
    model_store: Path | None,
    workflow_store: Path | None,
    models: str | None,
    no_config_snapshots: bool,
    snapshot: Path | None,
    disable_token_auth: bool,
    enable_model_api: bool,
    trust: bool,
    more: tuple[str, ...],
    **without_effect: str | None,
) -> None:
    """Start and stop a server as `torchserve` does: its options, config.properties, addresses and keys.

    Requests need the keys of key_file.json unless --disable-token-auth or disable_token_authorization=true says
    otherwise.
    """
    if version:
        from archiver import __version__

        console.out(f"archive {__version__}")
    elif stop:
        _stop()
    elif not start:
        raise UsageError("nothing to do", hint="archive torchserve --start --model-store DIR --models all")
    elif more and models is None:
        raise UsageError(f"{more[0]} stands alone", hint="--models takes a list: --models a.mar b=b.mar")
    elif not foreground:
        _start_in_background()
    else:
        for option, value in without_effect.items():
            if value is not None:
                console.note(f"--{option.replace('_', '-')} has no effect: {_WITHOUT_EFFECT[option]}")
        names = ",".join([models, *more]) if models else None
        found = _settings(ts_config, disable_token_auth, enable_model_api)
        found = replace(found, workflow_store=workflow_store or found.workflow_store)
        _serve(found, model_store, names, snapshot, trust)


def _start_in_background() -> None:
    from runner.torchserve import background

    log = background.log_folder() / _LOG
    pid = background.start([*sys.argv[1:], "--foreground"], log)
    console.out(f"started  process {pid}, ready; its log is {log}")
    console.out("stop     archive torchserve --stop")


def _stop() -> None:
    from runner.torchserve import background

    console.out("stopped" if background.stop(_STOP) else "no server is running")


def _settings(file: Path | None, no_tokens: bool, model_api: bool) -> TorchServeSettings:
    """The config as TorchServe finds it, and TorchServe's defaults where it does not say."""
    from runner.torchserve.settings import THREE_ADDRESSES, TWO_RPC_ADDRESSES, TorchServeSettings, read_settings

    asked = file or (Path(os.environ["TS_CONFIG_FILE"]) if os.environ.get("TS_CONFIG_FILE") else None)
    there = Path("config.properties")
    path = asked or (there if there.is_file() else None)
    found = TorchServeSettings() if path is None else read_settings(path, os.environ)
    if find_spec("grpc") is None and not found.rpc:
        console.note("gRPC is not served: pip install 'torch-archive[grpc]'")
    return replace(
        found,
        addresses=found.addresses or THREE_ADDRESSES,
        rpc=found.rpc or (TWO_RPC_ADDRESSES if find_spec("grpc") else []),
        checks_tokens=False if no_tokens else found.checks_tokens is not False,
        model_api=model_api or bool(found.model_api),
        hidden_variables=found.hidden_variables or "",
    )


def _serve(
    found: TorchServeSettings, store: Path | None, models: str | None, snapshot: Path | None, trust: bool
) -> None:
    from runner import logs
    from runner.service import run_service
    from runner.torchserve import background
    from runner.torchserve.serving import keeps_snapshot, orders_of, served_as

    store = store or found.model_store
    if store is None or not store.is_dir():
        what = "no model store" if store is None else f"there is no folder {store}"
        raise UsageError(what, hint="--model-store DIR, or model_store=DIR in config.properties")
    asked = {
        "model_store": store,
        "drain_timeout": _DRAIN,
        "trust": trust,
        "on_change": keeps_snapshot(snapshot, store, found),
    }
    orders = orders_of(found, store, models)
    logs.set_up("info", as_json=False)
    found.log_ignored()
    before = background.running()
    if before is not None:
        raise background.AlreadyRunning(before.pid)
    with background.Registration() as registration:

        def ready(service: Service) -> None:
            registration.take()
            announce(service)

        run_service(served_as(found, asked), orders, ready, console.progress)
