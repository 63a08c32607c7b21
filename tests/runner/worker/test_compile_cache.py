"""Workers that compile the same model, one after the other, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HANDLER = """
import torch
from runner.handlers import Handler

class Mine(Handler):
    def load_model(self):
        torch.manual_seed(0)
        layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        layer.forward = lambda x: torch.softmax(layer.linear2(torch.nn.functional.gelu(layer.linear1(x))), -1)
        return layer.eval()
    def preprocess(self, payload):
        return torch.full((5, 32), float(payload))
    def postprocess(self, output):
        return float(output.sum())
"""
START = """
import json, sys
from pathlib import Path
from tests.runner.worker.sessions import bodies, json_row, make_session
folder, backend = Path(sys.argv[1]), sys.argv[2]
pt2 = {"compile": {"enable": True, "backend": backend}, "minSpeedup": 0.0001}
config = {"pt2": pt2, "warmup": {"input": "sample.json"}, "batchSize": 4}
session = make_session(folder, None, config=config, compile_cache=folder / "cache")
report = session.open()
assert bodies(session.run([json_row(1)], 1))[0][0] == 200
print(json.dumps(report))
"""


def started(folder, backend):
    """The report of a worker that starts in `folder`."""
    (folder / "handler.py").write_text(HANDLER)
    (folder / "sample.json").write_text("1")
    clean = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    command = [sys.executable, "-c", START, str(folder), backend]
    done = subprocess.run(command, check=True, cwd=ROOT, env=clean, capture_output=True, text=True)
    report = json.loads(done.stdout.splitlines()[-1])
    return report, next(row for row in report["steps"] if row["name"] == "compile")


def test_the_report_says_what_the_cache_did(tmp_path):
    report, row = started(tmp_path, "eager")
    assert row["status"] == "applied"
    assert report["compileCache"]["state"] == "made: nothing was there"
    assert (tmp_path / "cache" / f"{report['compileCache']['key']}.seal.json").is_file()


def libraries_in(seal):
    return {path: digest for path, digest in json.loads(seal.read_text()).items() if path.endswith(".so")}


@pytest.mark.slow
def test_the_second_start_loads_what_the_first_one_compiled(tmp_path):
    first, cold = started(tmp_path, "inductor")
    seal = tmp_path / "cache" / f"{first['compileCache']['key']}.seal.json"
    libraries = libraries_in(seal)
    second, warm = started(tmp_path, "inductor")
    print(f"compile: first start {cold['seconds']} s, second {warm['seconds']} s")
    assert [first["compileCache"]["state"], second["compileCache"]["state"]] == ["made: nothing was there", "found"]
    assert cold["applied"] == warm["applied"] == "inductor, ahead of time, frozen"
    assert libraries_in(seal) == libraries, "something was compiled again"


@pytest.mark.slow
def test_garbage_in_the_cache_costs_a_compile_and_nothing_else(tmp_path):
    report, _ = started(tmp_path, "inductor")
    for path in (tmp_path / "cache" / report["compileCache"]["key"]).rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(b"garbage")
    again, row = started(tmp_path, "inductor")
    assert again["compileCache"]["state"] == "made: what was there is not as it was left"
    assert (row["status"], row["applied"]) == ("applied", "inductor, ahead of time, frozen")
