from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from runner.pool.installing import Installing
from tests.e2e.servers import wait_until_gone
from tests.runner.loops import in_loop


async def started(code: str, lines: list[str]) -> Installing:
    held = os.open(os.devnull, os.O_RDONLY)
    try:
        return await Installing.start([sys.executable, "-c", code], Path("/"), os.environ, held, lines.append)
    finally:
        os.close(held)


@in_loop
async def test_what_it_prints_is_heard_in_full_before_it_has_ended() -> None:
    lines: list[str] = []
    running = await started("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", lines)
    assert await running.ended(20) == 3
    assert sorted(lines) == ["err", "out"]


@in_loop
async def test_what_it_leaves_running_is_not_waited_for() -> None:
    lines: list[str] = []
    code = "import subprocess as s; print(s.Popen(['sleep', '1000']).pid, flush=True)"
    running = await started(code, lines)
    assert await running.ended(20) == 0
    os.kill(int(lines[0]), 9)


@in_loop
async def test_beyond_its_time_it_is_ended_with_all_it_started() -> None:
    lines: list[str] = []
    code = "import subprocess as s; p = s.Popen(['sleep', '1000']); print(p.pid, flush=True); p.wait()"
    running = await started(code, lines)
    while not lines:
        await asyncio.sleep(0.001)
    with pytest.raises(asyncio.TimeoutError):
        await running.ended(0.01)
    await asyncio.to_thread(wait_until_gone, int(lines[0]))


@in_loop
async def test_a_command_that_is_not_there_leaves_no_descriptor_open() -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(FileNotFoundError):
        await Installing.start(["/no/such/program"], Path("/"), os.environ, 0, print)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
