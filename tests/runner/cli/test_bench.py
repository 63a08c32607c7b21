"""`archive bench`: what is refused before anything starts."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner

from archiver.cli import main
from tests.builders import make_archive


def bench(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture
def sample(tmp_path):
    file = tmp_path / "sample.json"
    file.write_text("[]")
    return file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: nothing to measure\n\nhint: archive bench model.mar"),
        (
            ["--url", "localhost:1", "-i", "x"],
            "error: localhost:1 does not say which model\n\nhint: --url http://local",
        ),
        (["--url", "https://x/predictions/m", "-i", "x"], "error: the load generator speaks plain HTTP only"),
        (["--url", "http://x/predictions/m"], "error: nothing to send: no archive, no input"),
        (["m.mar", "--concurrency", "1,x"], "error: --concurrency 1,x: expected numbers above 0 with commas"),
        (["m.mar", "--concurrency", "0"], "error: --concurrency 0: expected"),
        (["m.mar", "--concurrency", ","], "error: --concurrency ,: expected"),
        (["m.mar", "--rate", "nan"], "error: --rate nan: expected"),
        (["m.mar", "--rate", "5", "--requests", "9"], "error: --requests is for a closed loop"),
        (["m.mar", "--header", "authorization"], "error: --header 'authorization': expected 'NAME: VALUE'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_2(arguments, message):
    done = bench(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(message)


def test_paths_that_are_not_there_are_named(tmp_path, sample):
    assert "error: no such archive: nix.mar" in bench("nix.mar").stderr
    done = bench("--url", "http://127.0.0.1:1/predictions/m", "-i", "nix.json")
    assert (done.exit_code, done.stderr) == (1, "error: there is no input nix.json\n")


def test_an_archive_without_a_sample_says_how_to_give_one(tmp_path):
    done = bench(make_archive(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the archive has no sample to send\n\nhint: name one: --input FILE")


def test_nobody_at_the_address(sample):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = bench("--url", f"http://127.0.0.1:{port}/predictions/m", "-i", sample)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: no answer from http://127.0.0.1:{port}: nothing listens there")


def test_a_bench_of_a_plan_that_cannot_be_measured_is_told_and_the_others_go_on(tmp_path):
    make_archive(tmp_path)
    plan = tmp_path / "plan.yaml"
    plan.write_text("echo: {one: {url: echo.mar}, two: {url: echo.mar}}")
    done = bench(plan)
    assert done.exit_code == 1
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("hint")]
    assert lines == [
        "echo-one",
        "error: the archive has no sample to send",
        "echo-two",
        "error: the archive has no sample to send",
    ]


def test_a_plan_is_not_for_a_server_that_runs_already(tmp_path):
    done = bench(tmp_path / "plan.yaml", "--url", "http://127.0.0.1:1/predictions/m")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (2, "error: a plan starts its own servers")


def test_a_plan_that_makes_no_sense_is_told_before_anything_starts(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("echo: {one: {url: nix.mar}}")
    done = bench(plan)
    assert (done.exit_code, done.stderr) == (1, f"error: {plan} names nix.mar, which is not there\n")
