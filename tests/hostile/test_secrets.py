"""What clients send is theirs: no body, no field, no key and no query reaches what the server prints."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import running_server, write_model
from tests.e2e.test_serving import ECHO

SECRET = "s3cr3t-of-a-client"
RAISES = """
def handle(data, context):
    if data is None:
        return None
    raise ValueError("this row cannot be read")
"""


@pytest.mark.parametrize("form", [[], pytest.param(["--json-logs"], marks=pytest.mark.slow)], ids=["text", "json"])
def test_what_is_sent_is_not_printed(form: list[str], tmp_path: Path) -> None:
    models = [write_model(tmp_path / "m", ECHO), write_model(tmp_path / "raises", RAISES, name="raises")]
    keys = tmp_path / "keys.json"
    options = ("--key-file", keys, "--log-level", "debug", *form)
    with running_server(*models, *options, cache=tmp_path / "cache") as server:
        given = {kind: key["key"] for kind, key in json.loads(keys.read_text()).items()}
        for key in (*given.values(), SECRET):
            for model in ("m", "raises"):
                _send_everything(server.client, model, key)
        _send_nonsense(server.url)
        server.client.get("/token", params={"type": "inference"}, headers={"authorization": f"Bearer {given['API']}"})
        new = json.loads(keys.read_text())["inference"]["key"]
        assert server.stop() == 0
    said = "\n".join([*server.said, *server.log])
    assert "raises" in said, "the log was read"
    for secret in (SECRET, new, *given.values()):
        assert secret not in said


def _send_everything(client: httpx.Client, model: str, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "cookie": f"session={SECRET}", "x-secret": SECRET}
    path = f"/predictions/{model}"
    client.post(path, content=SECRET, headers=headers)
    client.post(path, content=f'{{"{SECRET}":', headers={**headers, "content-type": "application/json"})
    client.post(path, data={SECRET: SECRET}, headers=headers)
    client.post(path, files={"data": (SECRET, SECRET, "text/plain")}, headers=headers)
    client.post(f"{path}/{SECRET}?{SECRET}={SECRET}", content=SECRET, headers=headers)
    client.post(f"/v2/models/{model}/infer", content=f'{{"inputs": ["{SECRET}"]}}', headers=headers)
    client.post("/models", params={"url": f"{SECRET}.mar"}, headers=headers)
    client.post("/models", json={"url": "m.mar", "handler": SECRET}, headers=headers)


def _send_nonsense(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    for line in (f"{SECRET}", f"POST /predictions/m HTTP/1.1\r\nContent-Length: {SECRET}", f"GET /{SECRET} HTTP/9.9"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(line.encode() + b"\r\n\r\n")
            assert b" 400 " in connection.recv(1 << 16)
