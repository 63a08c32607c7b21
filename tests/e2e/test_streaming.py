"""Answers that come in pieces: one server, one model per kind."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.servers import Server, running_server, write_model

PRELUDE = """
import os
from ts.handler_utils.utils import send_intermediate_predict_response as send
def body(row): return row['body']
"""

HANDLERS = {
    "hello": """
def handle(data, ctx):
    if data is None: return None
    for _ in range(3):
        send(['hello '] * len(data), ctx.request_ids, 'Intermediate Prediction success', 200, ctx)
    return ['hello world '] * len(data)
""",
    "objects": """
def count(n):
    for i in range(n): yield {'n': i}
def handle(data, ctx): return data and [count(body(row)) for row in data]
""",
    "gated": """
def gated(path):
    yield 'first '
    if path == 'open': return 'second'
    yield ''
    open(path).read()
    yield 'second'
def handle(data, ctx): return data and [gated(body(row)) for row in data]
""",
    "dies": """
def dying(path):
    with open(path, 'a') as runs: runs.write('run ')
    yield 'a'
    os.kill(os.getpid(), 9)
def handle(data, ctx): return data and [dying(body(row)) for row in data]
""",
    "raises": """
def raising(when):
    if when == 'early': raise ValueError('early')
    yield 'a'
    raise ValueError('late')
def handle(data, ctx): return data and [raising(body(row)) for row in data]
""",
    "sent-then-raises": """
def handle(data, ctx):
    if data is None: return None
    send(['a'], {0: ctx.request_ids[0]}, 'ok', 200, ctx)
    raise ValueError('late')
""",
    "large": """
def large(n):
    for _ in range(n): yield b'x' * (1 << 20)
def handle(data, ctx): return data and [large(body(row)) for row in data]
""",
    "quiet": """
import threading
def quiet(x):
    yield 'a'
    threading.Event().wait(60)
def handle(data, ctx): return data and [quiet(body(row)) for row in data]
""",
}

CONFIG = (
    "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nbatchPolicy: {policy}\nmaxBatchDelay: 2000\nresponseTimeout: {s}\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    archives = []
    for name, handler in HANDLERS.items():
        config = CONFIG.format(policy="greedy", s=1 if name == "quiet" else 60)
        archives.append(write_model(folder / name, PRELUDE + handler, name=name, config=config))
    pairs = CONFIG.format(policy="delay", s=60)
    archives.append(write_model(folder / "pairs", PRELUDE + HANDLERS["gated"], name="pairs", config=pairs))
    with running_server(*archives, cache=folder / "cache") as running:
        yield running


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def connection(server: Server) -> http.client.HTTPConnection:
    parts = urlsplit(server.url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)


@contextmanager
def asked(
    server: Server, model: str, body: str, kind: str = "text/plain", path: str = "/predictions/{}"
) -> Iterator[http.client.HTTPResponse]:
    """A response whose head has arrived."""
    with closing(connection(server)) as link:
        link.request("POST", path.format(model), body, {"content-type": kind})
        with link.getresponse() as response:
            yield response


def text(server: Server, model: str, body: str) -> bytes:
    with asked(server, model, body) as response:
        return response.read()


def chunks(server: Server, model: str, body: str) -> list[str]:
    """The response's chunks as they were framed."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), 30) as sock, sock.makefile("rb") as file:
        head = f"POST /predictions/{model} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        sock.sendall(head.encode())
        while file.readline() != b"\r\n":
            pass
        found = []
        while size := int(file.readline(), 16):
            found.append(file.read(size).decode())
            file.readline()
    return found


def test_each_intermediate_response_is_a_chunk_and_the_answer_is_the_last(server: Server) -> None:
    assert chunks(server, "hello", "x") == ["hello ", "hello ", "hello ", "hello world "]


def test_generated_objects_come_as_lines(server: Server) -> None:
    answer = server.predict(3, model="objects")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers
    assert answer.text == '{"n":0}\n{"n":1}\n{"n":2}\n'


def test_a_generator_that_yields_nothing_is_an_empty_answer(server: Server) -> None:
    answer = server.predict(0, model="objects")
    assert (answer.status_code, answer.headers["content-length"], answer.text) == (200, "0", "")


@pytest.mark.parametrize("path", ["/predictions/{}", "/{}/predict"])
def test_a_piece_arrives_before_the_next_is_made(server: Server, gate: Path, path: str) -> None:
    with asked(server, "gated", str(gate), path=path) as response:
        assert response.read1(100) == b"first "
        gate.write_text("go")
        assert response.read() == b"second"


def test_the_connection_serves_on_after_a_stream(server: Server) -> None:
    with closing(connection(server)) as link:
        for _ in range(2):
            link.request("POST", "/predictions/hello", "x")
            assert link.getresponse().read() == b"hello hello hello hello world "


def test_over_http_1_0_the_answer_comes_whole(server: Server) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), 30) as sock:
        sock.sendall(b"POST /predictions/hello HTTP/1.0\r\ncontent-length: 1\r\n\r\nx")
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 30" in head
    assert b"chunked" not in head
    assert body == b"hello hello hello hello world "


def test_the_open_inference_protocol_gets_the_whole_answer(server: Server) -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "INT32", "data": [1]}
    answer = server.client.post("/v2/models/hello/infer", json={"inputs": [tensor]}).json()
    assert answer["outputs"][0]["data"] == ["hello hello hello hello world "]


def test_a_row_whose_stream_ends_is_answered_while_its_batch_goes_on(server: Server, gate: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(text, server, "pairs", str(gate))
        assert text(server, "pairs", "open") == b"first second"
        gate.write_text("go")
        assert waiting.result() == b"first second"


@pytest.mark.parametrize("path", ["/predictions/{}", "/{}/predict"])
def test_a_worker_that_dies_under_a_stream_breaks_it_and_it_is_not_run_again(
    server: Server, tmp_path: Path, path: str
) -> None:
    with asked(server, "dies", str(tmp_path / "runs"), path=path) as response:
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        assert (tmp_path / "runs").read_text() == "run "


@pytest.mark.parametrize("model", ["raises", "sent-then-raises"])
def test_an_exception_after_the_first_piece_breaks_the_stream(server: Server, model: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        server.predict("late", model=model)


def test_an_exception_before_the_first_piece_is_an_ordinary_answer(server: Server) -> None:
    answer = server.predict("early", model="raises")
    assert (answer.status_code, answer.json()["message"]) == (503, "Prediction failed")


def test_a_stream_that_falls_silent_for_longer_than_response_timeout_is_broken(server: Server) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        server.predict("x", model="quiet")


@pytest.mark.parametrize("path", ["/predictions/{}", "/{}/predict"])
def test_a_client_that_leaves_takes_nobody_with_it(server: Server, gate: Path, path: str) -> None:
    with asked(server, "gated", str(gate), path=path) as response:
        assert response.read1(100) == b"first "
    gate.write_text("go")
    assert server.predict("open", model="gated").text == "first second"


@pytest.mark.parametrize("path", ["/predictions/{}", "/{}/predict"])
def test_a_client_that_does_not_read_is_cut_off_and_holds_nobody_up(server: Server, path: str) -> None:
    with asked(server, "large", "64", "application/json", path) as response:
        assert len(server.predict(1, model="large").content) == 1 << 20
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            response.read()


def test_a_stream_is_drained_before_the_server_stops(tmp_path: Path, gate: Path) -> None:
    archive = write_model(tmp_path / "m", PRELUDE + HANDLERS["gated"])
    with running_server(archive, cache=tmp_path / "cache") as server, asked(server, "m", str(gate)) as response:
        assert response.read1(100) == b"first "
        server.process.send_signal(signal.SIGTERM)
        threading.Thread(target=gate.write_text, args=("go",)).start()
        assert response.read() == b"second"
        assert server.stop() == 0
