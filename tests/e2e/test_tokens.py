"""A server that asks for keys, over real connections: the fast lane asks as well."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.e2e.servers import archive_command, running_server, write_model
from tests.e2e.test_serving import ECHO

REFUSED = {
    "code": 400,
    "type": "InvalidKeyException",
    "message": "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
}


def test_predictions_and_management_need_their_keys(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO)
    file = tmp_path / "keys.json"
    with running_server(folder, "--key-file", file, cache=tmp_path / "cache") as server:
        keys = {
            kind: {"authorization": f"Bearer {each['key']}"} for kind, each in json.loads(file.read_text()).items()
        }
        client: httpx.Client = server.client
        for _ in range(2):  # the second request finds the connection open
            assert client.post("/predictions/m", content=b"x").json() == REFUSED
            assert client.post("/predictions/m", content=b"x", headers=keys["management"]).json() == REFUSED
            assert client.post("/predictions/m", content=b"x", headers=keys["inference"]).status_code == 200
        assert client.get("/models").json() == REFUSED
        assert client.get("/models", headers=keys["management"]).status_code == 200
        refused = client.get("/token?type=inference", headers=keys["inference"]).json()
        assert refused == {**REFUSED, "message": REFUSED["message"].replace("Authorization", "Authentication")}
        new = client.get("/token?type=inference", headers=keys["API"]).json()["inference"]["key"]
        assert client.post("/predictions/m", content=b"x", headers=keys["inference"]).status_code == 400
        bearer = {"authorization": f"Bearer {new}"}
        assert client.post("/predictions/m", content=b"x", headers=bearer).status_code == 200
        for path in ("/ping", "/livez", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200
        assert not any(new in line for line in server.log)


def test_a_key_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", ECHO)
    (tmp_path / "keys.json").write_text("{}")
    done = archive_command("serve", str(folder), "--key-file", str(tmp_path / "keys.json"), "--port", "0")
    assert done.returncode == 1
    assert "keys.json cannot be used" in done.stderr and "Traceback" not in done.stderr
