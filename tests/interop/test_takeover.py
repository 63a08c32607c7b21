"""A deployment as the real TorchServe leaves it behind: its snapshot and its keys are what ours starts with."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import running_server
from tests.interop.torchserve import free_ports, installed, properties

pytestmark = pytest.mark.interop

HANDLER = "def handle(data, context): return data and ['hi' for _ in data]"
KEYS = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "modelUrl", "modelVersion")


def bearer(folder: Path, purpose: str) -> dict[str, str]:
    keys = json.loads((folder / "key_file.json").read_text())
    return {"Authorization": f"Bearer {keys[purpose]['key']}"}


def described(address: str, folder: Path, model: str) -> tuple[dict[str, object], int]:
    answer = httpx.get(f"{address}/models/{model}", headers=bearer(folder, "management"), timeout=30)
    (found,) = answer.json()
    return {key: found[key] for key in KEYS}, len(found["workers"])


def test_ours_goes_on_from_the_snapshot_and_the_keys_of_the_real_one(tmp_path: Path, monkeypatch) -> None:
    torchserve = installed()
    store = torchserve.store(tmp_path, m=HANDLER, n=HANDLER)
    more = f"default_workers_per_model=1\nenable_model_api=true\nmodel_store={store}\n"
    with torchserve.serving(store, ["m.mar"], tmp_path, more, leaves_traces=True) as ports:
        management = f"http://127.0.0.1:{ports[1]}"
        for method, path in (
            ("POST", "/models?url=n.mar&initial_workers=2&synchronous=true&batch_size=3"),
            ("PUT", "/models/m?min_worker=2&max_worker=3&synchronous=true"),
        ):
            headers = bearer(tmp_path, "management")
            assert httpx.request(method, f"{management}{path}", headers=headers, timeout=60).status_code == 200
        theirs = {name: described(management, tmp_path, name) for name in ("m", "n")}
    snapshot = max((tmp_path / "logs" / "config").glob("*-snapshot.cfg"))
    ports = free_ports(5)
    moved = snapshot.read_text().splitlines()
    moved = [line for line in moved if not line.partition("=")[0].endswith(("_address", "_port"))]
    snapshot.write_text("\n".join(moved) + "\n" + properties(ports) + "disable_token_authorization=false\n")
    monkeypatch.chdir(tmp_path)
    with running_server("--ts-config", snapshot, cache=tmp_path / "cache", port=None):
        ours = {name: described(f"http://127.0.0.1:{ports[1]}", tmp_path, name) for name in ("m", "n")}
        assert ours == theirs
        predictions = f"http://127.0.0.1:{ports[0]}/predictions/n"
        assert httpx.post(predictions, content=b"x").status_code == 400
        assert httpx.post(predictions, content=b"x", headers=bearer(tmp_path, "inference")).text == "hi"
