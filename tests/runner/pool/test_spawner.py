"""The template process for real: forks, deaths, and a torch that does not import."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from runner.pool.spawner import Spawner, TemplateBroken
from tests.runner.loops import in_loop
from tests.runner.pool.limits import few_descriptors


async def forked(spawner: Spawner) -> tuple[int, asyncio.Future[int]]:
    """A worker whose socket is closed again at once, and its exit status to come."""
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    process = await spawner.fork(status.set_result)
    process.sock.close()
    os.close(process.output)
    return process.pid, status


@in_loop
async def test_a_worker_is_forked_and_its_exit_is_told() -> None:
    spawner = Spawner()
    spawner.start()
    pid, status = await forked(spawner)
    assert pid != spawner.pid
    assert await status == 0
    await spawner.close()


@in_loop
async def test_forks_wait_for_the_next_template_when_one_dies() -> None:
    spawner = Spawner()
    spawner.start()
    first = await spawner.platform()
    assert spawner.pid is not None
    dead = spawner.pid
    os.kill(dead, signal.SIGKILL)
    _, status = await forked(spawner)
    assert await status == 0
    assert spawner.pid != dead
    assert await spawner.platform() == first
    await spawner.close()


def test_a_template_that_cannot_import_torch_says_why_and_the_next_fork_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "torch.py"
    broken.write_text("raise ImportError('libtorch is not for this machine')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    @in_loop
    async def story() -> None:
        spawner = Spawner()
        spawner.start()
        with pytest.raises(TemplateBroken, match="libtorch is not for this machine"):
            await spawner.platform()
        broken.unlink()
        _, status = await forked(spawner)
        assert await status == 0
        await spawner.close()

    story()


@in_loop
async def test_a_template_that_does_not_answer_is_replaced() -> None:
    spawner = Spawner(patience=0.2)
    spawner.start()
    await spawner.platform()
    assert spawner.pid is not None
    stopped = spawner.pid
    os.kill(stopped, signal.SIGSTOP)
    _, status = await forked(spawner)
    assert await status == 0
    assert spawner.pid != stopped
    await spawner.close()


@in_loop
async def test_a_fork_for_which_descriptors_run_out_keeps_none() -> None:
    spawner = Spawner()
    spawner.start()
    await spawner.platform()
    with few_descriptors(left=3):
        before = sorted(Path("/dev/fd").iterdir())
        with pytest.raises(OSError, match="Too many open files"):
            await spawner.fork(lambda _: None)
        assert sorted(Path("/dev/fd").iterdir()) == before
    _, status = await forked(spawner)
    assert await status == 0
    await spawner.close()
