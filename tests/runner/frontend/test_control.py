from __future__ import annotations

import asyncio
from typing import Any

import httpx

from runner.frontend.app import App
from runner.frontend.control import Actions
from runner.frontend.health import Health
from runner.metrics import Metrics
from runner.pool.control import Control
from runner.pool.model import ModelState
from runner.pool.registry import Registry
from tests.runner.frontend.apps import actions_on, deploy, nothing_to_prepare, running_app
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker


def client_of(registry: Registry, metrics: Metrics) -> httpx.AsyncClient:
    app = App(registry, metrics, Health(registry), 1000, actions_on(registry))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def two_versions() -> tuple[Registry, httpx.AsyncClient]:
    registry, metrics = Registry(), Metrics()
    deploy(registry, metrics, version="1.0")
    deploy(registry, metrics, version="2.0")
    return registry, client_of(registry, metrics)


@in_loop
async def test_the_default_version_is_the_one_that_was_set() -> None:
    _, client = two_versions()
    async with client:
        answer = await client.put("/models/m/2.0/set-default")
        (described,) = (await client.get("/models/m")).json()
    assert answer.json() == {"status": 'Default version successfully updated for model "m" to "2.0"'}
    assert described["modelVersion"] == "2.0"


@in_loop
async def test_setting_a_version_that_is_not_there_changes_nothing() -> None:
    registry, client = two_versions()
    async with client:
        answer = await client.put("/models/m/3.0/set-default")
    assert (answer.status_code, answer.json()["type"]) == (404, "ModelVersionNotFoundException")
    assert registry.get("m").model.version == "1.0"


@in_loop
async def test_a_default_version_stays_while_there_are_others() -> None:
    _, client = two_versions()
    async with client:
        for path in ("/models/m", "/models/m/1.0"):
            answer = await client.delete(path)
            assert answer.status_code == 403
            assert answer.json()["message"] == "Cannot remove default version for model m"


@in_loop
async def test_an_unregistered_model_is_gone_with_its_last_version() -> None:
    _, client = two_versions()
    async with client:
        assert (await client.delete("/models/m/2.0")).json() == {"status": 'Model "m" unregistered'}
        assert (await client.post("/predictions/m/2.0", content=b"x")).status_code == 404
        assert (await client.post("/predictions/m", content=b"x")).status_code == 200
        assert (await client.delete("/models/m")).status_code == 200
        assert (await client.get("/models")).json() == {"models": []}
        assert (await client.delete("/models/m")).json()["message"] == "Model not found: m"


@in_loop
async def test_unregistering_waits_for_the_answer_of_an_accepted_request() -> None:
    async with running_app(None) as (client, deployment):
        worker = Worker(deployment.model)
        asking = asyncio.create_task(client.post("/predictions/m", content=b"x"))
        while not (batches := worker.batches()):
            await asyncio.sleep(0)
        leaving = asyncio.create_task(client.delete("/models/m"))
        while (await client.get("/models/m")).status_code == 200:
            await asyncio.sleep(0)
        assert not leaving.done()
        worker.reply(batches[0])
        assert (await asking).status_code == 200
        assert (await leaving).status_code == 200


@in_loop
async def test_a_model_that_does_not_finish_in_time_is_answered_and_ended() -> None:
    registry, metrics = Registry(), Metrics()
    deployment = deploy(registry, metrics, answer=None)
    Worker(deployment.model)
    async with client_of(registry, metrics) as client:
        actions = Actions(Control(registry, nothing_to_prepare, unregister_timeout=0.01), allowed=True)
        app = App(registry, metrics, Health(registry), 1000, actions)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as operator:
            asking = asyncio.create_task(client.post("/predictions/m", content=b"x"))
            while not deployment.model.batcher.open:
                await asyncio.sleep(0)
            answer = await operator.delete("/models/m")
        assert (answer.status_code, answer.json()["message"]) == (408, "Timed out while cleaning resources: m")
        assert (await asking).status_code == 503


@in_loop
async def test_where_actions_are_not_allowed_nothing_changes() -> None:
    async with running_app(allowed=False) as (client, _):
        for method, path in (("PUT", "/models/m/1.0/set-default"), ("DELETE", "/models/m")):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["type"]) == (403, "ForbiddenException")
        assert (await client.get("/models/m")).status_code == 200


@in_loop
async def test_a_request_whose_body_is_still_arriving_is_answered_before_its_model_ends() -> None:
    begun, rest = asyncio.Event(), asyncio.Event()

    registry, metrics = Registry(), Metrics()
    model = deploy(registry, metrics).model
    predictions = App(registry, metrics, Health(registry), 1000, actions_on(registry)).predictions
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        begun.set()
        await rest.wait()
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predictions/m", "headers": [], "query_string": b""}
    asking = asyncio.create_task(predictions(scope, receive, send))
    await begun.wait()
    leaving = asyncio.create_task(Control(registry, nothing_to_prepare).unregister("m", None))
    while list(registry):
        await asyncio.sleep(0)
    assert not leaving.done()
    rest.set()
    await asyncio.gather(asking, leaving)
    assert sent[0]["status"] == 200
    assert model.state is ModelState.STOPPED
