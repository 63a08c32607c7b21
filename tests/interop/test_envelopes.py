"""Service envelopes of the server's config: what a handler gets behind them, and what its answer becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.servers import running_server
from tests.interop.answers import asked
from tests.interop.torchserve import free_ports, installed, properties, wait_for_worker

pytestmark = pytest.mark.interop

#: Answers with what it got, and with its type.
HANDLER = "def handle(data, context): return data and [[type(each).__name__, each] for each in data]"
#: One number per input, as the second protocol wants its outputs.
NUMBERS = "def handle(data, context): return data and [1.5 for _ in data]"
JSON = {"content-type": "application/json"}
TENSOR = b'{"id": "7", "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2.5]}]}'
CALLS = {
    "body": [
        ("/predictions/m", {"content": b"[1, 2]", "headers": JSON}),
        ("/predictions/m", {"content": b"text", "headers": {"content-type": "text/plain"}}),
    ],
    "json": [
        ("/predictions/m", {"content": b'{"instances": [[1, 2], {"a": 3}]}', "headers": JSON}),
        ("/predictions/m", {"content": b'{"instances": ["one"]}', "headers": JSON}),
    ],
    "kserve": [
        ("/v1/models/m:predict", {"content": b'{"instances": [[1, 2], {"data": 3}, {"a": 4}]}', "headers": JSON}),
        ("/v1/models/m:explain", {"content": b'{"instances": [1]}', "headers": JSON}),
        ("/v1/models/m:predict", {"content": b'{"instances": [1]}'}),
    ],
    "kservev2": [("/v2/models/m/infer", {"content": TENSOR, "headers": JSON})],
}


@pytest.mark.parametrize("envelope", CALLS)
def test_an_envelope_wraps_the_same(envelope: str, tmp_path: Path) -> None:
    torchserve = installed()
    store = torchserve.store(tmp_path, m=NUMBERS if envelope == "kservev2" else HANDLER)
    more = f"default_workers_per_model=1\nservice_envelope={envelope}\n"
    with torchserve.serving(store, ["m.mar"], tmp_path, more) as ports:
        wait_for_worker(f"http://127.0.0.1:{ports[1]}/models/m")
        theirs = said(ports[0], envelope)
    (tmp_path / "ours.properties").write_text(properties(ports := free_ports(5)) + more)
    options = ["--ts-config", tmp_path / "ours.properties", "--model-store", store, "--models", "m=m.mar"]
    with running_server(*options, cache=tmp_path / "cache", port=None):
        assert said(ports[0], envelope) == theirs


def said(port: int, envelope: str) -> list[tuple[int, object]]:
    return [asked(f"http://127.0.0.1:{port}", "POST", *call)[:2] for call in CALLS[envelope]]
