"""config.properties → what this server does with it.

The keys and their defaults are those of TorchServe's ConfigManager. A key without meaning here is named once, a
value that cannot be right is an error with its line.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from archiver.config.findings import Finding, Severity, Where, in_order
from archiver.config.validate import check_values
from archiver.errors import InvalidInput, NotFound
from runner.frontend.cors import Cors
from runner.frontend.listener import Address, Certificate, Surface
from runner.torchserve.addresses import address_of
from runner.torchserve.allowed_urls import prefixes_of, why_not
from runner.torchserve.metric_definitions import read_definitions
from runner.torchserve.models import ModelDefaults, models_of
from runner.torchserve.properties import Property, parse
from runner.wire import MetricDefinition

log = logging.getLogger("archive.server")

_ADDRESSES = {
    "inference_address": (Surface.INFERENCE, "http://127.0.0.1:8080"),
    "management_address": (Surface.MANAGEMENT, "http://127.0.0.1:8081"),
    "metrics_address": (Surface.METRICS, "http://127.0.0.1:8082"),
}
#: What TorchServe listens on when nobody says otherwise.
THREE_ADDRESSES = [(address_of(default), surface) for surface, default in _ADDRESSES.values()]
_RPC = {"grpc_inference": (Surface.INFERENCE, 7070), "grpc_management": (Surface.MANAGEMENT, 7071)}
TWO_RPC_ADDRESSES = [(Address("127.0.0.1", port), surface) for surface, port in _RPC.values()]
#: Keys that set a default for every model → config keys.
_DEFAULTS = {
    "default_workers_per_model": ("minWorkers", "maxWorkers"),
    "default_response_timeout": ("responseTimeout",),
    "default_startup_timeout": ("startupTimeout",),
    "job_queue_size": ("jobQueueSize",),
}
#: Where archives may come from; the second is not TorchServe's, which asks no address where it is.
_URLS = ("allowed_urls", "allowed_private_urls")
_APPLIED = frozenset(
    {
        *_ADDRESSES,
        *_DEFAULTS,
        *(
            "model_store",
            "workflow_store",
            "load_models",
            "models",
            "model_snapshot",
            "max_request_size",
            "unregister_model_timeout",
        ),
        *("service_envelope", "cors_allowed_origin", "cors_allowed_methods", "cors_allowed_headers"),
        *("certificate_file", "private_key_file", "disable_token_authorization", "token_expiration_min"),
        *(f"{name}_{part}" for name in _RPC for part in ("address", "port")),
        *("enable_grpc_ssl", "enable_model_api", "enable_metrics_api", "blacklist_env_vars", "enable_envvars_config"),
        *("disable_system_metrics", "use_env_allowed_urls", "metrics_config", *_URLS),
        *("metrics_mode", "metric_time_interval", "install_py_dep_per_model"),
    }
)
#: What has an effect in TorchServe and none here → what happens instead.
_INSTEAD = {
    "keystore": "name PEM files with certificate_file and private_key_file "
    "(`openssl pkcs12 -in KEYSTORE -nodes -out server.pem`)",
    "number_of_gpu": "all GPUs are used; deviceIds in a model's config chooses",
    "max_response_size": "answers of any size are sent",
    "decode_input_request": "JSON and text are decoded before a handler sees them",
    "default_service_handler": "an archive names its handler",
    "system_metrics_cmd": "what a machine does is for its own exporter",
    "plugins_path": "there are no plugins",
    **dict.fromkeys(
        (f"ts_header_key_sequence_{part}" for part in ("id", "start", "end")), "headers keep their names"
    ),
    "limit_max_image_pixels": "Pillow's own limit holds",
}
#: Values of these that ask for nothing that is not so here.
_AS_HERE = {
    **dict.fromkeys(("limit_max_image_pixels", "decode_input_request"), "true"),
}
#: Knobs of TorchServe's own machinery; nothing is lost without them.
_MOOT = frozenset(
    {
        *("number_of_netty_threads", "netty_client_threads", "prefer_direct_buffer", "use_native_io", "io_ratio"),
        *("keystore_pass", "keystore_type", "model_metrics_auto_detect", "async_logging"),
        *("model_server_home", "initial_worker_port", "initial_distribution_port"),
        *("cpp_log_config", "ts_open_inference_protocol", "ipex_enable", "ipex_gpu_enable", "cpu_launcher_enable"),
        *("cpu_launcher_args", "python", "vmargs", "debug", "version", "tsConfigFile", "logs", "plugins"),
        *("grpc_inference_max_connection_age_ms", "grpc_inference_max_connection_age_grace_ms"),
        *("grpc_management_max_connection_age_ms", "grpc_management_max_connection_age_grace_ms"),
    }
)
_VARIABLE = re.compile(r"\$\$(\w+)\$\$")
#: Environment variables (`enable_envvars_config`) whose name is not `TS_` and the key in capitals.
_VARIABLES = {"token_expiration_min": "TS_TOKEN_EXPIRATION_TIME_MIN"}


@dataclass(frozen=True, slots=True)
class TorchServeSettings:
    """`addresses`, and `rpc` for gRPC, are empty when the file names none. `defaults`: config keys for every model;
    `models`: for one version, with what a snapshot says of it when `is_snapshot`. `checks_tokens` and `model_api` are
    None where the file does not say. `allowed_urls`: prefixes; `private_urls`: those of hosts in private networks, a
    key of ours. `hidden_variables`: None where there is no file. `ignored`: a sentence per key that has no effect
    here; `properties`: all, as written."""

    addresses: list[tuple[Address, Surface]] = field(default_factory=list)
    rpc: list[tuple[Address, Surface]] = field(default_factory=list)
    model_store: Path | None = None
    workflow_store: Path | None = None
    load_models: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    models: list[ModelDefaults] = field(default_factory=list)
    is_snapshot: bool = False
    max_request_size: int = 64_000_000
    unregister_timeout: float = 120.0
    envelope: str | None = None
    cors: Cors | None = None
    certificate: Certificate | None = None
    checks_tokens: bool | None = None
    token_minutes: float = 60.0
    model_api: bool | None = None
    metrics_api: bool = True
    hidden_variables: str | None = None
    installs: bool = False
    host_metrics: bool = True
    metrics_defined: Sequence[MetricDefinition] = field(default_factory=list)
    metrics_log: Path | None = None
    metrics_interval: float = 60.0
    allowed_urls: Sequence[str] = field(default_factory=list)
    private_urls: Sequence[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    properties: Mapping[str, str] = field(default_factory=dict)

    def log_ignored(self) -> None:
        """Say once what has no effect."""
        for sentence in self.ignored:
            log.warning("%s", sentence)


def read_settings(path: Path, environment: Mapping[str, str]) -> TorchServeSettings:
    """Raises NotFound and InvalidInput."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror or error}", hint="--ts-config FILE") from error
    return settings_of(parse(text), str(path), environment)


def settings_of(properties: list[Property], file: str, environment: Mapping[str, str]) -> TorchServeSettings:
    """Raises InvalidInput with every value that cannot be right."""
    reading = _Reading(properties, file, environment)
    found = reading.settings()
    if reading.findings:
        raise InvalidInput(in_order(reading.findings), spared="nothing was started")
    return found


class _Reading:
    """One file on its way to settings; what is wrong is collected in `findings`."""

    def __init__(self, properties: list[Property], file: str, environment: Mapping[str, str]) -> None:
        self._file = file
        self._properties = {each.key: each for each in properties}
        self._environment = environment
        self.findings: list[Finding] = []
        if self._flag("enable_envvars_config"):
            self._take_from_environment()
        if self._flag("use_env_allowed_urls"):
            self._take("allowed_urls")
        self._prefixes = {key: self._value(key, prefixes_of, ([], [])) for key in _URLS}

    def settings(self) -> TorchServeSettings:
        snapshot = "model_snapshot" in self._properties
        return TorchServeSettings(
            addresses=self._addresses(),
            rpc=self._rpc(),
            model_store=self._value("model_store", Path, None),
            workflow_store=self._value("workflow_store", Path, None),
            load_models=self._load_models(snapshot),
            defaults=self._defaults(),
            models=self._value("model_snapshot" if snapshot else "models", self._models, []),
            is_snapshot=snapshot,
            max_request_size=self._value("max_request_size", _natural, 64_000_000),
            unregister_timeout=self._value("unregister_model_timeout", _natural, 120),
            envelope=self._value("service_envelope", str, None),
            cors=self._cors(),
            certificate=self._certificate(),
            checks_tokens=_negated(self._value("disable_token_authorization", _boolean, None)),
            token_minutes=self._value("token_expiration_min", _natural, 60),
            model_api=self._value("enable_model_api", _boolean, None),
            metrics_api=self._value("enable_metrics_api", _boolean, True),
            host_metrics=not self._flag("disable_system_metrics"),
            hidden_variables=self._value("blacklist_env_vars", _pattern, ""),
            installs=self._flag("install_py_dep_per_model"),
            metrics_defined=self._value("metrics_config", lambda text: read_definitions(_file(text)), []),
            metrics_log=self._metrics_log(),
            metrics_interval=self._value("metric_time_interval", _natural, 0) or 60,
            allowed_urls=self._prefixes["allowed_urls"][0],
            private_urls=self._prefixes["allowed_private_urls"][0],
            ignored=[*self._ignored(), *self._not_allowed()],
            properties={key: each.value for key, each in self._properties.items()},
        )

    def _take_from_environment(self) -> None:
        for key in _APPLIED - {*_URLS}:
            self._take(key)

    def _take(self, key: str) -> None:
        value = self._environment.get(_VARIABLES.get(key, f"TS_{key.upper()}"))
        if value is not None:
            self._properties[key] = Property(key, value, 0)

    def _value(self, key: str, read: Callable[[str], Any], default: Any) -> Any:
        """The key's value as `read` has it; blank ones are not there, as in TorchServe."""
        found = self._properties.get(key)
        if found is None or not found.value.strip():
            return default
        try:
            return read(self._with_variables(found.value.strip()))
        except ValueError as error:
            self._wrong(found, str(error))
            return default

    def _with_variables(self, text: str) -> str:
        """`$$NAME$$` is the environment's."""

        def value_of(match: re.Match[str]) -> str:
            value = self._environment.get(match.group(1))
            if value is None:
                raise ValueError(f"the environment has no variable {match.group(1)}")
            return value

        return _VARIABLE.sub(value_of, text)

    def _flag(self, key: str) -> bool:
        return bool(self._value(key, _boolean, False))

    def _wrong(self, found: Property, message: str) -> None:
        where = Where(self._file, found.line or None, None, found.key)
        self.findings.append(Finding("server/value", Severity.ERROR, where, f"{found.key}: {message}"))

    def _addresses(self) -> list[tuple[Address, Surface]]:
        if not any(key in self._properties for key in _ADDRESSES):
            return []
        return [
            (self._value(key, address_of, None) or address_of(default), surface)
            for key, (surface, default) in _ADDRESSES.items()
        ]

    def _rpc(self) -> list[tuple[Address, Surface]]:
        if not any(f"{name}_{part}" in self._properties for name in _RPC for part in ("address", "port")):
            return []
        secure = self._flag("enable_grpc_ssl")
        return [
            (
                Address(
                    self._value(f"{name}_address", str, "127.0.0.1"),
                    self._value(f"{name}_port", _natural, port),
                    secure=secure,
                ),
                surface,
            )
            for name, (surface, port) in _RPC.items()
        ]

    def _load_models(self, snapshot: bool) -> str | None:
        names: str | None = self._value("load_models", str, None)
        return None if names is None or names.lower() == "none" or snapshot else names

    def _defaults(self) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        for key, targets in _DEFAULTS.items():
            # TorchServe's 0 stands for its own default.
            number = self._value(key, _natural, 0)
            if number:
                defaults |= dict.fromkeys(targets, number)
                self._check(self._properties[key], defaults)
        return defaults

    def _metrics_log(self) -> Path | None:
        mode = self._value("metrics_mode", _mode, "prometheus")
        return None if mode == "prometheus" else Path(self._environment.get("METRICS_LOCATION") or "logs")

    def _check(self, found: Property, values: Mapping[str, Any]) -> None:
        for finding in check_values(values, self._file):
            if finding.is_error:
                self._wrong(found, finding.message)

    def _models(self, text: str) -> list[ModelDefaults]:
        found = self._properties["model_snapshot" if "model_snapshot" in self._properties else "models"]
        models = models_of(_json(text), snapshot=found.key == "model_snapshot")
        for model in models:
            self._check(found, model.values)
        return models

    def _cors(self) -> Cors | None:
        lists = [self._value(f"cors_allowed_{part}", _words, []) for part in ("origin", "methods", "headers")]
        return Cors(*lists) if lists[0] else None

    def _certificate(self) -> Certificate | None:
        file, key = (self._value(name, _file, None) for name in ("certificate_file", "private_key_file"))
        if file is not None and key is not None:
            return Certificate(file, key)
        wanted = [name for name in _ADDRESSES if self._value(name, str, "").startswith("https:")]
        wanted += ["enable_grpc_ssl"] if self._flag("enable_grpc_ssl") else []
        if wanted and not self.findings:
            message = "TLS needs certificate_file and private_key_file, both PEM"
            if "keystore" in self._properties:
                message += f"; a keystore is not read: {_INSTEAD['keystore']}"
            self._wrong(self._properties[wanted[0]], message)
        return None

    def _ignored(self) -> list[str]:
        sentences = []
        for key, found in self._properties.items():
            place = f"{self._file}:{found.line}"
            if _AS_HERE.get(key) == found.value.strip().lower():
                continue
            if key in _INSTEAD:
                sentences.append(f"{place}: {key} has no effect: {_INSTEAD[key]}")
            elif key not in _APPLIED and key not in _MOOT:
                near = get_close_matches(key, {*_APPLIED, *_INSTEAD, *_MOOT}, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                sentences.append(f"{place}: {key} is no key of TorchServe's and has no effect{hint}")
        return sentences

    def _not_allowed(self) -> list[str]:
        return [
            f"{self._file}:{self._properties[key].line}: {why_not(key, expression)}"
            for key, (_, others) in self._prefixes.items()
            for expression in others
        ]


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"expected true or false, not {text!r}")
    return text.lower() == "true"


def _mode(text: str) -> str:
    if text.lower() not in ("log", "prometheus", "legacy"):
        raise ValueError(f"expected log, prometheus or legacy, not {text!r}")
    return text.lower()


def _negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"expected a whole number, not {text!r}")
    return int(text)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return text


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise ValueError(f"there is no file {text}")
    return Path(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1} of the value") from error
