"""TorchServe's metrics.yaml: what it defines, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.errors import InvalidInput, NotFound
from runner.torchserve.metric_definitions import read_definitions
from runner.torchserve.properties import parse
from runner.torchserve.serving import served_as
from runner.torchserve.settings import settings_of
from runner.wire import MetricDefinition

#: The form of the file that ships with TorchServe: anchors, literal dimensions, a section without histograms.
AS_SHIPPED = """\
dimensions:
  - &model_name "ModelName"
  - &level "Level"
  - &hostname "Hostname"

ts_metrics:
  counter:
    - name: Requests2XX
      unit: Count
      dimensions: [*level, *hostname]
    - name: ts_inference_requests_total
      unit: Count
      dimensions: ["model_name", "model_version", "hostname"]

model_metrics:
  # comments are there, too
  gauge:
    - name: HandlerTime
      unit: ms
      dimensions: [*model_name, *level]
  histogram:
    - name: Sizes
      unit: bytes
      dimensions: [Kind, *hostname]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "metrics.yaml"
    file.write_text(text)
    return file


def errors(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read_definitions(written(folder, text))
    return [f"{each.where.line}:{each.where.column}: {each.message}" for each in caught.value.findings]


def test_the_metrics_of_handlers_are_defined_and_the_servers_own_are_not(tmp_path):
    assert read_definitions(written(tmp_path, AS_SHIPPED)) == [
        MetricDefinition("HandlerTime", "ms", "gauge", ["ModelName", "Level"]),
        MetricDefinition("Sizes", "bytes", "histogram", ["Kind"]),
    ]


@pytest.mark.parametrize("text", ["model_metrics:\n", "dimensions: []\nts_metrics: {gauge: }\n"])
def test_sections_may_be_empty(tmp_path, text):
    assert read_definitions(written(tmp_path, text)) == []


def one(line: str) -> str:
    """A file with one counter of handlers, whose fields are this line."""
    return f"model_metrics:\n  counter:\n    - {{{line}}}\n"


GOOD = "unit: count, dimensions: [Level]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_metric: {}\n", ["1:1: model_metric is not a known key"]),
        ("model_metrics:\n  counters: []\n", ["2:3: model_metrics.counters is not a known key"]),
        ("model_metrics: [a]\n", ["1:16: model_metrics must be a mapping, not a list"]),
        ("model_metrics:\n  gauge: {name: a}\n", ["2:10: model_metrics.gauge must be a list, not a mapping"]),
        ("dimensions: Level\n", ['1:13: dimensions must be a list, not "Level"']),
        (one("name: A"), ["3:7: model_metrics.counter[0] has no unit or dimensions"]),
        (one(f"names: A, {GOOD}"), [
            "3:7: model_metrics.counter[0] has no name",
            "3:8: model_metrics.counter[0].names is not a known key",
        ]),
        (one(f"name: 1, {GOOD}"), ["3:14: model_metrics.counter[0].name must be text, not 1"]),
        (one(f"name: a b, {GOOD}"), [
            '3:14: model_metrics.counter[0].name must be letters, digits and _, not "a b"'
        ]),
        (one("name: A, unit: x, dimensions: [a-b]"), ['3:39: the dimension "a-b" must be letters, digits and _']),
        (one("name: A, unit: x, dimensions: [a, a]"), ["3:42: the dimension a stands twice"]),
        ("model_metrics:\n  counter: [x]\n", ['2:13: model_metrics.counter[0] must be a mapping, not "x"']),
        ("model_metrics:\n  counter:\n - x\n", ["3:2: this does not fit the lines above: check the indentation"]),
        ("", ["1:1: the file is empty; TorchServe crashes on an empty config"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_line_and_column(tmp_path, text, expected):
    assert errors(tmp_path, text) == expected


def test_one_name_has_one_definition_in_the_whole_file(tmp_path):
    twice = f"ts_metrics:\n  gauge: [{{name: A, {GOOD}}}]\nmodel_metrics:\n  counter: [{{name: A, {GOOD}}}]\n"
    assert errors(tmp_path, twice) == ["4:20: A is defined twice; the first is on line 2"]


def test_a_file_that_is_not_there_is_said_by_name(tmp_path):
    with pytest.raises(NotFound, match=r"cannot read .*metrics.yaml: No such file"):
        read_definitions(tmp_path / "metrics.yaml")


def test_config_properties_names_the_file(tmp_path):
    file = written(tmp_path, AS_SHIPPED)
    found = settings_of(parse(f"metrics_config={file}"), "config.properties", {})
    assert [each.name for each in served_as(found, {}).metrics_defined] == ["HandlerTime", "Sizes"]
    assert found.ignored == []
    with pytest.raises(InvalidInput) as caught:
        settings_of(parse("metrics_config=/no/where.yaml"), "config.properties", {})
    assert str(caught.value.findings[0].where) == "config.properties:1"
