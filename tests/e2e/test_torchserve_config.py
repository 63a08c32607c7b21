"""A TorchServe deployment's own files and command line start this server."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import archive_command, environment, make_certificate, running_server, write_model

ECHO = "def handle(data, context): return data and [row.get('body') for row in data]"
ONE = "minWorkers: 1\nmaxWorkers: 1\n"


def store_of(folder: Path) -> Path:
    for version in ("1.0", "2.0"):
        write_model(folder / f"m{version}", ECHO, version=version, config=ONE)
    write_model(folder / "other", ECHO, name="other", config=" ")
    return folder


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def properties(folder: Path, ports: list[int], *more: str) -> Path:
    names = ("inference_address", "management_address", "metrics_address")
    lines = [f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)]
    file = folder / "config.properties"
    file.write_text("\n".join([*lines, f"model_store={store_of(folder / 'store')}", *more]))
    return file


@pytest.fixture
def torchserve(tmp_path: Path):
    """`archive torchserve ARGUMENTS` in a folder of its own; what runs in the background ends with the test."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return archive_command("torchserve", *arguments, cache=tmp_path / "cache", cwd=tmp_path)

    yield run
    run("--stop")


def test_three_addresses_defaults_and_the_default_version_are_as_the_file_says(tmp_path: Path, torchserve) -> None:
    ports = free_ports(3)
    models = '{"m": {"2.0": {"defaultVersion": true, "marName": "m2.0", "batchSize": 4}}}'
    properties(tmp_path, ports, "load_models=all", "default_workers_per_model=1", f"models={models}")
    started = torchserve("--start", "--ncs", "--disable-token-auth", "--enable-model-api")
    assert started.returncode == 0, started.stderr
    inference, management, metrics = (f"http://127.0.0.1:{port}" for port in ports)
    assert httpx.post(f"{inference}/predictions/m", json=[1]).json() == [1]
    described = httpx.get(f"{management}/models/m").json()[0]
    assert (described["modelVersion"], described["batchSize"]) == ("2.0", 4)
    assert len(httpx.get(f"{management}/models/other").json()[0]["workers"]) == 1
    assert httpx.get(f"{metrics}/metrics").status_code == 200
    assert httpx.get(f"{inference}/models").status_code == 404
    assert httpx.delete(f"{management}/models/other").json() == {"status": 'Model "other" unregistered'}
    again = torchserve("--start")
    assert (again.returncode, "a server is running already" in again.stderr) == (1, True)
    assert torchserve("--stop").stdout == "stopped\n"
    assert torchserve("--stop").stdout == "no server is running\n"


def test_torchserves_command_line_asks_for_keys_and_keeps_models_as_they_are(tmp_path: Path, torchserve) -> None:
    ports = free_ports(3)
    properties(tmp_path, ports)
    assert torchserve("--start", "--models", "x=other", "m=m1.0").returncode == 0
    keys = tmp_path / "key_file.json"
    assert keys.stat().st_mode & 0o077 == 0
    inference, management, _ = (f"http://127.0.0.1:{port}" for port in ports)
    refused = httpx.post(f"{inference}/predictions/x", json=1)
    assert (refused.status_code, refused.json()["type"]) == (400, "InvalidKeyException")
    key = json.loads(keys.read_text())
    ask = {"Authorization": f"Bearer {key['inference']['key']}"}
    assert httpx.post(f"{inference}/predictions/m", json=1, headers=ask).json() == 1
    manage = {"Authorization": f"Bearer {key['management']['key']}"}
    assert httpx.post(f"{management}/models?url=m2.0", headers=manage).status_code == 405


def test_a_server_that_cannot_start_in_the_background_says_why(tmp_path: Path, torchserve) -> None:
    properties(tmp_path, free_ports(3), "load_models=missing.mar")
    failed = torchserve("--start")
    assert failed.returncode == 1
    assert "missing.mar" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to do"),
        (("--start", "stray.mar"), "--models takes a list"),
        (("--start", "--foreground"), "no model store"),
        (("--start", "--foreground", "--model-store", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_mistakes_on_the_command_line_are_usage_errors(torchserve, arguments: tuple[str, ...], words: str) -> None:
    done = torchserve(*arguments)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_snapshot_follows_what_is_served_and_brings_it_back(tmp_path: Path) -> None:
    store, file = store_of(tmp_path / "store"), tmp_path / "kept" / "snapshot.cfg"
    options = ("--model-store", str(store), "--snapshot", str(file))
    with running_server(*options, "--models", "m1.0", cache=tmp_path / "cache") as server:
        server.client.post("/models?url=m2.0&batch_size=3&initial_workers=0")
        server.client.put("/models/m/2.0/set-default")
        server.stop()
    with running_server("--ts-config", str(file), cache=tmp_path / "cache") as again:
        two, one = again.client.get("/models/m/all").json()
    assert (two["modelVersion"], two["batchSize"], two["workers"]) == ("2.0", 3, [])
    assert (one["modelVersion"], len(one["workers"])) == ("1.0", 1)


def test_a_snapshot_that_cannot_be_written_stops_the_start_but_no_later_change(tmp_path: Path) -> None:
    store, kept = store_of(tmp_path / "store"), tmp_path / "kept"
    options = ("--model-store", str(store), "--snapshot", str(kept / "snapshot.cfg"))
    with running_server(*options, cache=tmp_path / "cache") as server:
        shutil.rmtree(kept)
        kept.write_text("in the way")
        assert server.client.post("/models?url=m2.0&initial_workers=0").status_code == 200
        server.stop()
    assert any("cannot write the snapshot" in line for line in server.log)
    done = archive_command("serve", "--port", "0", *options, cache=tmp_path / "cache")
    assert (done.returncode, "cannot write the snapshot" in done.stderr) == (1, True)


def test_tls_and_a_unix_socket(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    path = tmp_path / "m.sock"
    cert, key = make_certificate(tmp_path)
    file = tmp_path / "c.properties"
    addresses = [f"inference_address=https://127.0.0.1:{port}", f"management_address=unix:{path}"]
    file.write_text(
        "\n".join(
            [
                *addresses,
                "enable_metrics_api=false",
                f"certificate_file={cert}",
                f"private_key_file={key}",
                "load_models=other",
            ]
        )
    )
    store = store_of(tmp_path / "store")
    command = [sys.executable, "-m", "archiver", "serve", "--ts-config", str(file), "--model-store", str(store)]
    environ = environment(tmp_path / "cache")
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith(f"ready  https://127.0.0.1:{port}/predictions/other")
            trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            answer = httpx.post(f"https://127.0.0.1:{port}/predictions/other", json=[2], verify=trusted)
            assert answer.json() == [2]
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as local:
                assert local.get("http://local/models").json()["models"][0]["modelName"] == "other"
                assert local.get("http://local/metrics").status_code == 404
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert (process.returncode, path.exists()) == (0, False)


def test_values_that_cannot_be_right_are_named_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("inference_address=http://127.0.0.1:8080\njob_queue_size=many\n")
    done = archive_command("serve", "--ts-config", str(file), cache=tmp_path / "cache")
    assert done.returncode == 1
    assert f"{file}:2: error: job_queue_size: expected a whole number, not 'many' [server/value]" in done.stderr
    assert "Traceback" not in done.stderr
