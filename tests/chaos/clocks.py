"""Wall clocks that jump under a running server. Moving the machine's takes rights, so the server's is moved alone."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
from datetime import datetime
from pathlib import Path

from tests.chaos.stage import ECHO, TWO_WORKERS, Scenario, Stage
from tests.e2e.servers import Server

_LEAST = 300
_YEAR = 365 * 86_400
#: Deadlines that every request would miss, and every worker, if they were counted on the wall.
_DEADLINES = TWO_WORKERS + "clientTimeoutInMills: 5000\nresponseTimeout: 5\n"


def jumps(stage: Stage) -> None:
    clock = stage.folder / "clock"
    _set(clock, 0)
    variables = {"LD_PRELOAD": str(_shim(stage.folder)), "CHAOS_CLOCK": str(clock)}
    with (
        stage.serve(ECHO, "--json-logs", config=_DEADLINES, variables=variables) as server,
        stage.load(server),
    ):
        for seconds in (10 * _YEAR, -10 * _YEAR, 3600, -1):
            _set(clock, seconds)
            stage.answers(_LEAST)
            os.kill(server.workers()[0], signal.SIGKILL)
            stage.answers(_LEAST)
            stage.until(lambda: len(server.workers()) == 2, "two READY workers")
        years = {year - datetime.now().year for year in _years(server)}
        stage.expect(years >= {10, -10}, f"the clock of the server did not jump: {years}")
    stage.only("200")


def _set(clock: Path, seconds: int) -> None:
    """Add so many seconds to the wall clock of who watches this file."""
    with clock.open("r+b" if clock.exists() else "wb") as file:
        file.write(struct.pack("=q", seconds))


def _shim(folder: Path) -> Path:
    source, library = Path(__file__).with_name("clock.c"), folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return library


def _years(server: Server) -> set[int]:
    """Those of the log's lines."""
    return {datetime.fromisoformat(json.loads(line)["time"]).year for line in server.log if line.startswith("{")}


SCENARIOS = (Scenario("wall clock jumps by years, hours and seconds", jumps),)
