"""The HTTP surface over workers without processes: each row is answered by a function of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from runner import wire
from runner.frontend.app import App
from runner.frontend.control import Actions
from runner.frontend.health import Health
from runner.frontend.workflow_actions import WorkflowActions
from runner.metrics import Metrics
from runner.pool.control import Control, Order
from runner.pool.deployment import Deployment
from runner.pool.model import Model, ModelState
from runner.pool.placement import Placement
from runner.pool.registry import Registry
from runner.pool.spawner import Spawner
from runner.pool.supervisor import Seat, Supervisor
from runner.workflow.workflows import Workflows
from tests.runner.configs import make_config
from tests.runner.pool.workers import Transport, Worker

Answer = Callable[[wire.Row], wire.Reply]


def echo(row: wire.Row) -> wire.Reply:
    """The row's parameters as text, for tests that look at what arrives."""
    text = ";".join(f"{name}|{kind}|{value.decode()}" for name, kind, value in row.params)
    return wire.Reply(200, "", "text/plain", [], text.encode())


class AnsweringWorker(Worker):
    """Answers every batch as soon as it is written."""

    def __init__(self, model: Model, answer: Answer) -> None:
        super().__init__(model)
        self._answer = answer
        transport = self._transport

        def write(data: Any) -> None:
            Transport.write(transport, data)
            model.loop.call_soon(self._answer_all)

        transport.write = write  # type: ignore[method-assign]  # the one thing that differs

    def _answer_all(self) -> None:
        for run in self.batches():
            self.say(wire.Ran(run.batch, [self._answer(row) for row in run.rows], {"handle": 0.001}))


def deploy(
    registry: Registry,
    metrics: Metrics,
    name: str = "m",
    version: str = "1.0",
    answer: Answer | None = echo,
    **config: Any,
) -> Deployment:
    """A model version with one worker that answers so; without `answer` it has no worker."""
    counters = metrics.model(name, version)
    model = Model(name, version, make_config(**config), counters)
    load = wire.Load(name, version, "", {}, {}, "cpu", 1, None, False)
    supervisor = Supervisor(model, Spawner(), [Seat(0, load)], first_alone=False, on_restart=counters.restarted)
    placement = Placement("cpu", ("cpu",), 1, (None,), None, ((),))
    deployment = Deployment(
        url=f"{name}.mar",
        path=Path(f"{name}.mar"),
        digest="0" * 64,
        manifest={"runtime": "python"},
        settings=[],
        not_applied=[],
        placement=placement,
        model=model,
        supervisor=supervisor,
        metrics=counters,
        seat=lambda number: Seat(number, load),
    )
    registry.add(deployment)
    if answer is not None:
        AnsweringWorker(model, answer)
        model.state = ModelState.READY
    return deployment


def actions_on(registry: Registry, *, allowed: bool = True) -> Actions:
    """The management actions over this registry."""
    return Actions(Control(registry, nothing_to_prepare), allowed=allowed)


async def nothing_to_prepare(order: Order) -> Deployment:
    raise AssertionError(f"{order.path} is not to be registered here")


@asynccontextmanager
async def running_app(
    answer: Answer | None = echo, *, limit: int = 1000, allowed: bool = True, **config: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Deployment]]:
    """A client of an app that serves model `m`, and its deployment."""
    registry, metrics = Registry(), Metrics()
    deployment = deploy(registry, metrics, answer=answer, **config)
    health = Health(registry)
    health.started = True
    workflows = Workflows(Control(registry, nothing_to_prepare), Path, timeout=1)
    app = App(
        registry,
        metrics,
        health,
        limit,
        actions_on(registry, allowed=allowed),
        workflows=WorkflowActions(workflows, None, None, allowed=allowed, registers=True),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client, deployment
