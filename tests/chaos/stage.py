"""What a scenario plays on: real servers, numbered clients, and expectations that are all heard before it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.clients import Clients, Connection, Load, Reply, connect
from tests.chaos.ledger import Ledger
from tests.e2e.servers import Server, running_server, write_model

#: Answers with what it was sent; every other handler here does so, too, unless it is told to misbehave.
ECHO = """\
def handle(data, context):
    return data and [bytes(row["body"]) for row in data]
"""
TWO_WORKERS = "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\njobQueueSize: 5000\n"
_POLL = 0.01


class Stage:
    """One scenario's. `broken` collects what was not as expected, `notes` what is worth a line in the report."""

    def __init__(self, folder: Path, clients: Clients) -> None:
        self.folder = folder
        self.clients = clients
        self.ledger = Ledger()
        self.broken: list[str] = []
        self.notes: list[str] = []

    def expect(self, holds: object, otherwise: str) -> None:
        """What else must be true; the sentence says what is not."""
        if not holds:
            self.broken.append(otherwise)

    def only(self, *statuses: str) -> None:
        """Expect no other endings than these."""
        others = {status: count for status, count in self.ledger.statuses.items() if status not in statuses}
        self.expect(not others, f"only {', '.join(statuses)} expected, got {others}")

    def model(self, handler: str = ECHO, config: str = TWO_WORKERS, **more: Any) -> Path:
        """An unpacked archive of model `m`."""
        return write_model(self.folder / f"m-{more.get('version', '1.0')}", handler, config=config, **more)

    @contextmanager
    def serve(
        self,
        handler: str = ECHO,
        *arguments: str,
        config: str = TWO_WORKERS,
        wrapper: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Iterator[Server]:
        """`archive serve` with that handler as model `m`, READY."""
        folder, cache = self.model(handler, config), self.folder / "cache"
        with running_server(folder, *arguments, cache=cache, wrapper=wrapper, variables=variables) as server:
            yield server

    @contextmanager
    def serve_archive(self, path: Path) -> Iterator[Server]:
        """`archive serve` with that archive, READY."""
        with running_server(path, cache=self.folder / "cache") as server:
            yield server

    @contextmanager
    def load(self, server: Server, count: int = 16, **how: Any) -> Iterator[Load]:
        """So many clients that post until the block ends; then all answers are in."""
        load = Load(self.clients, server.url, self.ledger, count, **how)
        try:
            yield load
        finally:
            load.stop()

    def answers(self, more: int) -> None:
        """Wait until that many more requests have been answered."""
        target = self.ledger.answers + more
        self.until(lambda: self.ledger.answers >= target, f"{more} more answers")

    def until(self, holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        """Wait for it. Raises TimeoutError, which ends the scenario."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
            time.sleep(_POLL)

    def together(self, server: Server, texts: Sequence[str]) -> list[Reply | None]:
        """All requests at the same moment, each on its own connection, so that they share batches."""
        return self.clients.run(self._together(server.url, texts))

    async def _together(self, url: str, texts: Sequence[str]) -> list[Reply | None]:
        connections: list[Connection] = [await connect(url, self.ledger) for _ in texts]
        asked = [connection.ask(text) for connection, text in zip(connections, texts, strict=True)]
        replies = [await answer for answer in asked]
        for connection in connections:
            connection.hang_up()
        return replies


@dataclass(frozen=True)
class Scenario:
    """`play` raises or tells the stage what is broken; `seconds`: it is ended after so many."""

    name: str
    play: Callable[[Stage], None]
    seconds: int = 45


def open_rows(server: Server) -> int:
    """Requests that the server has accepted and not answered."""
    for line in server.client.get("/metrics").text.splitlines():
        if line.startswith('archive_open_rows{model_name="m",'):
            return int(float(line.split()[-1]))
    return 0


def descriptors(pid: int) -> int:
    """Open file descriptors of a process."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    return next(
        int(line.split()[1]) * 1024
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
