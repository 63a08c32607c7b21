from __future__ import annotations

import asyncio

import httpx

from runner import wire
from runner.frontend.predictions import Predictions
from runner.frontend.problems import Problem
from runner.metrics import Metrics
from runner.pool.model import ModelState
from runner.pool.registry import Registry
from tests.runner.frontend.apps import running_app
from tests.runner.loops import in_loop
from tests.runner.pool.workers import Worker

PATH = "/predictions/m"


def problem(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"code", "type", "message"}
    assert body["code"] == response.status_code
    return body["code"], body["type"]


@in_loop
async def test_a_raw_body_travels_with_its_content_type() -> None:
    async with running_app() as (client, _):
        response = await client.post(PATH, content=b"[1]", headers={"content-type": "application/json"})
    assert (response.status_code, response.text) == (200, "body|application/json|[1]")


@in_loop
async def test_form_fields_travel_by_name() -> None:
    async with running_app() as (client, _):
        response = await client.post(PATH, data={"text": "hé", "n": "1"})
    assert response.text == "text||hé;n||1"


@in_loop
async def test_multipart_files_keep_their_content_type() -> None:
    async with running_app() as (client, _):
        response = await client.post(PATH, files={"data": ("x.png", b"png!", "image/png")}, data={"k": "v"})
    assert response.text == "k||v;data|image/png|png!"


@in_loop
async def test_a_broken_multipart_body_is_the_clients_error() -> None:
    async with running_app() as (client, _):
        headers = {"content-type": "multipart/form-data; boundary=x"}
        response = await client.post(PATH, content=b"--x\r\nnonsense", headers=headers)
        missing = await client.post(PATH, content=b"", headers={"content-type": "multipart/form-data"})
    assert problem(response) == problem(missing) == (400, "BadRequestException")


@in_loop
async def test_a_form_does_not_choose_the_codec_that_reads_it() -> None:
    form = b'--b\r\ncontent-disposition: form-data; name="k"\r\n\r\nx-\xe9\r\n--b--\r\n'
    async with running_app() as (client, _):
        for codec in ("punycode", "unicode_escape", "undefined", "klingon", "latin-1"):
            kind = {"content-type": f'multipart/form-data; boundary="b"; charset={codec}'}
            response = await client.post(PATH, content=form, headers=kind)
            assert (response.status_code, response.text) == (200, "k||x-é")


@in_loop
async def test_the_request_id_is_taken_and_given_back() -> None:
    async with running_app() as (client, _):
        response = await client.post(PATH, headers={"X-Request-Id": "mine"})
    assert response.headers["x-request-id"] == "mine"


@in_loop
async def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    async with running_app() as (client, _):
        ids = {(await client.post(PATH)).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


@in_loop
async def test_the_handlers_status_and_headers_reach_the_client() -> None:
    reply = wire.Reply(418, "teapot", "text/html", [("X-Handler", "yes")], b"<p>")
    async with running_app(lambda _: reply) as (client, _):
        response = await client.post(PATH)
    assert (response.status_code, response.headers["x-handler"], response.text) == (418, "yes", "<p>")
    assert response.headers["content-type"] == "text/html"


@in_loop
async def test_unknown_models_and_versions_are_told_apart() -> None:
    async with running_app() as (client, _):
        assert problem(await client.post("/predictions/other")) == (404, "ModelNotFoundException")
        assert problem(await client.post(PATH + "/9")) == (404, "ModelVersionNotFoundException")
        assert (await client.post(PATH + "/1.0")).status_code == 200


def test_while_the_server_starts_a_model_that_is_not_there_may_still_come() -> None:
    registry = Registry()
    registry.complete = False
    found = Predictions(registry, Metrics(), 1000).named("m")
    assert isinstance(found, Problem)
    assert (found.status, found.headers["Retry-After"]) == (503, "1")


@in_loop
async def test_a_body_beyond_the_limit_is_413_whether_announced_or_not() -> None:
    async def chunks() -> object:
        for _ in range(20):
            yield b"x" * 100

    async with running_app(limit=1000) as (client, _):
        announced = await client.post(PATH, content=b"x" * 1001)
        streamed = await client.post(PATH, content=chunks())
        fits = await client.post(PATH, content=b"x" * 1000)
    assert problem(announced) == problem(streamed) == (413, "RequestEntityTooLargeException")
    assert fits.status_code == 200


@in_loop
async def test_a_full_queue_is_503_with_its_own_type_and_a_time_to_come_back() -> None:
    async with running_app(None, jobQueueSize=1) as (client, deployment):
        first = asyncio.create_task(client.post(PATH))
        while not deployment.model.batcher.waiting:
            await asyncio.sleep(0)
        refused = await client.post(PATH)
        deployment.model.stop()
        await first
    assert problem(refused) == (503, "QueueFullException")
    assert int(refused.headers["retry-after"]) >= 1


@in_loop
async def test_without_a_job_ticket_the_answer_is_503_and_names_the_key() -> None:
    async with running_app(None, useJobTicket=True) as (client, _):
        refused = await client.post(PATH)
    assert problem(refused) == (503, "ServiceUnavailableException")
    assert "useJobTicket" in refused.json()["message"]
    assert int(refused.headers["retry-after"]) >= 1


@in_loop
async def test_a_model_whose_workers_cannot_start_says_why() -> None:
    async with running_app(None) as (client, deployment):
        deployment.supervisor.last_error = wire.LoadFailed("ImportError", "no module named foo", [])
        deployment.model.fail()
        response = await client.post(PATH)
    assert problem(response) == (503, "ServiceUnavailableException")
    assert "ImportError: no module named foo" in response.json()["message"]


@in_loop
async def test_a_request_past_its_deadline_is_504() -> None:
    async with running_app(None, clientTimeoutInMills=10) as (client, _):
        response = await client.post(PATH)
    assert problem(response) == (504, "RequestTimeoutException")


@in_loop
async def test_a_stopped_model_is_503() -> None:
    async with running_app() as (client, deployment):
        deployment.model.stop()
        response = await client.post(PATH)
    assert deployment.model.state is ModelState.STOPPED
    assert problem(response) == (503, "ServiceUnavailableException")


@in_loop
async def test_a_handler_failure_is_told_in_the_workers_words() -> None:
    async with running_app(None) as (client, deployment):
        worker = Worker(deployment.model)
        pending = asyncio.create_task(client.post(PATH))
        while not (runs := worker.batches()):
            await asyncio.sleep(0)
        worker.raise_(runs[0])
        response = await pending
    assert problem(response) == (503, "InternalServerException")
    assert response.json()["message"] == "Prediction failed"


@in_loop
async def test_a_method_that_makes_no_sense_is_405() -> None:
    async with running_app() as (client, _):
        assert problem(await client.delete(PATH)) == (405, "MethodNotAllowedException")


@in_loop
async def test_what_follows_the_version_is_the_header_url_path() -> None:
    def path_of(row: wire.Row) -> wire.Reply:
        found = wire.unpack_headers(row.headers).get("url_path", "none")
        return wire.Reply(200, "", "text/plain", [], found.encode())

    async with running_app(path_of) as (client, _):
        answers = [(await client.post(f"{PATH}{rest}")).text for rest in ("", "/1.0", "/1.0/", "/1.0/a/b")]
    assert answers == ["none", "none", "none", "a/b"]
