"""`python -m tests.chaos [WORD ...]`: play the scenarios whose names hold a word, print a table, exit 1 on faults."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from tests.chaos import changes, clocks, connections, handlers, overload, processes, resources, signals
from tests.chaos.clients import Clients
from tests.chaos.report import Outcome, head, line, total
from tests.chaos.stage import Scenario, Stage

FAMILIES = (processes, handlers, connections, overload, resources, clocks, changes, signals)
#: Seconds for all of it; what has not begun by then fails.
_LIMIT = 360


def _play(scenario: Scenario, clients: Clients) -> Outcome:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        stage = Stage(Path(folder), clients)
        signal.alarm(scenario.seconds)
        try:
            scenario.play(stage)
        except Exception as error:  # whatever stops a scenario is its verdict
            stage.broken.append(f"{type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
    stage.ledger.close()
    return Outcome(scenario.name, stage.ledger, tuple(stage.broken), tuple(stage.notes), time.monotonic() - started)


def _too_long(_: int, __: FrameType | None) -> None:
    raise TimeoutError("the scenario took longer than it may")


def _play_all(scenarios: list[Scenario], clients: Clients) -> list[Outcome]:
    """Those that begin before the time is over."""
    started, outcomes = time.monotonic(), []
    for scenario in scenarios:
        if time.monotonic() - started > _LIMIT:
            break
        outcomes.append(_play(scenario, clients))
        print(line(outcomes[-1]), flush=True)
    print(total(outcomes, time.monotonic() - started))
    return outcomes


def main(words: list[str]) -> int:
    scenarios = [each for family in FAMILIES for each in family.SCENARIOS]
    chosen = [each for each in scenarios if not words or any(word.lower() in each.name.lower() for word in words)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGALRM, _too_long)
    clients = Clients()
    print(head(), flush=True)
    outcomes = _play_all(chosen, clients)
    clients.close()
    left = len(chosen) - len(outcomes)
    if left:
        print(f"{left} scenarios were not played: {_LIMIT} s are over. Is the machine busy?")
    return 0 if outcomes and not left and all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
