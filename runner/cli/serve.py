"""`archive serve`: parse, call the service, print the ready line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli import console
from archiver.cli.sizes import bytes_of
from archiver.config.schema import Option, options
from archiver.errors import UsageError
from runner.cli.overrides import overrides

if TYPE_CHECKING:
    from archiver.store import Gate
    from runner.frontend.listener import Address, Surface
    from runner.pool.control import Order
    from runner.server_settings import ServerSettings
    from runner.service import Service
    from runner.torchserve.settings import TorchServeSettings
    from runner.wire import Confinement

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


def _orders(
    archives: tuple[str, ...], found: TorchServeSettings, store: Path | None, models: str | None
) -> list[Order]:
    """What to start with; with a model store it may be nothing."""
    from runner.deploying import named
    from runner.torchserve.serving import orders_of

    if models is not None and store is None:
        raise UsageError("--models names archives of a model store", hint="--model-store DIR --models all")
    if store is None and not archives:
        raise UsageError("no archive to serve", hint="archive serve model.mar, or --model-store DIR --models all")
    return [*map(named, archives), *orders_of(found, store, models)]


def announce(service: Service) -> None:
    """What a person needs once everything is READY: where, what, and a line to paste."""
    from runner.frontend.listener import Surface

    url = service.address_of(Surface.INFERENCE)
    management, metrics = (service.address_of(surface) for surface in (Surface.MANAGEMENT, Surface.METRICS))
    ready = [*_ready_for_requests(service)]
    for path, what in ready:
        console.out(f"{console.bold('ready')}  {url}{path}   {what}")
    if not ready:
        console.out(f"{console.bold('ready')}  {url}   no model yet")
        console.out(
            f"try    curl -X POST '{management}/models?url=ARCHIVE'   registers one of the model store; Ctrl-C stops"
        )
        return
    first, _ = ready[0]
    console.out(f"try    curl {url}{first} -H 'Content-Type: application/json' -d @input.json")
    for address in service.rpc_addresses:
        console.out(f"grpc   {address.host}:{address.port}")
    described = first.replace("/predictions/", "/models/").replace("/wfpredict/", "/workflows/")
    pages = ((management, described), (metrics, "/metrics"), (url, "/openapi.json"))
    see = "  ".join(f"{address}{page}" for address, page in pages if address is not None)
    console.out(f"see    {see}   Ctrl-C stops")


def _ready_for_requests(service: Service) -> Iterator[tuple[str, str]]:
    """Paths and what answers there. The nodes of a workflow are its own affair."""
    for workflow in service.workflows or ():
        yield f"/wfpredict/{workflow.name}", f"workflow of {len(workflow.models)} nodes"
    for deployment in service.registry:
        if deployment.workflow is not None:
            continue
        placement, model, count = deployment.placement, deployment.model, deployment.supervisor.size
        processes = model.config.parallel.processes
        spread = f" × {processes} processes" if processes > 1 else ""
        yield (
            f"/predictions/{model.name}",
            f"{model.name} {model.version}, {count} worker{'' if count == 1 else 's'}{spread} × {placement.threads} "
            f"thread{'s' if placement.threads > 1 else ''} on {placement.kind}, "
            f"batches up to {model.config.batch_size}",
        )


@click.command()
@click.argument("archives", nargs=-1, metavar="[NAME=]ARCHIVE...")
@click.option("--host", show_default="127.0.0.1", help="Address to listen on.")
@click.option("--port", show_default="8080", type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Serve gRPC, too; 0 picks a free port.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes per model: minWorkers and maxWorkers.")
@_config_options
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any other config key; repeatable.")
@click.option(
    "--max-request-size",
    show_default="64 MB",
    type=click.IntRange(1),
    help="Largest body, in bytes.",
)
@click.option(
    "--headers-timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds that a client may take to send a request's headers.",
)
@click.option(
    "--body-timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds that it may take for the body; one more for each kilobyte that has come.",
)
@click.option("--drain-timeout", default=30.0, show_default=True, help="Seconds for accepted requests when stopping.")
@click.option(
    "--model-store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder whose archives may be registered over HTTP.",
)
@click.option(
    "--workflow-store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder whose workflow archives may be registered over HTTP; default: the model store.",
)
@click.option(
    "--allow-url",
    "allow_urls",
    multiple=True,
    metavar="PREFIX",
    help="Archives may be registered from addresses that begin so; repeatable.",
)
@click.option(
    "--allow-private-url",
    "allow_private_urls",
    multiple=True,
    metavar="PREFIX",
    help="As --allow-url, from a host that is in a private network; repeatable.",
)
@click.option("--models", metavar="LIST", help="Archives of the model store to start with: all, or [NAME=]FILE,...")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Requests need the keys of this file, as TorchServe's key_file.json; made where there is none.",
)
@click.option(
    "--tls-cert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Speak TLS (1.2 and later) everywhere, with this certificate chain: PEM.",
)
@click.option(
    "--tls-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The certificate's private key: PEM, without a passphrase.",
)
@click.option(
    "--insecure", is_flag=True, default=None, help="Listen beyond this machine without keys: strangers may use it."
)
@click.option(
    "--ts-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A config.properties of TorchServe's; what is asked for on the command line counts more.",
)
@click.option(
    "--metrics-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A metrics.yaml of TorchServe's: units, types and dimensions of what handlers measure.",
)
@click.option(
    "--metrics-log",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for ts_metrics.log and model_metrics.log, as TorchServe writes them; /metrics stays.",
)
@click.option(
    "--snapshot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to keep what is served in, for --ts-config; of the model store.",
)
@click.option(
    "--install-requirements", is_flag=True, help="Let archives install what they require, each set of it apart."
)
@click.option(
    "--require-signature",
    type=click.Path(path_type=Path),
    metavar="KEYS",
    help="Serve only what `archive sign` signed with one of these keys: a PEM file, or a folder of them.",
)
@click.option(
    "--pass-env",
    "passed",
    multiple=True,
    metavar="NAME",
    help="Let handlers see this environment variable of the server, or MY_*; repeatable.",
)
@click.option("--worker-memory", metavar="SIZE", help="Memory that a worker may have of its own, e.g. 4GB.")
@click.option("--worker-files", type=click.IntRange(32), metavar="N", help="Descriptors that a worker may have open.")
@click.option(
    "--sandbox",
    is_flag=True,
    help="Workers read what they need, write temporary files alone, and reach nothing over TCP (Landlock).",
)
@click.option(
    "--sandbox-read",
    "readable",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="What sandboxed workers may read as well: a file or a folder; repeatable.",
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
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    workers: int | None,
    settings: tuple[str, ...],
    max_request_size: int | None,
    headers_timeout: float,
    body_timeout: float,
    drain_timeout: float,
    model_store: Path | None,
    workflow_store: Path | None,
    allow_urls: tuple[str, ...],
    allow_private_urls: tuple[str, ...],
    models: str | None,
    key_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool | None,
    ts_config: Path | None,
    metrics_config: Path | None,
    metrics_log: Path | None,
    snapshot: Path | None,
    install_requirements: bool,
    require_signature: Path | None,
    passed: tuple[str, ...],
    worker_memory: str | None,
    worker_files: int | None,
    sandbox: bool,
    readable: tuple[Path, ...],
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
    from runner.frontend.patience import Patience
    from runner.service import run_service
    from runner.torchserve.metric_definitions import read_definitions
    from runner.torchserve.serving import keeps_snapshot, served_as
    from runner.torchserve.settings import TorchServeSettings, read_settings

    named = {".".join(o.path): config[_parameter(o)] for o in options() if config[_parameter(o)] is not None}
    if workers is not None:
        named |= {"minWorkers": workers, "maxWorkers": workers}
    found = TorchServeSettings() if ts_config is None else read_settings(ts_config, os.environ)
    store = model_store or found.model_store
    asked = {
        "listeners": _listeners(host, port),
        "rpc": _rpc(host, grpc_port),
        "flags": overrides(named, settings),
        "max_request_size": max_request_size,
        "drain_timeout": drain_timeout,
        "patience": Patience(headers_timeout, body_timeout),
        "model_store": model_store,
        "workflow_store": workflow_store,
        "allowed_urls": _prefixes("--allow-url", allow_urls, store),
        "private_urls": _prefixes("--allow-private-url", allow_private_urls, store),
        "key_file": key_file,
        "insecure": insecure,
        "metrics_defined": read_definitions(metrics_config) if metrics_config else None,
        "metrics_log": metrics_log,
        "installs": install_requirements or None,
        "confinement": _confinement(worker_memory, worker_files, sandbox, readable),
        "passed_variables": passed or None,
        "trust": trust,
        "gate": _gate(require_signature),
        "on_change": keeps_snapshot(snapshot, store, found),
    }
    server = _secured(served_as(found, asked), tls_cert, tls_key)
    orders = _orders(archives, found, store, models)
    logs.set_up(log_level, as_json=json_logs)
    found.log_ignored()
    run_service(server, orders, announce, console.progress)


def _gate(keys: Path | None) -> Gate | None:
    """The keys are read once at the start, so that a mistake is told before anything starts."""
    if keys is None:
        return None
    from archiver.signing.keys import read_trusted
    from archiver.signing.verify import Gate

    return Gate(keys, read_trusted)


def _confinement(memory: str | None, files: int | None, sandbox: bool, readable: tuple[Path, ...]) -> Confinement:
    from runner.wire import Confinement

    if readable and not sandbox:
        raise UsageError("--sandbox-read widens a sandbox", hint="--sandbox --sandbox-read PATH")
    limit = 0 if memory is None else bytes_of(memory, "--worker-memory 4GB")
    if memory is not None and not limit:
        raise UsageError("a worker needs memory", hint="--worker-memory 4GB")
    return Confinement(limit, files or 0, sandbox, [str(path.absolute()) for path in readable])


def _secured(server: ServerSettings, cert: Path | None, key: Path | None) -> ServerSettings:
    """With TLS at every address, where the command line names a certificate."""
    from runner.frontend.listener import Certificate

    if cert is None and key is None:
        return server
    if cert is None or key is None:
        raise UsageError("TLS takes a certificate and its key", hint="--tls-cert FILE --tls-key FILE")
    listeners, rpc = (
        [(replace(address, secure=True), surfaces) for address, surfaces in listed]
        for listed in (server.listeners, server.rpc)
    )
    return replace(server, listeners=listeners, rpc=rpc, certificate=Certificate(cert, key))


def _prefixes(option: str, allowed: tuple[str, ...], store: Path | None) -> tuple[str, ...] | None:
    """Checked, so that a mistake is told before anything starts. None where the command line names none."""
    from runner.frontend.downloads import Downloads, NotAllowed

    if allowed and store is None:
        raise UsageError(f"{option} puts archives into a model store", hint="--model-store DIR")
    try:
        Downloads(store or Path(), allowed)
    except NotAllowed as error:
        raise UsageError(f"{option}: {error}", hint=f"{option} https://models.example.com/released/") from error
    return allowed or None


def _rpc(host: str | None, port: int | None) -> list[tuple[Address, frozenset[Surface]]] | None:
    from runner.frontend.listener import EVERYTHING, LOCAL, Address

    return None if port is None else [(Address(host or LOCAL.host, port), EVERYTHING)]


def _listeners(host: str | None, port: int | None) -> list[tuple[Address, frozenset[Surface]]] | None:
    """One address for everything, when the command line names any part of it."""
    from runner.frontend.listener import EVERYTHING, LOCAL, Address

    if host is None and port is None:
        return None
    return [(Address(host or LOCAL.host, LOCAL.port if port is None else port), EVERYTHING)]
