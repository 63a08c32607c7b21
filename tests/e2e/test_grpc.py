"""gRPC beside HTTP on a real server: the same models, the same workers, the same end."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest

from runner.frontend.rpc.messages import message
from tests.e2e.servers import Server, archive_command, running_server, write_model

PACKAGE = "org.pytorch.serve.grpc.inference"
HANDLER = """
import os, time
from ts.handler_utils.utils import send_intermediate_predict_response as send
def handle(data, context):
    if data is None: return None
    rows = [bytes(row['data']).decode() for row in data]
    for place, text in enumerate(rows):
        if text == 'die': os._exit(1)
        if text == 'stream':
            for word in ('one ', 'two '):
                send([word], {0: context.get_request_id(place)}, 'Intermediate Prediction success', 200, context)
        if text == 'slow': print('it has begun'); time.sleep(0.5)
    return [text.upper() for text in rows]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("grpc")
    archive = write_model(home / "m", HANDLER)
    with running_server(archive, "--grpc-port", "0", cache=home / "cache") as running:
        yield running


def line_of(lines: list[str], start: str) -> str:
    """The first line that has this in it; lines come from another thread."""
    while not (found := [line for line in lines if start in line]):
        pass
    return found[0]


def call(channel: grpc.Channel, method: str, text: str, kind: str = "unary_unary") -> object:
    request = message(f"{PACKAGE}.PredictionsRequest")(model_name="m", input={"data": text.encode()})
    response = message(f"{PACKAGE}.PredictionResponse")
    serialise = type(request).SerializeToString
    return getattr(channel, kind)(f"/{PACKAGE}.InferenceAPIsService/{method}", serialise, response.FromString)(
        request
    )


def test_predictions_streams_and_errors_come_back(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        assert call(channel, "Predictions", "abc").prediction == b"ABC"
        pieces = [each.prediction for each in call(channel, "StreamPredictions", "stream", "unary_stream")]
        assert pieces == [b"one ", b"two ", b"STREAM"]
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Predictions", "die")
        assert (caught.value.code(), "ended two workers" in caught.value.details()) == (
            grpc.StatusCode.INTERNAL,
            True,
        )
        assert call(channel, "Predictions", "after").prediction == b"AFTER"


def test_an_accepted_call_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    archive = write_model(tmp_path / "m", HANDLER)
    answers: list[object] = []
    with (
        running_server(archive, "--grpc-port", "0", cache=tmp_path / "cache") as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        asking = threading.Thread(target=lambda: answers.append(call(channel, "Predictions", "slow").prediction))
        asking.start()
        line_of(server.log, "it has begun")
        assert server.stop() == 0
        asking.join()
    assert answers == [b"SLOW"]


def test_a_port_that_is_taken_is_named(server: Server, tmp_path: Path) -> None:
    port = server.grpc.rpartition(":")[2]
    archive = write_model(tmp_path / "m", HANDLER)
    done = archive_command("serve", str(archive), "--port", "0", "--grpc-port", port, cache=tmp_path / "cache")
    assert (done.returncode, f"gRPC cannot listen on 127.0.0.1:{port}" in done.stderr) == (1, True), done.stderr
