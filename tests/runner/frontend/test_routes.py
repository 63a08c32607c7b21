from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from runner import wire
from tests.runner.frontend.apps import running_app
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker


@in_loop
async def test_ping_is_healthy_only_when_a_worker_can_answer() -> None:
    async with running_app(None) as (client, deployment):
        before = await client.get("/ping")
        Worker(deployment.model)
        after = await client.get("/ping")
    assert (before.status_code, before.json()) == (500, {"status": "Unhealthy"})
    assert (after.status_code, after.json()) == (200, {"status": "Healthy"})


@in_loop
async def test_livez_is_open_and_readyz_follows_the_workers() -> None:
    async with running_app(None) as (client, deployment):
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        worker = Worker(deployment.model)
        assert (await client.get("/readyz")).json()["ready"] is True
        worker.die()
        assert (await client.get("/readyz")).status_code == 503


@in_loop
async def test_models_are_listed_with_their_archives() -> None:
    async with running_app() as (client, _):
        response = await client.get("/models")
    assert response.json() == {"models": [{"modelName": "m", "modelUrl": "m.mar"}]}


@in_loop
async def test_describe_answers_a_list_with_torchserves_keys_and_the_reason_of_the_last_failure() -> None:
    async with running_app(batchSize=4) as (client, deployment):
        deployment.supervisor.last_error = wire.LoadFailed("ValueError", "no", ["line"])
        for path in ("/models/m", "/models/m/1.0", "/models/m/all"):
            (described,) = (await client.get(path)).json()
    assert described["batchSize"] == 4
    assert described["jobQueueStatus"] == {"remainingCapacity": 100, "pendingRequests": 0}
    assert described["workers"][0]["status"] == "READY"
    assert described["lastError"] == {"type": "ValueError", "message": "no", "trace": ["line"]}


@in_loop
async def test_describe_of_what_is_not_there_is_404() -> None:
    async with running_app() as (client, _):
        assert (await client.get("/models/x")).json()["type"] == "ModelNotFoundException"
        assert (await client.get("/models/m/2")).json()["type"] == "ModelVersionNotFoundException"


@in_loop
async def test_unknown_routes_and_methods_answer_in_the_house_shape() -> None:
    async with running_app() as (client, _):
        assert (await client.get("/nowhere")).json()["type"] == "ResourceNotFoundException"
        assert (await client.put("/ping")).json()["type"] == "MethodNotAllowedException"


@in_loop
async def test_metrics_are_read_by_a_real_prometheus_parser() -> None:
    async with running_app(batchSize=4) as (client, _):
        for _ in range(3):
            await client.post("/predictions/m", content=b"x")
        text = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counts = {sample.name: sample.value for family in families.values() for sample in family.samples}
    assert counts["archive_request_seconds_count"] == 3
    assert counts["archive_queue_seconds_count"] == 3
    assert counts["archive_batch_rows_sum"] == 3
    assert counts["ts_inference_requests_total"] == 3
    assert counts["archive_worker_restarts_total"] == 0
    assert counts["archive_workers_ready"] == 1


@in_loop
async def test_every_route_of_the_openapi_document_is_served() -> None:
    async with running_app(allowed=False) as (client, _):
        document = (await client.get("/openapi.json")).json()
        for path, methods in document["paths"].items():
            url = re.sub(r"{version}", "1.0", path.replace("{model}", "m"))
            for method in methods:
                tensor = {"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}
                body = {"inputs": [tensor]} if url.endswith(("/infer", "/explain")) else None
                response = await client.request(method.upper(), url, json=body)
                manages = path.startswith(("/models", "/workflows")) and not path.endswith("/invoke")
                expected = 403 if manages and method != "get" else 404 if "{workflow}" in path else 200
                assert response.status_code == expected, (method, path)
                assert response.status_code != 404 or "Workflow" in response.json()["type"]


@in_loop
async def test_the_options_of_a_model_are_its_own_routes() -> None:
    async with running_app() as (client, deployment):
        deployment.manifest["description"] = "Digits."
        asking = await client.options("/predictions/m")
        managing = (await client.options("/models/m/1.0")).json()
    document = asking.json()
    assert asking.headers["content-type"] == "application/json"
    assert document["info"] == managing["info"] == {"title": "m", "version": "1.0", "description": "Digits."}
    assert {"/predictions/m", "/predictions/m/1.0", "/v2/models/m/versions/1.0/infer"} < set(document["paths"])
    assert document["paths"]["/predictions/m/1.0"]["post"]["parameters"] == []
    assert set(managing["paths"]) == {"/models/m", "/models/m/1.0", "/models/m/1.0/set-default"}
    names = {each["name"] for each in managing["paths"]["/models/m"]["put"]["parameters"]}
    assert names == {"min_worker", "max_worker", "synchronous"}
    assert not [path for path in (*document["paths"], *managing["paths"]) if "{" in path]


@in_loop
async def test_the_options_of_the_server_are_the_whole_document() -> None:
    async with running_app() as (client, _):
        assert (await client.options("/")).json() == (await client.get("/openapi.json")).json()


@in_loop
async def test_a_model_that_is_not_there_has_no_options() -> None:
    async with running_app() as (client, _):
        answers = [await client.options(path) for path in ("/predictions/x", "/models/x", "/models/m/9")]
    assert [answer.json()["type"] for answer in answers] == [
        *["ModelNotFoundException"] * 2,
        "ModelVersionNotFoundException",
    ]
