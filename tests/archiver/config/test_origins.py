"""Layers of settings → one value each, with its origin."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from archiver.config.model import ModelConfig, from_plain, to_plain
from archiver.config.origins import Effective, Origin, effective


def config(yaml: dict[str, Any], device: str | None = None) -> ModelConfig:
    return ModelConfig.from_values(effective({Origin.YAML: yaml}, device).values, yaml)


@pytest.mark.parametrize(("stronger", "weaker"), list(combinations(Origin, 2)))
def test_the_stronger_origin_wins(stronger: Origin, weaker: Origin) -> None:
    settled = effective({weaker: {"batchSize": 2}, stronger: {"batchSize": 3}})

    assert (settled.values["batchSize"], settled.origins["batchSize"]) == (3, stronger)


def test_a_nested_value_is_overridden_alone() -> None:
    settled = effective(
        {
            Origin.YAML: {"pt2": {"compile": {"enable": True, "mode": "default"}}},
            Origin.FLAG: {"pt2": {"compile": {"enable": False}}},
        }
    )

    assert settled.values["pt2"]["compile"]["mode"] == "default"
    assert settled.origins["pt2.compile.enable"] is Origin.FLAG
    assert settled.origins["pt2.compile.mode"] is Origin.YAML
    assert settled.origins["pt2.compile.backend"] is Origin.DEFAULT


def test_a_free_mapping_is_replaced_as_a_whole() -> None:
    options = {"max_autotune": True}
    settled = effective(
        {
            Origin.YAML: {"pt2": {"compile": {"options": {"epilogue_fusion": True}}}},
            Origin.API: {"pt2": {"compile": {"options": options}}},
        }
    )

    assert settled.values["pt2"]["compile"]["options"] == options


def test_a_block_that_a_stronger_layer_empties_leaves_no_origins_behind() -> None:
    settled = effective(
        {Origin.YAML: {"pt2": {"compile": {"mode": "default"}}}, Origin.API: {"pt2": {"compile": None}}}
    )

    assert settled.values["pt2"]["compile"] is None
    assert [key for key in settled.origins if key.startswith("pt2.compile")] == ["pt2.compile"]


@pytest.mark.parametrize(("device", "size"), [("cpu", 2), ("cuda:1", 4), ("gpu", 4), ("mps", 8), (None, 8)])
def test_the_block_of_the_device_lies_over_the_file(device: str | None, size: int) -> None:
    yaml = {"batchSize": 8, "devices": {"cpu": {"batchSize": 2}, "cuda": {"batchSize": 4}}}
    settled = effective({Origin.YAML: yaml}, device)

    assert settled.values["batchSize"] == size
    assert settled.origins["batchSize"] is (Origin.DEVICE if size < 8 else Origin.YAML)
    assert "devices" not in settled.values


def test_a_flag_wins_over_the_block_of_the_device() -> None:
    yaml = {"devices": {"cpu": {"precision": "bf16"}}}

    assert (
        effective({Origin.YAML: yaml, Origin.FLAG: {"precision": "fp32"}}, "cpu").values["precision"]["dtype"]
        == "fp32"
    )


def test_every_leaf_has_an_origin_and_describe_lists_them_in_the_schemas_order() -> None:
    settled = effective({Origin.YAML: {"handler": {"a.b": 1}, "my.own": 2, "batchSize": 4}})
    rows = settled.describe()

    assert {"key": "batchSize", "value": 4, "origin": "yaml"} in rows
    assert {"key": "my.own", "value": 2, "origin": "yaml"} in rows
    assert {"key": "warmup.iterations", "value": 3, "origin": "default"} in rows
    keys = [row["key"] for row in rows]
    assert keys.index("batchSize") < keys.index("precision.dtype") < keys.index("handler") < keys.index("my.own")


def test_effective_does_not_change_the_layers() -> None:
    yaml: dict[str, Any] = {"pt2": "inductor", "devices": {"cpu": {"batchSize": 2}}}
    effective({Origin.YAML: yaml}, "cpu")

    assert yaml == {"pt2": "inductor", "devices": {"cpu": {"batchSize": 2}}}


def test_nothing_said_is_the_schemas_defaults() -> None:
    plain = config({})

    assert (plain.min_workers, plain.max_workers, plain.batch_size, plain.batch_policy) == (None, None, 1, "greedy")
    assert (plain.response_timeout, plain.startup_timeout, plain.max_retry_timeout) == (120, 120, 300)
    assert (plain.client_timeout, plain.job_queue_size, plain.row_retry, plain.device_type) == (
        None,
        100,
        True,
        "auto",
    )
    assert plain.precision.dtype is None and plain.precision.mode == "cast"
    assert plain.pt2.compile is None and plain.pt2.min_speedup == 1.02 and not plain.pt2.background
    assert (plain.verify.min_cosine, plain.verify.max_abs_error, plain.verify.action) == (0.999, None, "fallback")
    assert plain.warmup.iterations == 3 and plain.threads.intra_op is None


@pytest.mark.parametrize(
    "pt2",
    [
        "inductor",
        {"backend": "inductor"},
        {"compile": {"enable": True, "backend": "inductor"}},
        {"compile": {}},
    ],
)
def test_every_form_of_pt2_means_compile_with_the_backend(pt2: object) -> None:
    compiled = config({"pt2": pt2}).pt2.compile

    assert compiled is not None and compiled.enable and compiled.backend == "inductor"


def test_flat_arguments_beside_other_keys_of_pt2_are_moved() -> None:
    pt2 = config({"pt2": {"mode": "max-autotune", "buckets": [1, 2], "timeout": 60}}).pt2

    assert pt2.compile is not None and pt2.compile.mode == "max-autotune"
    assert (pt2.buckets, pt2.timeout) == ((1, 2), 60)


def test_export_is_ahead_of_time_and_does_not_compile() -> None:
    pt2 = config({"pt2": {"export": {"aot_compile": True}}}).pt2

    assert pt2.aot_compile and pt2.compile is None


def test_precision_has_a_short_and_a_long_form() -> None:
    assert config({"precision": "bf16"}).precision == config({"precision": {"dtype": "bf16"}}).precision


def test_torchserves_zeros_mean_not_set() -> None:
    zeros = config({"jobQueueSize": 0, "clientTimeoutInMills": 0})

    assert (zeros.job_queue_size, zeros.client_timeout) == (100, None)


def test_a_delay_of_zero_is_honoured() -> None:
    assert config({"maxBatchDelay": 0}).max_batch_delay == 0


def test_torchserve_reads_device_types_in_any_case() -> None:
    assert config({"deviceType": "GPU"}).device_type == "gpu"


def test_a_config_survives_the_wire() -> None:
    full = config(
        {
            "minWorkers": 1,
            "maxWorkers": 2,
            "deviceIds": [0, 1],
            "attention": ["flash", "math"],
            "precision": {"dtype": "bf16", "keep": {"head": "fp32"}},
            "pt2": {"compile": {"options": {"a": [1, {"b": None}]}}, "buckets": [1, 2]},
            "preload": ["json"],
            "handler": {"labels": ["a", "b"], 0: "zero"},
        }
    )

    assert from_plain(to_plain(full)) == full
    assert from_plain(to_plain(config({}))) == config({})


def test_the_wires_form_has_plain_types_only() -> None:
    def kinds(value: Any) -> set[type]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return {type(value)}.union(*(kinds(item) for item in inner))

    plain = to_plain(config({"pt2": {"buckets": [1], "compile": {}}}))

    assert kinds(plain) <= {dict, list, str, int, float, bool, type(None)}


def test_an_effective_config_without_layers_is_complete() -> None:
    settled: Effective = effective({})

    assert set(settled.origins.values()) == {Origin.DEFAULT}
