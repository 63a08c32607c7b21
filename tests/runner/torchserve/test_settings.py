"""config.properties as settings, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archiver.errors import InvalidInput, NotFound, UsageError
from runner.frontend.listener import LOCAL, Address, Surface
from runner.torchserve.properties import parse
from runner.torchserve.serving import KEY_FILE, keeps_snapshot, orders_of, served_as
from runner.torchserve.settings import TorchServeSettings, read_settings, settings_of


def read(text: str, **environment: str) -> TorchServeSettings:
    return settings_of(parse(text), "config.properties", environment)


def errors(text: str, **environment: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read(text, **environment)
    return [f"{finding.where.line}: {finding.message}" for finding in caught.value.findings]


def test_an_empty_file_changes_nothing() -> None:
    assert read("") == TorchServeSettings(hidden_variables="")


def test_one_address_brings_torchserves_other_two() -> None:
    found = read("inference_address=http://0.0.0.0:8085")
    assert [(str(address), surface) for address, surface in found.addresses] == [
        ("http://0.0.0.0:8085", Surface.INFERENCE),
        ("http://127.0.0.1:8081", Surface.MANAGEMENT),
        ("http://127.0.0.1:8082", Surface.METRICS),
    ]


def test_surfaces_at_the_same_address_share_it() -> None:
    same = "http://127.0.0.1:8085"
    found = read(f"inference_address={same}\nmanagement_address={same}\nmetrics_address=unix:/tmp/metrics.sock")
    assert served_as(found, {}).listeners == [
        (Address("127.0.0.1", 8085), frozenset({Surface.INFERENCE, Surface.MANAGEMENT})),
        (Address(path="/tmp/metrics.sock"), frozenset({Surface.METRICS})),
    ]


def test_without_the_metrics_api_its_address_is_not_listened_on() -> None:
    found = read("inference_address=http://127.0.0.1:8085\nenable_metrics_api=false")
    surfaces = [surface for _, surface in served_as(found, {}).listeners]
    assert surfaces == [frozenset({Surface.INFERENCE}), frozenset({Surface.MANAGEMENT})]


def test_a_file_without_addresses_leaves_the_one_that_is_ours() -> None:
    assert served_as(read("job_queue_size=7"), {}).listeners == [(LOCAL, frozenset(Surface))]


def test_the_command_line_counts_more_than_the_file() -> None:
    found = read("max_request_size=10\nunregister_model_timeout=3")
    settings = served_as(found, {"max_request_size": 20, "key_file": None})
    assert (settings.max_request_size, settings.unregister_timeout, settings.key_file) == (20, 3, None)


def test_defaults_hold_for_every_model_and_the_json_for_its_version() -> None:
    models = '{"m": {"1.0": {"batchSize": 4, "minWorkers": 2, "maxWorkers": 3, "defaultVersion": true}}}'
    found = read(f"default_workers_per_model=1\ndefault_response_timeout=0\njob_queue_size=9\nmodels={models}")
    settings = served_as(found, {})
    everywhere = {"minWorkers": 1, "maxWorkers": 1, "jobQueueSize": 9}
    assert settings.defaults("other", "1.0") == everywhere
    assert settings.defaults("m", "1.0") == {**everywhere, "batchSize": 4, "minWorkers": 2, "maxWorkers": 3}
    assert settings.default_versions == [("m", "1.0")]


def test_values_take_variables_of_the_environment() -> None:
    assert read("model_store=$$HOME$$/store", HOME="/home/me").model_store == Path("/home/me/store")


def test_the_environment_counts_more_than_the_file_where_the_file_allows_it() -> None:
    text = "unregister_model_timeout=1\n"
    assert read(text, TS_UNREGISTER_MODEL_TIMEOUT="5").unregister_timeout == 1
    assert read(text + "enable_envvars_config=true", TS_UNREGISTER_MODEL_TIMEOUT="5").unregister_timeout == 5
    allowed = read("enable_envvars_config=true", TS_TOKEN_EXPIRATION_TIME_MIN="7", TS_LOAD_MODELS="all")
    assert (allowed.token_minutes, allowed.load_models) == (7, "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job_queue_size=many", "1: job_queue_size: expected a whole number, not 'many'"),
        ("enable_model_api=yes", "1: enable_model_api: expected true or false, not 'yes'"),
        (
            "inference_address=localhost:80",
            "1: inference_address: an address is http://HOST:PORT, https://HOST:PORT or unix:/PATH",
        ),
        ("inference_address=unix:tmp", "1: inference_address: a socket's path is absolute: unix:/run/inference.sock"),
        ("inference_address=http://h:80/x", "1: inference_address: an address has no path"),
        ("load_models=$$NO$$", "1: load_models: the environment has no variable NO"),
        ("blacklist_env_vars=(", "1: blacklist_env_vars: '(' is no regular expression: "),
        ("certificate_file=/nowhere", "1: certificate_file: there is no file /nowhere"),
        ("\nmodels={", "2: models: not JSON: "),
        ("models=[]", "1: models: models: expected {…}, not list"),
        ('models={"m": {"1": {"size": 1}}}', "1: models: m 1: there is no setting size"),
        ('models={"m": {"1": {"batchSize": "x"}}}', "1: models: "),
        ('model_snapshot={"models": {"m": {"1": {}}}}', "1: model_snapshot: m 1: marName is missing"),
    ],
)
def test_a_value_that_cannot_be_right_is_named_with_its_line(text: str, message: str) -> None:
    (found,) = errors(text)
    assert found.startswith(message)


def test_https_without_pem_files_is_refused_with_the_way_out_of_a_keystore() -> None:
    (found,) = errors("keystore=a.p12\ninference_address=https://127.0.0.1:8443")
    assert found.startswith("2: inference_address: TLS needs certificate_file and private_key_file")
    assert "openssl pkcs12" in found


def test_keys_without_effect_are_named_once_and_others_not_at_all() -> None:
    found = read("number_of_gpu=1\nnumber_of_netty_threads=4\nmetrics_mode=prometheus\nload_model=all\n")
    assert found.ignored == [
        "config.properties:1: number_of_gpu has no effect: all GPUs are used; deviceIds in a model's config chooses",
        "config.properties:4: load_model is no key of TorchServe's and has no effect; did you mean load_models?",
    ]


def test_tokens_are_checked_and_models_changed_as_the_file_says() -> None:
    silent, strict = served_as(read(""), {}), served_as(read("disable_token_authorization=false"), {})
    assert (silent.key_file, silent.registers, silent.open_management) == (None, True, False)
    assert strict.key_file == KEY_FILE
    assert not served_as(read("enable_model_api=false"), {}).registers
    both = served_as(read("disable_token_authorization=true\nenable_model_api=true"), {})
    assert (both.key_file, both.open_management, both.insecure) == (None, True, True)
    assert not silent.insecure


def test_archives_install_what_they_require_where_the_file_or_the_command_line_says_so() -> None:
    allowed = read("install_py_dep_per_model=true")
    assert (served_as(allowed, {}).installs, allowed.ignored) == (True, [])
    silent = read("install_py_dep_per_model=false")
    assert (served_as(silent, {}).installs, served_as(silent, {"installs": True}).installs) == (False, True)


def test_cors_needs_an_origin() -> None:
    assert read("cors_allowed_methods=GET").cors is None
    found = read("cors_allowed_origin=https://a.org\ncors_allowed_methods=GET, PUT").cors
    assert found is not None
    assert (found.origins, found.methods, found.headers) == (["https://a.org"], ["GET", "PUT"], [])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot read .*nothing"):
        read_settings(tmp_path / "nothing", {})


def store_of(folder: Path) -> Path:
    for name in ("a.mar", "b.mar", "notes.txt"):
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("load", "models", "expected"),
    [
        ("all", None, [("a.mar", None), ("b.mar", None)]),
        ("ALL", "x=b.mar", [("b.mar", "x")]),
        ("none", None, []),
        ("a.mar, y=b.mar", None, [("a.mar", None), ("b.mar", "y")]),
    ],
)
def test_archives_to_start_with(tmp_path: Path, load: str, models: str | None, expected: list[Any]) -> None:
    orders = orders_of(read(f"load_models={load}"), store_of(tmp_path), models)
    assert [(order.path.name, order.name) for order in orders] == expected


def test_archives_without_a_model_store_are_refused() -> None:
    with pytest.raises(UsageError):
        orders_of(read("load_models=all"), None, None)
    with pytest.raises(UsageError):
        keeps_snapshot(Path("snapshot.cfg"), None, read(""))


def test_a_snapshot_brings_its_versions_back_with_their_workers(tmp_path: Path) -> None:
    versions = '{"1.0": {"marName": "b.mar", "minWorkers": 0, "maxWorkers": 0, "batchSize": 3}}'
    found = read(f'load_models=all\nmodel_snapshot={{"models": {{"m": {versions}}}}}')
    (order,) = orders_of(found, store_of(tmp_path), None)
    assert (order.path.name, order.name, order.workers, order.settings) == ("b.mar", "m", 0, {"batchSize": 3})
    assert served_as(found, {}).defaults("m", "1.0") == {}


@pytest.mark.parametrize(("mode", "folder"), [("log", "logs"), ("LEGACY", "logs"), ("prometheus", None)])
def test_the_mode_of_metrics_decides_about_their_log(mode, folder) -> None:
    settings = served_as(read(f"metrics_mode={mode}\nmetric_time_interval=7"), {})
    assert settings.metrics_log == (folder and Path(folder))
    assert settings.metrics_interval == 7


def test_the_log_of_metrics_goes_where_torchserves_goes() -> None:
    assert read("metrics_mode=log", METRICS_LOCATION="/var/log/ts").metrics_log == Path("/var/log/ts")
    assert errors("metrics_mode=loud") == ["1: metrics_mode: expected log, prometheus or legacy, not 'loud'"]
