"""A model version that is served: its archive, its settings, its workers, and where they run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiver.config.origins import Origin
from runner.counting import ModelMetrics
from runner.metrics import Gauges
from runner.pool.environments import Environment
from runner.pool.link import Link
from runner.pool.model import Model
from runner.pool.placement import Placement
from runner.pool.supervisor import Seat, Supervisor

log = logging.getLogger("archive.server")


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is known about it.

    `url`: the archive as the user or its model store names it, `path`: where it is; `digest`: sha256 of its
    content; `settings`: every effective value with its origin; `not_applied`: what is declared and has no effect
    here; `manifest`: as the archive has it; `seat`: a worker's number → what it is to load, and where;
    `environment`: the one with its requirements, None for the server's own; `at_startup`: the server started with it;
    `workflow`: the one whose node it is.
    """

    url: str
    path: Path
    digest: str
    manifest: dict[str, Any]
    settings: list[dict[str, Any]]
    not_applied: list[str]
    placement: Placement
    model: Model
    supervisor: Supervisor
    metrics: ModelMetrics
    seat: Callable[[int], Seat]
    environment: Environment | None = None
    at_startup: bool = True
    workflow: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether every declared worker is READY."""
        return self.supervisor.ready_workers >= self.supervisor.size

    @property
    def can_answer(self) -> bool:
        """Whether at least one worker is READY."""
        return self.supervisor.ready_workers > 0

    @property
    def lacks(self) -> str | None:
        """The requirements file of the archive that is not installed."""
        file: str | None = self.manifest.get("model", {}).get("requirementsFile")
        return file if self.environment is None else None

    @property
    def memory_limit(self) -> int:
        """Bytes that each worker may have of its own; 0 for no limit."""
        return self.seat(0).load.confinement.memory

    @property
    def links(self) -> list[Link]:
        """The workers, READY ones first, by number."""
        ready = sorted(self.model.links, key=lambda link: (link.retired, link.number))
        return [*ready, *self.supervisor.loading]

    def why_no_worker(self) -> str:
        """The last reason why a worker failed, in one line."""
        error = self.supervisor.last_error
        return f"{error.kind}: {error.message}" if error else "none is ready yet."

    def report(self) -> dict[str, Any]:
        """What was declared, applied and measured, as the first worker reported it."""
        loaded = next((link.loaded for link in self.links if link.loaded is not None), None)
        return loaded.report if loaded else {}

    def log_report(self) -> None:
        """What was declared, applied and measured, for whoever reads the log."""
        for line in self.report().get("lines", []):
            log.info("%s: %s", self.model.name, line)

    def declared_workers(self) -> tuple[int, int]:
        """minWorkers and maxWorkers as they count now."""
        values = {row["key"]: row["value"] for row in self.settings}
        size = self.supervisor.size
        return values.get("minWorkers") or size, values.get("maxWorkers") or size

    def start_with(self, workers: int) -> None:
        """So many workers instead of what the config says; for a deployment that is not started yet."""
        self.supervisor.declare([self.seat(number) for number in range(workers)])
        self.declare_workers(workers, workers)

    def declare_workers(self, least: int, most: int) -> None:
        """The management API has set the number of workers."""
        for row in self.settings:
            if row["key"] in ("minWorkers", "maxWorkers"):
                row["value"] = least if row["key"] == "minWorkers" else most
                row["origin"] = Origin.API.value

    def gauges(self) -> Gauges:
        """What it is like right now."""
        model, supervisor = self.model, self.supervisor
        labels = (model.name, model.version)
        waiting, unanswered = model.batcher.waiting, model.batcher.open
        loads = {link.number: link.loaded.seconds for link in model.links if link.loaded is not None}
        return Gauges(labels, waiting, unanswered, supervisor.size, supervisor.ready_workers, loads, self.report())
