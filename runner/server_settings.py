"""How to serve: what the command line and a config.properties come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archiver.store import Gate
from runner.deploying import Defaults, no_defaults
from runner.frontend.cors import Cors
from runner.frontend.listener import Address, Certificate, Surface
from runner.frontend.patience import Patience
from runner.pool.registry import Registry
from runner.wire import Confinement, MetricDefinition


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything has a default but the addresses."""

    #: HTTP addresses and what each serves; `rpc`: the same for gRPC.
    listeners: Sequence[tuple[Address, frozenset[Surface]]]
    rpc: Sequence[tuple[Address, frozenset[Surface]]] = ()
    #: PEM files for the addresses that are https.
    certificate: Certificate | None = None
    cors: Cors | None = None
    #: Bytes of the largest body.
    max_request_size: int = 64_000_000
    #: With slow clients.
    patience: Patience = Patience()

    #: Config keys: of the command line above every archive's own, of the server's config below.
    flags: Mapping[str, Any] = field(default_factory=dict)
    defaults: Defaults = no_defaults
    #: Model and version that answers when none is asked for.
    default_versions: Sequence[tuple[str, str]] = ()
    #: For archives that name none.
    envelope: str | None = None

    #: Folders whose archives may be registered over HTTP; of workflows, the model store when None.
    model_store: Path | None = None
    workflow_store: Path | None = None
    #: Whether models may come and go over HTTP, and prefixes of addresses that they may come from; of the private
    #: ones the host may be in a private network.
    registers: bool = True
    allowed_urls: Sequence[str] = ()
    private_urls: Sequence[str] = ()
    #: Seconds for accepted requests: at the end, and when their model is taken out.
    drain_timeout: float = 30.0
    unregister_timeout: float = 120.0

    #: Which archives are opened at all.
    gate: Gate | None = None
    #: Checkpoints may hold pickles beyond torch's weights_only list.
    trust: bool = False
    #: Archives may install what they require.
    installs: bool = False
    #: What workers give up; `scratch` is the service's to fill in.
    confinement: Confinement = Confinement()
    #: Environment variables that workers see beyond those that libraries read: names, in which * stands for anything.
    passed_variables: Sequence[str] = ()
    #: As in TorchServe, workers see every variable that this pattern does not match; None for ours.
    hidden_variables: str | None = None

    #: Requests need its keys; new ones are good for so many minutes.
    key_file: Path | None = None
    token_minutes: float = 60.0
    #: Strangers may use the server without keys, and, on any address, change its models.
    insecure: bool = False
    open_management: bool = False

    #: /metrics tells of the machine, too.
    host_metrics: bool = True
    #: What holds for metrics of handlers.
    metrics_defined: Sequence[MetricDefinition] = ()
    #: Folder of TorchServe's two logs of metrics, and seconds between their lines.
    metrics_log: Path | None = None
    metrics_interval: float = 60.0

    #: Called when other models are served than before, or other numbers of workers.
    on_change: Callable[[Registry], None] | None = None
