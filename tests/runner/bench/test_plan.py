"""TorchServe's benchmark YAML → benches."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.errors import InvalidInput, NotFound
from runner.bench.asked import Asked
from runner.bench.plan import WrongPlan, cases
from runner.bench.sender import Way

COMMON = Asked(
    None, None, (Way(1, None, 64, 1.0, 5.0, None, 30.0), Way(4, None, 64, 1.0, 5.0, None, 30.0)), 3, None, None
)
MNIST = """
mnist:
  eager_mode:
    benchmark_engine: ab
    url: mnist.mar
    workers: [2, 4]
    batch_delay: 100
    batch_size: [1, 8]
    input: 0.png
    requests: 10000
    concurrency: [10, 100]
    backend_profiling: False
    exec_env: local
    processors:
      - cpu
      - gpus: all
"""


def written(folder: Path, text: str) -> Path:
    for name in ("mnist.mar", "0.png"):
        (folder / name).write_bytes(b"")
    (folder / "plan.yaml").write_text(text)
    return folder / "plan.yaml"


def test_every_combination_is_a_bench_with_its_settings(tmp_path):
    found = cases(written(tmp_path, MNIST), COMMON)
    assert [case.name for case in found][:3] == [
        "mnist-eager_mode-w2-cpu-b1-d100",
        "mnist-eager_mode-w2-cpu-b8-d100",
        "mnist-eager_mode-w4-cpu-b1-d100",
    ]
    assert len(found) == 8 == len({case.name for case in found})
    last = found[-1].asked
    assert (last.archive, last.input) == (tmp_path / "mnist.mar", tmp_path / "0.png")
    assert [(way.concurrency, way.count) for way in last.ways] == [(10, 10000), (100, 10000)]
    settings = ("--set", "deviceType=gpu", "--set", "batchSize=8", "--set", "maxBatchDelay=100")
    assert last.arguments == ("--workers", "4", *settings)
    assert last.flags == {
        "deviceType": "gpu",
        "batchSize": 8,
        "maxBatchDelay": 100,
        "minWorkers": 4,
        "maxWorkers": 4,
    }


def test_what_the_plan_does_not_say_is_as_the_command_line_says(tmp_path):
    (only,) = cases(written(tmp_path, "m: {eager_mode: {url: mnist.mar, requests: 50}}"), COMMON)
    assert only.name == "m-eager_mode" and only.asked.arguments == ()
    assert [(way.concurrency, way.count) for way in only.asked.ways] == [(1, 50), (4, 50)]


def test_a_file_of_files_is_read_too(tmp_path):
    (tmp_path / "models_config").mkdir()
    written(tmp_path / "models_config", "m: {eager_mode: {url: mnist.mar}}").rename(tmp_path / "models_config/m.yaml")
    (tmp_path / "auto.yaml").write_text("ts_version: {branch: master}\nmodels: [m.yaml]\nhardware: cpu\n")
    (only,) = cases(tmp_path / "auto.yaml", COMMON)
    assert only.asked.archive == tmp_path / "models_config" / "mnist.mar"


def test_an_address_is_not_downloaded_but_a_copy_beside_the_file_is_taken(tmp_path):
    plan = written(tmp_path, "m: {e: {url: https://example.com/mar_files/mnist.mar}}")
    assert cases(plan, COMMON)[0].asked.archive == tmp_path / "mnist.mar"
    (tmp_path / "mnist.mar").unlink()
    with pytest.raises(WrongPlan, match="https://example.com/mar_files/mnist.mar is not on this machine") as caught:
        cases(plan, COMMON)
    assert caught.value.hint == "download it beside plan.yaml and write `url: mnist.mar`"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no model to measure"),
        ("m: 3", "m: expected a mapping of modes to settings"),
        ("m: {e: [1]}", "m: expected a mapping of modes to settings"),
        ("m: {e: {workers: 1}}", "m-e: `url` names no archive"),
        ("m: {e: {url: mnist.mar, workers: many}}", "m-e: workers must be whole numbers from 1 on, not many"),
        ("m: {e: {url: mnist.mar, batch_size: []}}", "m-e: batch_size must be whole numbers from 1 on"),
        ("m: {e: {url: mnist.mar, concurrency: [0]}}", "m-e: concurrency must be whole numbers from 1 on"),
        ("m: {e: {url: mnist.mar, processors: [tpu]}}", "m-e: processors must be `cpu` or `gpus: all`, not tpu"),
    ],
)
def test_what_cannot_be_measured_is_said_with_its_place(tmp_path, text, message):
    plan = written(tmp_path, text)
    with pytest.raises(WrongPlan) as caught:
        cases(plan, COMMON)
    assert str(caught.value).startswith(f"{plan}: {message}")


def test_files_that_are_not_there_and_text_that_is_no_yaml_are_said(tmp_path):
    with pytest.raises(NotFound, match="there is no benchmark file"):
        cases(tmp_path / "nix.yaml", COMMON)
    with pytest.raises(NotFound, match="names nix.mar, which is not there"):
        cases(written(tmp_path, "m: {e: {url: nix.mar}}"), COMMON)
    with pytest.raises(InvalidInput):
        cases(written(tmp_path, "m: [1"), COMMON)
