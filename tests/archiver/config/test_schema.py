"""The schemas themselves: valid, complete, described, and the only source of defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from archiver.config.schema import block, complete, load, names, options, properties, schema_path

#: What TorchServe's front end reads (ModelConfig.java), the typed blocks included.
TORCHSERVE = set(
    """
minWorkers maxWorkers batchSize maxBatchDelay responseTimeout startupTimeout deviceType deviceIds parallelType
parallelLevel torchrun maxRetryTimeoutInSec clientTimeoutInMills jobQueueSize useJobTicket sequenceBatching
sequenceMaxIdleMSec sequenceTimeoutMSec maxSequenceJobQueueSize maxNumSequence continuousBatching
asyncCommunication useVenv
""".split()  # noqa: SIM905 - reads like the list it is
)


def inner_schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, inner in properties(schema).items():
        yield f"{path}{key}", inner
        yield from inner_schemas(inner, f"{path}{key}.")


@pytest.mark.parametrize("name", names())
def test_a_schema_is_itself_valid(name: str) -> None:
    Draft202012Validator.check_schema(load(name))
    assert schema_path(name).is_file()


@pytest.mark.parametrize("name", ["model-config", "project", "manifest"])
def test_every_key_is_described_and_its_default_and_examples_are_valid(name: str) -> None:
    for path, schema in inner_schemas(load(name)):
        assert schema["description"], path
        for value in [
            *schema.get("examples", []),
            *([schema["default"]] if schema.get("default") is not None else []),
        ]:
            assert Draft202012Validator(schema).is_valid(value), (path, value)


def test_every_key_that_torchserve_reads_is_known_and_marked() -> None:
    known = properties(load("model-config"))

    assert sorted(key for key in known if "x-torchserve" in known[key]) == sorted(TORCHSERVE)


def test_every_key_stands_in_a_section_of_the_documentation() -> None:
    assert [key for key, schema in properties(load("model-config")).items() if not schema.get("x-section")] == []


def test_the_overrides_of_a_device_are_exactly_the_keys_marked_as_overridable() -> None:
    known = properties(load("model-config"))
    marked = {key for key, schema in known.items() if "x-overridable" in schema}

    for device in properties(known["devices"]).values():
        assert set(properties(device)) == marked


def test_a_choice_of_forms_leads_to_its_mapping() -> None:
    assert "compile" in block(properties(load("model-config"))["pt2"])["properties"]


def test_completing_nothing_gives_every_default_and_no_optional_block() -> None:
    values = complete(load("model-config"), {})

    assert values["batchSize"] == 1
    assert values["pt2"]["compile"] is None
    assert values["warmup"] == {"iterations": 3}
    assert not {"torchrun", "micro_batching", "devices", "handler", "minWorkers"} & set(values)


def test_completing_fills_a_block_that_is_there_and_keeps_what_it_says() -> None:
    values = complete(load("model-config"), {"pt2": {"compile": {"mode": "max-autotune"}}, "torchrun": {"nnodes": 2}})

    assert values["pt2"]["compile"]["mode"] == "max-autotune"
    assert values["pt2"]["compile"]["backend"] == "inductor"
    assert values["torchrun"]["nproc-per-node"] == 1


def test_defaults_of_one_config_are_not_those_of_another() -> None:
    complete(load("model-config"), {})["preload"].append("x")

    assert complete(load("model-config"), {})["preload"] == []


def test_no_two_options_share_a_flag() -> None:
    flags = [option.flag for option in options()]

    assert len(flags) == len(set(flags)) and "--batch-size" in flags


def test_an_option_knows_where_its_value_goes() -> None:
    (threads,) = [option for option in options() if option.flag == "--threads"]

    assert threads.path == ("threads", "intraOp")
