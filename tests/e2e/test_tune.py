"""`archive tune` with real servers: the whole command, an interruption, a death, a limit that nothing keeps."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

import psutil
import pytest

from archiver.archive import Archive
from tests.e2e.servers import archive_command, environment, wait_until_gone, write_model

ECHO = """
class Echo:
    def initialize(self, context):
        self.initialized = True
        self.size = context.system_properties["batch_size"]
    def handle(self, data, context):
        {act}
        return [row.get("body") for row in data]
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nwarmup: {input: sample.json}\n"
SPACE = ["--workers", "1", "--threads", "1", "--compile", "off"]
TWO = ["--batch-sizes", "1,4"]
LOAD = ["--concurrency", "4", "--json"]


def model_that(folder, act="pass"):
    return write_model(folder, ECHO.format(act=act), config=CONFIG, sample__json="[1, 2]")


def tune(model, *more, cache):
    return archive_command("tune", str(model), *SPACE, *LOAD, *map(str, more), cache=cache)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Folder, result of a first run that wrote everything, and of a second one."""
    folder = tmp_path_factory.mktemp("tune")
    model = model_that(folder / "m")
    files = ["--report", folder / "report", "--write", folder / "best.mar"]
    first = tune(model, "--sla-p99", "2s", "--batch-sizes", "4", *files, cache=folder / "c")
    return folder, first, tune(model, "--sla-p99", "1s", "--batch-sizes", "4", cache=folder / "c")


@pytest.mark.slow
def test_a_model_is_tuned_from_archive_to_archive(tuned):
    folder, first, _ = tuned
    assert first.returncode == 0, first.stderr
    chosen = json.loads(first.stdout)["chosen"]
    assert chosen["met"] and chosen["reading"]["throughput"] > 0 and chosen["reading"]["cores"] > 0
    with Archive.open(folder / "best.mar") as archive:
        assert archive.verify() == [] and archive.manifest.parent is not None
    checked = archive_command("validate", str(folder / "best.mar"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (folder / "m" / "model-config.yaml").read_text() == CONFIG
    assert {"tune.json", "tune.html", "tune.md"} <= {file.name for file in (folder / "report").iterdir()}


@pytest.mark.slow
def test_what_does_not_run_is_out_with_its_reason(tuned):
    _, first, _ = tuned
    out = [each for each in json.loads(first.stdout)["tried"] if each["state"] == "out"]
    assert any("the handler exposes no torch module" in each["reason"] for each in out)


@pytest.mark.slow
def test_a_second_run_measures_nothing_that_is_known(tuned):
    _, first, second = tuned
    assert second.returncode == 0, second.stderr
    found = json.loads(second.stdout)
    assert any("of an earlier run" in note for note in found["notes"])
    assert found["chosen"]["reading"] == json.loads(first.stdout)["chosen"]["reading"]
    assert found["seconds"] < json.loads(first.stdout)["seconds"] / 2


@pytest.mark.slow
def test_a_limit_that_nothing_keeps_is_told_with_the_nearest(tuned, tmp_path):
    folder, *_ = tuned
    done = tune(
        folder / "m", "--sla-p99", "0.001ms", "--batch-sizes", "4", "--write", tmp_path / "x.mar", cache=folder / "c"
    )
    assert done.returncode == 1
    assert "error: no configuration is within 0.001 ms: alone, one row takes" in done.stderr
    assert not (tmp_path / "x.mar").exists()


LINEAR = """
import torch
from runner.handlers import Handler

class Wide(Handler):
    def load_model(self):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 8)).eval()
    def preprocess(self, payload):
        return torch.tensor(payload, dtype=torch.float32)
    def postprocess(self, output):
        return output.tolist()
"""


@pytest.mark.slow
def test_what_is_sent_is_the_sample_of_an_archive_that_names_none_and_is_packed(tmp_path):
    model = write_model(tmp_path / "m", LINEAR, config="minWorkers: 1\nmaxWorkers: 1\n")
    (tmp_path / "one.json").write_text(json.dumps([0.5] * 64))
    more = ["--batch-sizes", "4", "--precisions", "bf16", "-i", tmp_path / "one.json", "-o", tmp_path / "best.mar"]
    done = tune(model, "--sla-p99", "2s", *more, cache=tmp_path / "c")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (alone,) = found["alone"]
    assert alone["refused"] is None and alone["accuracy"]["cosine"] > 0.999
    assert any("names no sample" in note for note in found["notes"])
    with Archive.open(tmp_path / "best.mar") as archive:
        assert archive.verify() == [] and archive.read("sample.json") == (tmp_path / "one.json").read_bytes()
    checked = archive_command("validate", str(tmp_path / "best.mar"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


KILLING = """
        if self.size == 4 and len(data) > 0 and context.get_request_id(0) != "sample":
            import psutil
            for parent in psutil.Process().parents():
                if "serve" in parent.cmdline():
                    parent.kill()
"""


@pytest.mark.slow
def test_a_server_that_dies_is_told_and_the_others_go_on(tmp_path):
    model = model_that(tmp_path / "m", KILLING.strip())
    done = tune(model, "--sla-p99", "2s", *TWO, cache=tmp_path / "c")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (failed,) = (each for each in found["tried"] if each["state"] == "failed")
    assert failed["reason"].startswith("the server ended by SIGKILL") and failed["candidate"]["batch_size"] == 4
    assert found["chosen"]["candidate"]["batch_size"] == 1


#: Both batch sizes give about the same rate, so that neither is left out; the second that is measured never answers.
HALTING = """
        import pathlib, time
        time.sleep(len(data) * (0.0049 if len(data) == 4 else 0.005))
        first = pathlib.Path({first!r})
        if context.get_request_id(0) != "sample" and not first.exists():
            first.write_text(str(self.size))
        if context.get_request_id(0) != "sample" and first.read_text() != str(self.size):
            with open({pipe!r}, "wb") as held:
                try:
                    held.write(bytes(2**20))
                except BrokenPipeError:
                    pass
"""


@pytest.mark.slow
def test_an_interruption_ends_with_the_best_so_far_and_no_server_is_left(tmp_path):
    pipe, first = tmp_path / "pipe", tmp_path / "first"
    os.mkfifo(pipe)
    model = model_that(tmp_path / "m", HALTING.format(pipe=str(pipe), first=str(first)).strip())
    command = [sys.executable, "-m", "archiver", "tune", str(model), *SPACE, *TWO, *LOAD, "--sla-p99", "2s"]
    with subprocess.Popen(
        command, env=environment(tmp_path / "c"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(held, "rb"):
            assert select.select([held], [], [], 60)[0], "no request reached the handler"
            children = psutil.Process(running.pid).children()
            running.send_signal(signal.SIGINT)
            for child in children:
                if "serve" not in child.cmdline():
                    wait_until_gone(child.pid)
        out, err = running.communicate(timeout=60)
    for child in children:
        wait_until_gone(child.pid)
    assert running.returncode == 0, err
    assert json.loads(out)["chosen"]["candidate"]["batch_size"] == int(first.read_text())
    assert "note: interrupted; this is the best so far" in err


def test_words_that_are_wrong_are_usage_errors_before_anything_starts(tmp_path):
    model = model_that(tmp_path / "m")
    done = archive_command("tune", str(model), "--sla-p99", "100", cache=tmp_path / "c")
    assert done.returncode == 2
    assert "--sla-p99 100: expected a number above 0 with its unit" in done.stderr
    done = archive_command("tune", str(tmp_path / "none.mar"), "--sla-p99", "100ms", cache=tmp_path / "c")
    assert done.returncode == 1 and "no such archive" in done.stderr


def test_a_model_without_a_sample_is_told_how_to_name_one(tmp_path):
    model = write_model(tmp_path / "m", ECHO.format(act="pass"))
    done = tune(model, "--sla-p99", "2s", cache=tmp_path / "c")
    assert done.returncode == 1 and "the archive has no sample to send" in done.stderr
