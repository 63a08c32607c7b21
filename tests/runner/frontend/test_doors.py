"""The other prediction routes: which model they mean, and what they add to the row."""

from __future__ import annotations

import httpx
import pytest

from runner import wire
from runner.frontend.app import App
from runner.frontend.health import Health
from runner.metrics import Metrics
from runner.pool.registry import Registry
from tests.runner.frontend.apps import actions_on, deploy, running_app
from tests.runner.loops import in_loop

TEXT = {"content-type": "text/plain"}


def explain_header(row: wire.Row) -> wire.Reply:
    return wire.Reply(200, "", "text/plain", [], str(wire.unpack_headers(row.headers).get("explain")).encode())


@pytest.mark.parametrize("path", ["/models/m/invoke", "/invocations", "/m/predict", "/m/1.0/predict"])
def test_every_door_hands_the_body_to_the_model(path: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app() as (client, _):
            response = await client.post(path, content=b"x", headers=TEXT)
            wrong_method = await client.patch(path, content=b"x")
        assert (response.status_code, response.text) == (200, "body|text/plain|x")
        assert wrong_method.status_code == 405

    check()


@pytest.mark.parametrize("path", ["/explanations/m", "/explanations/m/1.0", "/v1/models/m:explain"])
def test_an_explanation_is_a_prediction_with_the_header_explain(path: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(explain_header) as (client, _):
            assert (await client.post(path, content=b"x", headers={"explain": "no"})).text == "True"
            assert (await client.post("/v1/models/m:predict", content=b"x")).text == "None"

    check()


@in_loop
async def test_query_parameters_of_the_sagemaker_routes_become_fields() -> None:
    async with running_app() as (client, _):
        for path in ("/invocations?model_name=m&top=3", "/models/m/invoke?model_name=m&top=3"):
            response = await client.post(path, content=b"x", headers=TEXT)
            assert response.text == "body|text/plain|x;model_name||m;top||3"


@in_loop
async def test_an_invocation_must_name_its_model_when_there_are_several() -> None:
    registry, metrics = Registry(), Metrics()
    deploy(registry, metrics, "a")
    deploy(registry, metrics, "b")
    transport = httpx.ASGITransport(App(registry, metrics, Health(registry), 1000, actions_on(registry)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        unnamed = await client.post("/invocations", content=b"x")
        named = await client.post("/invocations?model_name=b", content=b"x")
        names = await client.get("/v1/models")
    assert (unnamed.status_code, unnamed.json()["message"]) == (400, "Parameter model_name is required.")
    assert named.status_code == 200
    assert names.json() == {"models": ["a", "b"]}


@in_loop
async def test_unknown_models_and_versions_are_404_at_every_door() -> None:
    async with running_app() as (client, _):
        for path in ("/x/predict", "/explanations/x", "/v1/models/x:predict", "/invocations?model_name=x"):
            assert (await client.post(path)).json()["type"] == "ModelNotFoundException", path
        assert (await client.post("/m/2/predict")).json()["type"] == "ModelVersionNotFoundException"
        assert (await client.get("/v1/models/x")).json()["type"] == "ModelNotFoundException"


@in_loop
async def test_a_kserve_model_is_ready_only_with_a_ready_worker() -> None:
    async with running_app() as (client, _):
        assert (await client.get("/v1/models/m")).json() == {"name": "m", "ready": True}
    async with running_app(None) as (client, _):
        assert (await client.get("/v1/models/m")).json() == {"name": "m", "ready": False}
