"""Weights on CPUs: mapped, not copied, and counted once however many workers there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from archiver.pack import create
from archiver.project import from_flags
from tests.e2e.servers import running_server

MODEL = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(1024, 1024) for _ in range(10))
    def forward(self, x):
        for layer in self.layers: x = layer(x)
        return x
"""
HANDLER = """
import torch
from runner.handlers import Handler
class H(Handler):
    def preprocess(self, payload): return torch.full((1024,), float(payload))
    def postprocess(self, output): return float(output.sum())
"""
PARTS = (("weight", (1024, 1024)), ("bias", (1024,)))
CONFIG = "minWorkers: 4\nmaxWorkers: 4\nthreads: {intraOp: 1}\nwarmup: {input: sample.json}\n"


def pss_of(pid: int, file: str) -> tuple[int, int]:
    """Bytes of this process's share of a mapped file, and of its private copies of it."""
    share = private = 0
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(file)
        elif inside and line.startswith("Pss:"):
            share += int(line.split()[1]) * 1024
        elif inside and line.startswith("Private_Dirty:"):
            private += int(line.split()[1]) * 1024
    return share, private


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_four_workers_hold_one_copy_of_the_weights(kind: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "handler.py").write_text(HANDLER)
    (tmp_path / "model-config.yaml").write_text(CONFIG)
    (tmp_path / "sample.json").write_text("1")
    weights = {f"layers.{n}.{part}": torch.randn(shape) * 0.01 for n in range(10) for part, shape in PARTS}
    file = tmp_path / f"net.{kind}"
    if kind == "pt":
        torch.save(weights, file)
    else:
        from safetensors.torch import save_file

        save_file(weights, file)
    project = from_flags(
        serialized_file=str(file),
        model_file=str(tmp_path / "model.py"),
        handler=str(tmp_path / "handler.py"),
        config_file=str(tmp_path / "model-config.yaml"),
        extra_files=str(tmp_path / "sample.json"),
        export_path=str(tmp_path),
    )
    archive = create(project).path
    with running_server(archive, cache=tmp_path / "cache") as server:
        assert server.client.post("/predictions/net", json=1).status_code == 200
        shares = [pss_of(pid, file.name) for pid in server.workers("net")]
    size = file.stat().st_size
    assert len(shares) == 4
    assert 0.9 * size < sum(share for share, _ in shares) < 1.1 * size
    assert sum(private for _, private in shares) == 0
