"""`torchrun`: several processes are one worker. The handler multiplies by a matrix of which each has a part."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.servers import archive_command, running_server, wait_until_gone, write_model

HANDLER = """
import os

import torch
from torch import distributed


class Parts:
    def initialize(self, context):
        self.rank, world = distributed_here()
        if os.path.exists(f"broken-{self.rank}"):
            raise RuntimeError("told to fail")
        self.part = torch.arange(32.0).reshape(4, 8).chunk(world, dim=1)[self.rank]

    def handle(self, data, context):
        rows = torch.tensor([row["body"] for row in data], dtype=torch.float32)
        sums = rows.chunk(distributed.get_world_size(), dim=1)[self.rank] @ self.part.T
        distributed.all_reduce(sums)
        # Only what rank 0 says counts.
        return sums.tolist() if self.rank == 0 else None


def distributed_here():
    distributed.init_process_group("gloo")
    assert os.environ["LOCAL_RANK"] == os.environ["RANK"]
    return distributed.get_rank(), distributed.get_world_size()
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nparallelType: tp\ntorchrun: {nproc-per-node: 2}\n"
ROW, ANSWER = [1, 2, 3, 4, 5, 6, 7, 8], [168.0, 456.0, 744.0, 1032.0]


def other_ranks(worker: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_a_worker_of_two_processes_answers_and_is_replaced_as_a_whole(tmp_path):
    with running_server(write_model(tmp_path / "m", HANDLER, config=CONFIG), cache=tmp_path / "cache") as server:
        assert server.predict(ROW).json() == ANSWER
        described = server.describe()
        assert (described["parallelType"], described["parallelLevel"]) == ("tp", 2)
        assert described["notApplied"] == []
        assert described["placement"]["processesPerWorker"] == 2
        assert "1 worker × 2 processes" in server.said[0]
        for victim in (1, 0):
            (first,) = server.workers()
            (second,) = other_ranks(first)
            os.kill((first, second)[victim], signal.SIGKILL)
            assert server.predict(ROW).json() == ANSWER
            wait_until_gone(first)
            wait_until_gone(second)
            assert server.workers() != [first]
        (first,) = server.workers()
        (second,) = other_ranks(first)
        assert server.stop() == 0
        wait_until_gone(second)
    assert any("rank 1 was ended by SIGKILL; the worker ends with it" in line for line in server.log)


def test_a_rank_that_cannot_load_is_named(tmp_path):
    model = write_model(tmp_path / "m", HANDLER, config=CONFIG, **{"broken-1": ""})

    done = archive_command("serve", "--port", "0", str(model), cache=tmp_path / "cache")

    assert done.returncode == 1
    assert "RuntimeError: rank 1: told to fail" in done.stderr


def test_a_model_of_several_processes_is_not_run_in_one(tmp_path):
    (tmp_path / "row.json").write_text("[1]")
    model = write_model(tmp_path / "m", HANDLER, config=CONFIG)

    done = archive_command("run", str(model), "--input", str(tmp_path / "row.json"), cache=tmp_path / "cache")

    assert done.returncode == 1
    assert "m takes 2 processes (torchrun)" in done.stderr
