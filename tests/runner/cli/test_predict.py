"""`archive predict` against a real server of the standard library."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from click.testing import CliRunner, Result

from archiver.cli import main
from archiver.errors import UsageError
from runner.cli.predict import target_of


@dataclass
class Server:
    """Answers every POST alike and keeps what came in."""

    status: int = 200
    body: bytes = b'{"digit": 7}'
    port: int = 0
    received: list[tuple[str, str, bytes]] = field(default_factory=list)

    def handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.received.append((self.path, self.headers["Content-Type"], body))
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, format: str, *args: object) -> None:
                """Not on the test's output."""

        return Handler


@contextmanager
def running(status: int = 200, body: bytes = b'{"digit": 7}') -> Iterator[Server]:
    server = Server(status, body)
    with http.server.HTTPServer(("127.0.0.1", 0), server.handler()) as listener:
        server.port = listener.server_port
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        listener.shutdown()
        thread.join()


def predict(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], input=stdin)


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.json"
    path.write_bytes(b'{"pixels": []}')
    return path


def test_a_name_is_posted_to_its_prediction_route(sample):
    with running() as server:
        result = predict("digits", "--port", server.port, "--input", sample)
    assert (result.exit_code, result.stdout) == (0, '{"digit": 7}\n')
    assert server.received == [("/predictions/digits", "application/json", b'{"pixels": []}')]


def test_a_version_is_part_of_the_route(sample):
    with running() as server:
        predict("digits", "--port", server.port, "--version", "2.0", "--input", sample)
    assert server.received[0][0] == "/predictions/digits/2.0"


def test_a_url_is_used_as_it_is(sample):
    with running() as server:
        predict(f"http://127.0.0.1:{server.port}/v2/models/m/infer?x=1", "--input", sample)
    assert server.received[0][0] == "/v2/models/m/infer?x=1"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.json", "application/json"),
        ("a.TXT", "text/plain; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.npy", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_the_content_type_follows_the_suffix(tmp_path, name, content_type):
    (tmp_path / name).write_bytes(b"x")
    with running() as server:
        predict("m", "--port", server.port, "--input", tmp_path / name)
    assert server.received[0][1] == content_type


def test_the_content_type_can_be_said(sample):
    with running() as server:
        predict("m", "--port", server.port, "--input", sample, "--content-type", "text/csv")
    assert server.received[0][1] == "text/csv"


def test_standard_input_is_sent(sample):
    with running() as server:
        predict("m", "--port", server.port, "--input", "-", "--content-type", "text/plain", stdin=b"hello")
    assert server.received == [("/predictions/m", "text/plain", b"hello")]


def test_an_answer_that_is_no_text_goes_out_unchanged(sample):
    with running(body=b"\x89PNG\xff\n") as server:
        result = predict("m", "--port", server.port, "--input", sample)
    assert result.stdout_bytes == b"\x89PNG\xff\n"


def test_an_error_status_is_the_servers_own_sentence_and_exit_code_1(sample):
    body = b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: digit"}'
    with running(404, body) as server:
        result = predict("digit", "--port", server.port, "--input", sample)
    expected = (
        f"error: http://127.0.0.1:{server.port}/predictions/digit answered 404 Not Found: Model not found: digit\n"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", expected)


def test_an_error_body_of_unknown_form_is_shown_as_it_is(sample):
    with running(502, b"upstream is away") as server:
        result = predict("digit", "--port", server.port, "--input", sample)
    assert result.stderr.endswith("answered 502 Bad Gateway: upstream is away\n")


def test_where_nothing_listens_the_hint_starts_a_server(sample):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = predict("digits", "--port", port, "--input", sample)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: no answer from http://127.0.0.1:{port}: nothing listens there\n"
        f"\nhint: `archive serve MODEL.mar --port {port}` starts a server\n"
    )


def test_a_server_that_never_answers_is_given_up(sample):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        result = predict("digits", "--port", port, "--timeout", "0.05", "--input", sample)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: no answer from http://127.0.0.1:{port}: 0.05 s went by\n")


def test_a_file_that_is_not_there_is_named(tmp_path):
    result = predict("digits", "--input", tmp_path / "none.json")
    assert (result.exit_code, result.stderr) == (1, f"error: there is no file {tmp_path / 'none.json'}\n")


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        ("ftp://host/m", None, "`ftp://host/m` is not an http:// or https:// address"),
        ("http://host:99999/m", None, "`http://host:99999/m` is not an address: Port out of range 0-65535"),
        ("localhost:8080/predictions/m", None, "`localhost:8080/predictions/m` is no model's name"),
        ("http://host/m", "1.0", "--version goes with a model's name; a URL already says which model"),
    ],
)
def test_what_is_neither_url_nor_name_is_a_usage_error(model, version, message):
    with pytest.raises(UsageError, match="^" + message.replace("(", r"\(")):
        target_of(model, "127.0.0.1", 8080, version)


def test_addresses_of_ipv6_hosts_are_shown_in_brackets():
    assert target_of("m", "::1", 8080, None).address == "http://[::1]:8080"


def test_https_without_a_port_means_443():
    target = target_of("https://models.example/predictions/m", "127.0.0.1", 8080, None)
    assert (target.port, target.path) == (443, "/predictions/m")
