"""Keys as the real TorchServe and ours want them: what each route says with the right one, another one and none."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import running_server
from tests.interop.torchserve import free_ports, installed, properties

pytestmark = pytest.mark.interop

HANDLER = "def handle(data, context): return data and ['hi' for _ in data]"
INFERENCE, MANAGEMENT, METRICS = range(3)
#: Address, method, path, and whose key: of the file, or one that is none, or no header at all.
CALLS = [
    (INFERENCE, "GET", "/ping", "inference"),
    (INFERENCE, "GET", "/ping", None),
    (INFERENCE, "POST", "/predictions/m", "inference"),
    (INFERENCE, "POST", "/predictions/m", "management"),
    (INFERENCE, "POST", "/predictions/m", "none"),
    (INFERENCE, "POST", "/predictions/m", None),
    (INFERENCE, "POST", "/v1/models/m:predict", None),
    (INFERENCE, "POST", "/predictions/nobody", None),
    (MANAGEMENT, "GET", "/models", "management"),
    (MANAGEMENT, "GET", "/models", "inference"),
    (MANAGEMENT, "GET", "/models", None),
    (MANAGEMENT, "POST", "/models?url=nothing.mar", None),
    (MANAGEMENT, "DELETE", "/models/m", "API"),
    (MANAGEMENT, "GET", "/token?type=inference", "management"),
    (MANAGEMENT, "GET", "/token?type=inference", None),
    (MANAGEMENT, "GET", "/token?type=other", "API"),
    (MANAGEMENT, "GET", "/token", "API"),
    (METRICS, "GET", "/metrics", "none"),
]
#: What is different; docs/torchserve.md says the same.
DIFFERENT = {
    (INFERENCE, "GET", "/ping", None): "health stays open",
    (MANAGEMENT, "GET", "/token?type=other", "API"): "the parameter is wrong, not the key",
    (MANAGEMENT, "GET", "/token", "API"): "the parameter is wrong, not the key",
}


def asked(base: str, keys: Path, method: str, path: str, purpose: str | None) -> tuple[int, str]:
    known = {"none": {"key": "nonsense"}, **json.loads(keys.read_text())}
    headers = {} if purpose is None else {"Authorization": f"Bearer {known[purpose]['key']}"}
    answer = httpx.request(method, f"{base}{path}", headers=headers, timeout=60)
    if answer.status_code < 400:
        return answer.status_code, ""
    return answer.status_code, answer.json()["message"] if answer.text.startswith("{") else answer.text


def said(ports: list[int], folder: Path) -> dict[tuple[int, str, str, str | None], tuple[int, str]]:
    """What each call is told; the last ones are about a key that is renewed."""
    bases = [f"http://127.0.0.1:{port}" for port in ports[:3]]
    keys = folder / "key_file.json"
    told = {call: asked(bases[call[0]], keys, *call[1:]) for call in CALLS}
    before = json.loads(keys.read_text())
    headers = {"Authorization": f"Bearer {before['API']['key']}"}
    renewed = httpx.get(f"{bases[MANAGEMENT]}/token?type=inference", headers=headers, timeout=60)
    assert renewed.status_code == 200
    after = json.loads(keys.read_text())
    assert (after["API"], after["management"]) == (before["API"], before["management"])
    old = {"Authorization": f"Bearer {before['inference']['key']}"}
    refused = httpx.post(f"{bases[INFERENCE]}/predictions/m", headers=old, timeout=60)
    return told | {(INFERENCE, "POST", "/predictions/m", "old"): (refused.status_code, refused.json()["message"])}


def test_keys_open_the_same_routes(tmp_path: Path, monkeypatch) -> None:
    torchserve = installed()
    store = torchserve.store(tmp_path, m=HANDLER)
    more = "default_workers_per_model=1\nenable_model_api=true\nmetrics_mode=prometheus\n"
    with torchserve.serving(store, ["m.mar"], tmp_path, more, leaves_traces=True) as ports:
        theirs = said(ports, tmp_path)
    (ours := tmp_path / "ours").mkdir()
    monkeypatch.chdir(ours)
    file = ours / "config.properties"
    file.write_text(properties(ports := free_ports(5)) + more + "disable_token_authorization=false\n")
    options = ["--ts-config", file, "--model-store", store, "--models", "m=m.mar"]
    with running_server(*options, cache=tmp_path / "cache", port=None):
        here = said(ports, ours)
    differing = {call: (theirs[call], here[call]) for call in theirs if theirs[call] != here[call]}
    assert set(differing) == set(DIFFERENT), differing
