"""`archive serve`: parse, call the service, print the ready line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli import console
from archiver.config.schema import Option, options
from archiver.errors import UsageError
from runner.cli.overrides import overrides

if TYPE_CHECKING:
    from runner.pool.control import Order
    from runner.service import Service

_KINDS: dict[str, click.ParamType[Any]] = {"integer": click.INT, "boolean": click.BOOL, "number": click.FLOAT}


def _option(option: Option) -> Callable[[Any], Any]:
    kind = (
        click.Choice(words) if (words := _words(option)) else _KINDS.get(option.schema.get("type", ""), click.STRING)
    )
    text = f"{option.description.partition('. ')[0].rstrip('.')} [{'.'.join(option.path)}]"
    return click.option(option.flag, _parameter(option), type=kind, help=text)


def _words(option: Option) -> list[str]:
    """The words to choose from; of a setting with several forms those of the one-word form."""
    branches = [option.schema, *option.schema.get("anyOf", ())]
    return next((branch["enum"] for branch in branches if "enum" in branch), [])


def _parameter(option: Option) -> str:
    return "__".join(("config", *option.path))


def _config_options(command: Any) -> Any:
    """The options that the config schema asks for, one per key with `x-flag`: declared there and nowhere else."""
    for option in reversed(list(options())):
        command = _option(option)(command)
    return command


def _orders(archives: tuple[str, ...], store: Path | None, models: str | None) -> list[Order]:
    """What to start with; with a model store it may be nothing."""
    from runner.deploying import named, of_store

    if models is not None and store is None:
        raise UsageError("--models names archives of a model store", hint="--model-store DIR --models all")
    if store is None and not archives:
        raise UsageError("no archive to serve", hint="archive serve model.mar, or --model-store DIR --models all")
    chosen = of_store(store, models) if store is not None and models is not None else []
    return [*map(named, archives), *chosen]


def _announce(service: Service) -> None:
    """What a person needs once everything is READY: where, what, and a line to paste."""
    host, port = service.address
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    for deployment in service.registry:
        placement = deployment.placement
        model = f"{deployment.model.name} {deployment.model.version}"
        workers = f"{placement.workers} worker{'s' if placement.workers > 1 else ''}"
        console.out(
            f"{console.bold('ready')}  {url}/predictions/{deployment.model.name}   {model}, {workers} × "
            f"{placement.threads} thread{'s' if placement.threads > 1 else ''} on {placement.kind}, "
            f"batches up to {deployment.model.config.batch_size}"
        )
    first = next((deployment.model.name for deployment in service.registry), None)
    if first is None:
        console.out(f"{console.bold('ready')}  {url}   no model yet")
        console.out(
            f"try    curl -X POST '{url}/models?url=ARCHIVE'   registers one of the model store; Ctrl-C stops"
        )
        return
    console.out(f"try    curl {url}/predictions/{first} -H 'Content-Type: application/json' -d @input.json")
    console.out(f"see    {url}/models/{first}  {url}/metrics  {url}/openapi.json   Ctrl-C stops")


@click.command()
@click.argument("archives", nargs=-1, metavar="[NAME=]ARCHIVE...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes per model: minWorkers and maxWorkers.")
@_config_options
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any other config key; repeatable.")
@click.option(
    "--max-request-size",
    default=64_000_000,
    show_default=True,
    type=click.IntRange(1),
    help="Largest body, in bytes.",
)
@click.option("--drain-timeout", default=30.0, show_default=True, help="Seconds for accepted requests when stopping.")
@click.option(
    "--model-store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder whose archives may be registered over HTTP.",
)
@click.option("--models", metavar="LIST", help="Archives of the model store to start with: all, or [NAME=]FILE,...")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Requests need the keys of this file, as TorchServe's key_file.json; made where there is none.",
)
@click.option("--trust", is_flag=True, help="Let checkpoints unpickle beyond torch's weights_only allow-list.")
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What goes to stderr.",
)
@click.option("--json-logs", is_flag=True, help="One JSON object per log line.")
def serve(
    archives: tuple[str, ...],
    host: str,
    port: int,
    workers: int | None,
    settings: tuple[str, ...],
    max_request_size: int,
    drain_timeout: float,
    model_store: Path | None,
    models: str | None,
    key_file: Path | None,
    trust: bool,
    log_level: str,
    json_logs: bool,
    **config: Any,
) -> None:
    """Serve archives on one address until Ctrl-C or SIGTERM.

    An ARCHIVE is a .mar, a .tar.gz or a directory, made here or for TorchServe. NAME= serves it under another
    model name. With --model-store, archives can come and go while the server runs.
    """
    from runner import logs
    from runner.service import ServerSettings, run_service

    named = {".".join(o.path): config[_parameter(o)] for o in options() if config[_parameter(o)] is not None}
    if workers is not None:
        named |= {"minWorkers": workers, "maxWorkers": workers}
    flags = overrides(named, settings)
    orders = _orders(archives, model_store, models)
    logs.set_up(log_level, as_json=json_logs)
    server = ServerSettings(host, port, flags, max_request_size, drain_timeout, trust, model_store, key_file)
    run_service(server, orders, _announce, console.progress)
