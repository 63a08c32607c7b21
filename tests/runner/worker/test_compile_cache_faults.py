"""What can happen to the compile cache between two workers, each in a process of its own.

The compiler is a stand-in that leaves a file in the cache folder and can be told to die half-way: what is tested
is the worker around it. `test_compile_cache.py` has the same with inductor.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
HANDLER = """
import os, signal
from pathlib import Path
import torch
from runner.handlers import Handler

HERE = Path(__file__).parent

def stand_in(graph, inputs):
    made = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], "code")
    if not made.exists():
        made.write_text("half")
        if (HERE / "die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        made.write_text("whole")
        with (HERE / "compilations").open("a") as log:
            log.write("x")
    return graph.forward

torch._dynamo.register_backend(stand_in, name="stand_in")

class Mine(Handler):
    def load_model(self):
        torch.manual_seed(0)
        return torch.nn.Linear(8, 4).eval()
    def preprocess(self, payload):
        return torch.full((8,), float(payload))
    def postprocess(self, output):
        return float(output.sum())
"""
START = """
import json, sys
from pathlib import Path
import torch
from tests.runner.worker.sessions import bodies, json_row, make_session
folder = Path(sys.argv[1])
torch.__version__ = sys.argv[2] if len(sys.argv) > 2 else torch.__version__
pt2 = {"compile": {"enable": True, "backend": "stand_in", "dynamic": False}, "minSpeedup": 0.0001}
config = {"pt2": pt2, "warmup": {"input": "sample.json"}, "batchSize": 1}
session = make_session(folder, None, config=config, compile_cache=folder / "cache")
report = session.open()
assert bodies(session.run([json_row(1)], 1))[0][0] == 200
print(json.dumps(report))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "handler.py").write_text(HANDLER)
    (tmp_path / "sample.json").write_text("1")
    return tmp_path


def start(folder, *version):
    """A worker that loads the model, answers one request and prints its report."""
    clean = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    command = [sys.executable, "-c", START, str(folder), *version]
    return subprocess.Popen(command, cwd=ROOT, env=clean, stdout=subprocess.PIPE, text=True)


def report(process):
    """What a worker that served said about its start."""
    output, _ = process.communicate()
    assert process.returncode == 0
    told = json.loads(output.splitlines()[-1])
    assert next(row["status"] for row in told["steps"] if row["name"] == "compile") == "applied"
    return told


def state(process):
    return report(process)["compileCache"]["state"]


def compilations(folder):
    return len((folder / "compilations").read_text())


def test_after_a_worker_killed_while_compiling_the_next_one_starts_afresh_and_says_so(folder):
    (folder / "die").touch()
    with start(folder) as killed:
        killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    (folder / "die").unlink()
    assert state(start(folder)) == "made: what was there is not as it was left"
    assert state(start(folder)) == "found"
    assert compilations(folder) == 1


def test_a_damaged_file_is_thrown_away_compiled_again_and_said(folder):
    key = report(start(folder))["compileCache"]["key"]
    made = folder / "cache" / key / "code"
    made.write_text("wh0le")
    told = report(start(folder))
    assert told["compileCache"]["state"] == "made: what was there is not as it was left"
    assert "compile cache made: what was there is not as it was left" in told["lines"]
    assert made.read_text() == "whole" and compilations(folder) == 2


def test_another_torch_compiles_for_itself(folder):
    first, other = report(start(folder)), report(start(folder, "99.0"))
    assert first["compileCache"]["key"] != other["compileCache"]["key"]
    assert other["compileCache"]["state"] == "made: nothing was there"
    assert compilations(folder) == 2


def test_of_two_workers_that_start_at_once_one_compiles_and_the_other_finds_it(folder):
    with start(folder) as one, start(folder) as other:
        assert sorted([state(one), state(other)]) == ["found", "made: nothing was there"]
    assert compilations(folder) == 1
