"""TorchServe's services over gRPC."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2

from runner import wire
from runner.frontend import rpc
from runner.frontend.listener import Surface
from runner.frontend.rpc.calls import code_of
from runner.frontend.rpc.messages import class_of, message, service
from runner.frontend.tokens import Tokens
from tests.runner.frontend.rpc.calls import INFERENCE, MANAGEMENT, predict, serving
from tests.runner.loops import in_loop

PREDICTIONS = f"{INFERENCE}.InferenceAPIsService/Predictions"
STREAM = f"{INFERENCE}.InferenceAPIsService/StreamPredictions"
STREAM_2 = f"{INFERENCE}.InferenceAPIsService/StreamPredictions2"
PING = f"{INFERENCE}.InferenceAPIsService/Ping"


def managed(method: str) -> str:
    return f"{MANAGEMENT}.ManagementAPIsService/{method}"


@in_loop
async def test_inputs_are_fields_as_bytes_and_the_answer_is_the_handlers_body() -> None:
    async with serving() as client:
        answer = await client.call(PREDICTIONS, predict(data=b"x", other=b"y"))
        versioned = await client.call(PREDICTIONS, predict(version="1.0", data=b"z"))
    assert sorted(answer.prediction.split(b";")) == [b"data||x", b"other||y"]
    assert (versioned.prediction, versioned.HasField("sequence_id")) == (b"data||z", False)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (predict("x"), "NOT_FOUND", "Model not found: x"),
        (predict("m", "9"), "NOT_FOUND", "Model version: 9 does not exist for model: m"),
    ],
)
def test_a_model_that_is_not_there_is_named(request_: object, code: str, words: str) -> None:
    @in_loop
    async def check() -> None:
        async with serving() as client:
            assert await client.refused(PREDICTIONS, request_) == (code, words)

    check()


@in_loop
async def test_a_handlers_error_is_a_status_with_its_words() -> None:
    def refusing(_: wire.Row) -> wire.Reply:
        return wire.Reply(418, "", "application/json", [], b'{"code": 418, "message": "a teapot"}')

    async with serving(refusing) as client:
        assert await client.refused(PREDICTIONS, predict()) == ("FAILED_PRECONDITION", "a teapot")


@in_loop
async def test_a_deadline_that_passes_withdraws_the_request() -> None:
    async with serving(None) as client:
        call = client.method(PREDICTIONS)(predict(), timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        while client.deployment.model.batcher.waiting:
            await asyncio.sleep(0.01)


@in_loop
async def test_a_request_beyond_the_limit_is_refused() -> None:
    async with serving() as client:
        code, _ = await client.refused(PREDICTIONS, predict(data=b"x" * 2000))
    assert code == "RESOURCE_EXHAUSTED"


@in_loop
async def test_an_answer_in_one_piece_is_a_stream_of_one() -> None:
    async with serving() as client:
        answers = await client.stream(STREAM, predict(data=b"x"))
    assert [answer.prediction for answer in answers] == [b"data||x"]


@in_loop
async def test_both_ways_each_request_is_answered_and_an_error_ends_only_its_own() -> None:
    requests = [predict(data=b"1"), predict("x"), predict(data=b"2")]
    for request in requests:
        request.sequence_id = "s"
    async with serving() as client:
        call = client.method(STREAM_2)(iter(requests))
        answers = [answer async for answer in call]
    assert [(answer.prediction, answer.status.code, answer.sequence_id) for answer in answers] == [
        (b"data||1", 0, "s"),
        (b"", 5, "s"),
        (b"data||2", 0, "s"),
    ]
    assert answers[1].status.message == "Model not found: x"


@in_loop
async def test_the_end_of_a_stream_makes_room_for_another_sequence() -> None:
    async with serving(sequenceBatching=True, maxNumSequence=1, maxWorkers=1, batchSize=1) as client:
        codes = []
        for name in ("s", "t"):
            request = predict(data=b"1")
            request.sequence_id = name
            codes += [answer.status.code async for answer in client.method(STREAM_2)(iter([request, request]))]
    assert codes == [0, 0, 0, 0]


STARTS_A_PROCESS = """
import asyncio, os
import runner.frontend.rpc.server, grpc
assert "GRPC_ENABLE_FORK_SUPPORT" not in os.environ
async def main():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await (await asyncio.create_subprocess_exec("true", preexec_fn=str)).wait()
    await server.stop(0)
asyncio.run(main())
"""


def test_a_process_that_is_started_beside_grpc_is_no_line_in_the_log() -> None:
    started = subprocess.run([sys.executable, "-c", STARTS_A_PROCESS], capture_output=True, text=True, timeout=60)
    assert (started.returncode, started.stderr) == (0, "")


@in_loop
async def test_ping_says_what_http_says() -> None:
    async with serving() as client:
        assert json.loads((await client.call(PING, empty_pb2.Empty())).health) == {"status": "Healthy"}
    async with serving(None) as client:
        assert json.loads((await client.call(PING, empty_pb2.Empty())).health) == {"status": "Unhealthy"}


@in_loop
async def test_models_are_listed_described_and_changed() -> None:
    async with serving() as client:
        listed = await client.call(managed("ListModels"), message(f"{MANAGEMENT}.ListModelsRequest")())
        wanted = message(f"{MANAGEMENT}.DescribeModelRequest")
        described = await client.call(managed("DescribeModel"), wanted(model_name="m"))
        refused = await client.refused(managed("DescribeModel"), wanted(model_name="x"))
        default = message(f"{MANAGEMENT}.SetDefaultRequest")(model_name="m", model_version="1.0")
        done = await client.call(managed("SetDefault"), default)
        gone = await client.call(
            managed("UnregisterModel"), message(f"{MANAGEMENT}.UnregisterModelRequest")(model_name="m")
        )
    assert json.loads(listed.msg)["models"] == [{"modelName": "m", "modelUrl": "m.mar"}]
    assert json.loads(described.msg)[0]["modelVersion"] == "1.0"
    assert refused == ("NOT_FOUND", "Model not found: x")
    assert done.msg == 'Default version successfully updated for model "m" to "1.0"'
    assert gone.msg == 'Model "m" unregistered'


@in_loop
async def test_a_registration_is_checked_as_over_http() -> None:
    register = message(f"{MANAGEMENT}.RegisterModelRequest")
    scale = message(f"{MANAGEMENT}.ScaleWorkerRequest")(model_name="m", min_worker=3, max_worker=2)
    async with serving() as client:
        assert await client.refused(managed("RegisterModel"), register()) == (
            "INVALID_ARGUMENT",
            "Parameter url is required.",
        )
        code, words = await client.refused(managed("ScaleWorker"), scale)
    assert (code, words) == ("INVALID_ARGUMENT", "max_worker cannot be less than min_worker.")


@in_loop
async def test_a_surface_that_is_not_served_here_is_not_implemented() -> None:
    async with serving(surfaces=[Surface.MANAGEMENT]) as client:
        assert (await client.refused(PREDICTIONS, predict()))[0] == "UNIMPLEMENTED"


def test_calls_need_the_keys_that_http_needs(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "keys.json", lambda: 0.0)
    tokens.create()
    keys = json.loads((tmp_path / "keys.json").read_text())
    listing = message(f"{MANAGEMENT}.ListModelsRequest")()

    @in_loop
    async def check() -> None:
        async with serving(tokens=tokens) as client:
            assert (await client.refused(PREDICTIONS, predict()))[0] == "PERMISSION_DENIED"
            assert (await client.call(PING, empty_pb2.Empty())).health
            client.metadata = [("authorization", f"Bearer {keys['inference']['key']}")]
            assert (await client.call(PREDICTIONS, predict(data=b"x"))).prediction == b"data||x"
            assert (await client.refused(managed("ListModels"), listing))[0] == "PERMISSION_DENIED"
            client.metadata = [("authorization", f"Bearer {keys['management']['key']}")]
            assert (await client.call(managed("ListModels"), listing)).msg

    check()


@in_loop
async def test_health_is_checked_and_watched_by_model() -> None:
    check = message("grpc.health.v1.HealthCheckRequest")
    async with serving() as client:
        assert (await client.call("grpc.health.v1.Health/Check", check())).status == 1
        assert (await client.call("grpc.health.v1.Health/Check", check(service="m"))).status == 1
        assert (await client.refused("grpc.health.v1.Health/Check", check(service="x")))[0] == "NOT_FOUND"
        watch = client.method("grpc.health.v1.Health/Watch")(check())
        assert (await watch.read()).status == 1
        client.health.draining = True
        assert (await watch.read()).status == 2
        watch.cancel()


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (404, "NOT_FOUND"),
        (422, "FAILED_PRECONDITION"),
        (500, "INTERNAL"),
        (507, "INTERNAL"),
    ],
)
def test_http_statuses_have_a_name_in_grpc(status: int, name: str) -> None:
    assert code_of(status).name == name


def test_the_description_is_that_of_the_protos(tmp_path: Path) -> None:
    folder = Path(rpc.__file__).parent
    made = tmp_path / "services.binpb"
    script = folder / "protos" / "compile.sh"
    subprocess.run([str(script), str(made)], check=True, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable})
    known = class_of(service(f"{INFERENCE}.InferenceAPIsService").methods_by_name["Predictions"].input_type)
    assert [field.number for field in known.DESCRIPTOR.fields] == [1, 2, 3, 4]
    assert made.read_bytes() == (folder / "services.binpb").read_bytes()
