"""`archive create --precompile`: refused with the reason, or an archive that starts without a compiler."""

from __future__ import annotations

import json

import pytest

from tests.e2e.projects import succeeded
from tests.e2e.servers import archive_command, running_server

HANDLER = """
import torch
from runner.handlers import Handler

class Rows(Handler):
    def load_model(self):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.GELU(), torch.nn.Linear(32, 4)).eval()
    def preprocess(self, payload):
        return torch.tensor(payload, dtype=torch.float32)
    def postprocess(self, output):
        return [round(value, 3) for value in output.tolist()]
"""
TOLD = "inductor, ahead of time, frozen"
COMPILED = """
minWorkers: 1
maxWorkers: 1
batchSize: 4
warmup: {input: sample.json}
pt2: {compile: {enable: true, backend: %s}, minSpeedup: 0.0001}
"""


def project(folder, config, handler=HANDLER):
    """A project in `folder`; its `archive create --precompile cpu`."""
    (folder / "handler.py").write_text(handler)
    (folder / "sample.json").write_text("[1, 2, 3, 4, 5, 6]")
    (folder / "model-config.yaml").write_text(config)
    return archive_command(
        *("create", "--model-name", "rows", "--handler", "handler.py:Rows", "--config-file", "model-config.yaml"),
        *("--extra-files", "sample.json", "--precompile", "cpu", "--export-path", "out"),
        cache=folder / "cache",
        cwd=folder,
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("batchSize: 4\nwarmup: {input: sample.json}\n", "nothing to precompile: no compilation is declared"),
        ("pt2: {compile: {enable: true, backend: inductor}}\n", "there is no sample to exercise it"),
        (COMPILED % "eager", "nothing to ship: what was applied leaves no code behind"),
        (COMPILED % "inducter", "no compile backend is called `inducter`"),
    ],
)
def test_what_cannot_be_precompiled_is_said_and_nothing_is_written(tmp_path, config, said):
    done = project(tmp_path, config)
    assert done.returncode == 1, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_model_that_cannot_be_loaded_is_told_with_its_error(tmp_path):
    broken = COMPILED % "inductor"
    (tmp_path / "handler.py").write_text("")
    done = archive_command(
        *("create", "--model-name", "rows", "--handler", "base_handler", "--config-file", "c.yaml", "--no-check"),
        *("--extra-files", "s.json", "--precompile", "cpu"),
        cache=tmp_path / "cache",
        cwd=_with(tmp_path, **{"c.yaml": broken.replace("sample.json", "s.json"), "s.json": "[1]"}),
    )
    assert done.returncode == 1
    assert "RuntimeError: No model weights could be loaded" in done.stderr
    assert not (tmp_path / "rows.mar").exists()


def _with(folder, **files):
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
def test_a_precompiled_archive_starts_with_what_it_brings(tmp_path):
    succeeded(project(tmp_path, COMPILED % "inductor"))
    archive = tmp_path / "out" / "rows.mar"
    told = json.loads(succeeded(archive_command("inspect", str(archive), "--json")))
    (entry,) = told["manifest"]["precompiled"]
    assert {row["name"]: row["applied"] for row in entry["report"]["steps"]}["compile"] == TOLD
    succeeded(archive_command("verify", str(archive)))
    assert started(archive, cache=tmp_path / "fresh") == "shipped with the archive"
    state = started(archive, "--set", "batchSize=2", cache=tmp_path / "other")
    assert state == "made: what the archive brings is for settings.batch_size 4 and not 2"


LOOKING = """
import torch
from runner.handlers import Handler

class Looking(torch.nn.Linear):
    def forward(self, x):
        scores = super().forward(x)
        return scores * 2 if scores.sum().item() > 1e9 else torch.softmax(scores, -1)

class Rows(Handler):
    def load_model(self):
        return Looking(6, 4).eval()
    def preprocess(self, payload):
        return torch.tensor(payload, dtype=torch.float32)
    def postprocess(self, output):
        return output.tolist()
"""


@pytest.mark.slow
def test_a_model_that_is_no_one_graph_ships_the_compilers_cache(tmp_path):
    succeeded(project(tmp_path, (COMPILED % "inductor").replace("batchSize: 4", "batchSize: 2"), LOOKING))
    archive = tmp_path / "out" / "rows.mar"
    told = json.loads(succeeded(archive_command("inspect", str(archive), "--json")))
    assert any(file["name"].endswith(".so") for file in told["files"] if file["role"] == "precompiled")
    assert started(archive, cache=tmp_path / "fresh") == "shipped with the archive"


def started(*arguments, cache):
    """What the compile cache of a server was, which then answers."""
    with running_server(*arguments, cache=cache) as server:
        assert server.predict([1, 2, 3, 4, 5, 6], model="rows").status_code == 200
        return server.describe("rows")["applied"]["compileCache"]["state"]
