"""Every REST route of TorchServe, asked of the real one and of ours with the same archives: status, body and headers
are the same, but for the differences that this file lists. One that is listed and does not occur fails, too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.interop.answers import asked, differing
from tests.interop.torchserve import both_serving, installed

pytestmark = pytest.mark.interop

HANDLERS = {
    "m": "def handle(data, context): return data and [row.get('body') or 1 for row in data]",
    "raises": "def handle(data, context):\n    if data is not None: raise ValueError('no')",
    "short": "def handle(data, context): return data and []",
    "teapot": (
        "from ts.utils.util import PredictionException\n"
        "def handle(data, context):\n    if data is not None: raise PredictionException('short and stout', 418)"
    ),
}
HANDLERS["headers"] = """
def handle(data, context):
    if data is None: return
    context.set_response_content_type(0, "text/csv")
    context.set_response_header(0, "x-rows", "1")
    return ["a,b"]
"""
HANDLERS["based"] = """
import torch
from ts.torch_handler.base_handler import BaseHandler
class Doubles(BaseHandler):
    def initialize(self, context):
        self.device, self.model, self.initialized = torch.device("cpu"), lambda x: x * 2, True
    def preprocess(self, data):
        return torch.tensor([float(row["body"]) for row in data])
"""
HANDLERS["described"] = """
from ts.torch_handler.base_handler import BaseHandler
class Described(BaseHandler):
    def initialize(self, context): self.initialized = True
    def describe_handle(self): return {"classes": ["a", "b"]}
"""
#: Functions and specs of workflows; `m` is the model of that name.
FUNCTIONS = """
def before(data, context): return data and [row["body"] for row in data]
def both(data, context):
    return data and [{name: bytes(value).decode() for name, value in row.items()} for row in data]
def raises(data, context):
    if data is not None: raise ValueError("no")
"""
WORKFLOWS = {
    "diamond": "models: {m: {url: m.mar}, n: {url: m.mar}}\ndag: {before: [m, n], m: [both], n: [both]}",
    "leaves": "models: {m: {url: m.mar}}\ndag: {before: [m]}",
    "failing": "models: {m: {url: m.mar}}\ndag: {before: [raises]}",
    "loop": "models: {m: {url: m.mar}}\ndag: {before: [m], m: [before]}",
    "missing": "models: {x: {url: x.mar}}\ndag: {before: [x]}",
}
INFERENCE, MANAGEMENT, METRICS = range(3)
LARGEST = 100_000
TEXT = {"content": b"hi", "headers": {"content-type": "text/plain"}}
WHOLE = {"content": b'{"instances": [1]}', "headers": {"content-type": "application/json"}}
BROKEN = {"content": b'{"a":', "headers": {"content-type": "application/json"}}
TENSOR = {
    "content": b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}',
    "headers": {"content-type": "application/json"},
}
FIFTH = {"json": {"url": "m.mar", "model_name": "fifth", "initial_workers": 1, "synchronous": True}}

#: Address, method, path, request; in this order, for some change what is served.
CALLS: list[tuple[int, str, str, dict[str, Any]]] = [
    (INFERENCE, "GET", "/ping", {}),
    (INFERENCE, "POST", "/predictions/m", TEXT),
    (INFERENCE, "PUT", "/predictions/m", TEXT),
    (INFERENCE, "GET", "/predictions/m", {}),
    (INFERENCE, "DELETE", "/predictions/m", {}),
    (INFERENCE, "OPTIONS", "/predictions/m", {}),
    (INFERENCE, "POST", "/predictions/m/1.0", WHOLE),
    (INFERENCE, "POST", "/predictions/m/1.0/more/path", TEXT),
    (INFERENCE, "POST", "/predictions/m/9.9", TEXT),
    (INFERENCE, "POST", "/predictions/nobody", TEXT),
    (INFERENCE, "POST", "/predictions", TEXT),
    (INFERENCE, "POST", "/predictions/m", BROKEN),
    (INFERENCE, "POST", "/predictions/m", {}),
    (INFERENCE, "POST", "/predictions/raises", TEXT),
    (INFERENCE, "POST", "/predictions/short", TEXT),
    (INFERENCE, "POST", "/predictions/teapot", TEXT),
    (INFERENCE, "POST", "/predictions/headers", TEXT),
    (INFERENCE, "POST", "/predictions/based", {"content": b"21", "headers": {"content-type": "text/plain"}}),
    (INFERENCE, "POST", "/predictions/m", {"data": {"body": "hi", "more": "x"}}),
    (INFERENCE, "POST", "/predictions/m", {"files": {"body": b"hi"}}),
    (INFERENCE, "POST", "/predictions/m", {"content": b"x" * (LARGEST + 1)}),
    (INFERENCE, "POST", "/explanations/m", TEXT),
    (INFERENCE, "POST", "/explanations/m/1.0", TEXT),
    (INFERENCE, "POST", "/explanations/based", {"content": b"21", "headers": {"content-type": "text/plain"}}),
    (INFERENCE, "POST", "/explanations/nobody", TEXT),
    (INFERENCE, "POST", "/m/predict", TEXT),
    (INFERENCE, "POST", "/m/1.0/predict", TEXT),
    (INFERENCE, "POST", "/models/m/invoke", TEXT),
    (INFERENCE, "POST", "/invocations?model_name=m", TEXT),
    (INFERENCE, "POST", "/invocations", TEXT),
    (INFERENCE, "POST", "/v1/models/m:predict", WHOLE),
    (INFERENCE, "POST", "/v2/models/m/infer", TENSOR),
    (INFERENCE, "POST", "/v1/models/m:explain", WHOLE),
    (INFERENCE, "POST", "/v1/models/nobody:predict", WHOLE),
    (INFERENCE, "GET", "/v2/health/live", {}),
    (INFERENCE, "GET", "/v2/health/ready", {}),
    (INFERENCE, "POST", "/v2/models/nobody/infer", TENSOR),
    (INFERENCE, "POST", "/v2/models/m/explain", TENSOR),
    (INFERENCE, "GET", "/v2", {}),
    (INFERENCE, "GET", "/models", {}),
    (INFERENCE, "GET", "/nothing", {}),
    (INFERENCE, "GET", "/api-description", {}),
    (INFERENCE, "OPTIONS", "/", {}),
    (INFERENCE, "POST", "/ping", {}),
    (MANAGEMENT, "GET", "/models", {}),
    (MANAGEMENT, "GET", "/models?limit=1", {}),
    (MANAGEMENT, "GET", "/models?limit=x", {}),
    (MANAGEMENT, "GET", "/models?limit=2&next_page_token=2", {}),
    (MANAGEMENT, "GET", "/models?limit=1000&next_page_token=999", {}),
    (MANAGEMENT, "GET", "/models/m", {}),
    (MANAGEMENT, "GET", "/models/m/1.0", {}),
    (MANAGEMENT, "GET", "/models/m/all", {}),
    (MANAGEMENT, "GET", "/models/described?customized=true", {}),
    (MANAGEMENT, "GET", "/models/m/9.9", {}),
    (MANAGEMENT, "GET", "/models/nobody", {}),
    (MANAGEMENT, "POST", "/models", {}),
    (MANAGEMENT, "POST", "/models?url=nothing.mar", {}),
    (MANAGEMENT, "POST", "/models?url=m.mar", {}),
    (MANAGEMENT, "POST", "/models?url=../m.mar", {}),
    (MANAGEMENT, "POST", "/models?url=m.mar&model_name=second&initial_workers=1&synchronous=true", {}),
    (MANAGEMENT, "POST", "/models?url=m.mar&model_name=third&initial_workers=0", {}),
    (INFERENCE, "POST", "/predictions/third", TEXT),
    (MANAGEMENT, "POST", "/models?url=m.mar&model_name=fourth&batch_size=many&initial_workers=0", {}),
    (MANAGEMENT, "POST", "/models?url=m.mar&model_name=fourth&runtime=lsp2", {}),
    (MANAGEMENT, "POST", "/models?url=m.mar&model_name=fourth&handler=none&initial_workers=1", {}),
    (MANAGEMENT, "POST", "/models?", FIFTH),
    (MANAGEMENT, "PUT", "/models/fifth/1.0?min_worker=1&max_worker=2&synchronous=true", {}),
    (MANAGEMENT, "DELETE", "/models/fifth", {}),
    (MANAGEMENT, "PUT", "/models/second?min_worker=2&synchronous=true", {}),
    (MANAGEMENT, "PUT", "/models/second?min_worker=3&max_worker=1", {}),
    (MANAGEMENT, "PUT", "/models/nobody?min_worker=1", {}),
    (MANAGEMENT, "PUT", "/models/second/9.9?min_worker=1", {}),
    (MANAGEMENT, "PUT", "/models/second/1.0/set-default", {}),
    (MANAGEMENT, "PUT", "/models/second/9.9/set-default", {}),
    (MANAGEMENT, "PUT", "/models/nobody/1.0/set-default", {}),
    (MANAGEMENT, "DELETE", "/models/second/9.9", {}),
    (MANAGEMENT, "DELETE", "/models/second/1.0", {}),
    (MANAGEMENT, "DELETE", "/models/nobody", {}),
    (MANAGEMENT, "PATCH", "/models/m", {}),
    (MANAGEMENT, "OPTIONS", "/models/m", {}),
    (MANAGEMENT, "OPTIONS", "/", {}),
    (MANAGEMENT, "GET", "/predictions/m", {}),
    (MANAGEMENT, "GET", "/v1/models/m", {}),
    (MANAGEMENT, "GET", "/v1/models/nobody", {}),
    (MANAGEMENT, "GET", "/ping", {}),
    (MANAGEMENT, "GET", "/workflows", {}),
    (MANAGEMENT, "POST", "/workflows", {}),
    (MANAGEMENT, "POST", "/workflows?url=nothing.war", {}),
    (MANAGEMENT, "POST", "/workflows?url=../leaves.war", {}),
    (MANAGEMENT, "POST", "/workflows?url=loop.war", {}),
    (MANAGEMENT, "POST", "/workflows?url=missing.war", {}),
    (MANAGEMENT, "POST", "/workflows?url=leaves.war", {}),
    (MANAGEMENT, "POST", "/workflows?url=leaves.war", {}),
    (MANAGEMENT, "POST", "/workflows?url=diamond.war&workflow_name=other", {}),
    (MANAGEMENT, "POST", "/workflows?url=failing.war", {}),
    (MANAGEMENT, "GET", "/workflows", {}),
    (MANAGEMENT, "GET", "/workflows?limit=1", {}),
    (MANAGEMENT, "GET", "/workflows/other", {}),
    (MANAGEMENT, "GET", "/workflows/nobody", {}),
    (MANAGEMENT, "PUT", "/workflows/other", {}),
    (INFERENCE, "POST", "/wfpredict/other", TEXT),
    (INFERENCE, "POST", "/wfpredict/leaves", TEXT),
    (INFERENCE, "POST", "/wfpredict/failing", TEXT),
    (INFERENCE, "POST", "/wfpredict/nobody", TEXT),
    (INFERENCE, "POST", "/wfpredict", TEXT),
    (MANAGEMENT, "DELETE", "/models/leaves__m", {}),
    (MANAGEMENT, "DELETE", "/workflows/other", {}),
    (MANAGEMENT, "DELETE", "/workflows/other", {}),
    (METRICS, "GET", "/nothing", {}),
    (METRICS, "POST", "/metrics", {}),
]
#: What is different, and why; docs/torchserve.md says the same. Number of a call → reason.
DIFFERENT = {
    (INFERENCE, "DELETE", "/predictions/m", ""): "only POST, PUT and GET predict",
    (INFERENCE, "OPTIONS", "/predictions/m", ""): "OpenAPI 3.1, with every route of the model",
    (INFERENCE, "POST", "/predictions/m", '{"a":'): "a malformed JSON body is 400",
    (INFERENCE, "POST", "/predictions/third", "hi"): "the reason of the 503 is told",
    (INFERENCE, "POST", "/v2/models/m/infer", TENSOR["content"].decode()): "a plain answer is wrapped",
    (INFERENCE, "POST", "/v2/models/m/explain", TENSOR["content"].decode()): "a plain answer is wrapped",
    (INFERENCE, "POST", "/explanations/based", "21"): "a handler that cannot explain says so",
    (INFERENCE, "GET", "/v2", ""): "the Open Inference Protocol is always there",
    (INFERENCE, "GET", "/api-description", ""): "OpenAPI 3.1, with every route",
    (INFERENCE, "OPTIONS", "/", ""): "OpenAPI 3.1, with every route",
    (MANAGEMENT, "OPTIONS", "/", ""): "OpenAPI 3.1, with every route",
    (MANAGEMENT, "POST", "/models?url=m.mar&model_name=fourth&handler=none&initial_workers=1", ""): (
        "the reason is told, too"
    ),
    (INFERENCE, "POST", "/ping", ""): "health is read with GET",
    (MANAGEMENT, "GET", "/models?limit=x", ""): "parameters that are no numbers are 400",
    (MANAGEMENT, "POST", "/models?url=m.mar&model_name=fourth&batch_size=many&initial_workers=0", ""): (
        "parameters that are no numbers are 400"
    ),
    (MANAGEMENT, "PUT", "/models/second/9.9/set-default", ""): "the words of the other routes",
    (MANAGEMENT, "OPTIONS", "/models/m", ""): "OpenAPI 3.1, with every route of the model",
    (MANAGEMENT, "GET", "/ping", ""): "health is everywhere",
    (INFERENCE, "GET", "/v2/health/live", ""): "the Open Inference Protocol is always there",
    (INFERENCE, "GET", "/v2/health/ready", ""): "the Open Inference Protocol is always there",
    (INFERENCE, "POST", "/predictions/m", "x" * (LARGEST + 1)): "a 413 says what the limit is",
    (MANAGEMENT, "POST", "/workflows?url=loop.war", ""): "a bad spec is told with its line",
    (MANAGEMENT, "GET", "/workflows/other", ""): "the models of the nodes are named",
    (INFERENCE, "POST", "/wfpredict/failing", "hi"): "a node that fails is named, and keeps its status",
    (MANAGEMENT, "DELETE", "/models/leaves__m", ""): "a node stays while its workflow does",
    (METRICS, "POST", "/metrics", ""): "metrics are read with GET",
}
#: Of a description these are about processes, or richer here.
OWN_VALUES = {"workers", "jobQueueStatus"}


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[tuple[list[str], list[str]]]:
    """The three addresses of TorchServe and of ours, with the same archives."""
    torchserve = installed()
    folder = tmp_path_factory.mktemp("routes")
    store = torchserve.store(folder, **HANDLERS)
    (folder / "functions.py").write_text(FUNCTIONS)
    for name, spec in WORKFLOWS.items():
        (folder / f"{name}.yaml").write_text(spec)
        flags = ["--workflow-name", name, "--spec-file", f"{name}.yaml", "--handler", "functions.py"]
        torchserve.workflow_archiver(*flags, "--export-path", str(store), folder=folder)
    more = "default_workers_per_model=1\nenable_model_api=true\nmetrics_mode=prometheus\n"
    more += f"max_request_size={LARGEST}\n"
    with both_serving(torchserve, store, HANDLERS, folder, more) as (theirs, ours):
        wait_for_workers(theirs)
        yield addresses(theirs), addresses(ours)


def addresses(ports: list[int]) -> list[str]:
    return [f"http://127.0.0.1:{port}" for port in ports[:3]]


def wait_for_workers(ports: list[int]) -> None:
    """TorchServe is healthy before its workers can answer."""
    deadline = time.monotonic() + 60
    for name in HANDLERS:
        while (
            httpx.post(f"http://127.0.0.1:{ports[0]}/predictions/{name}", content=b"1", timeout=60).status_code == 503
        ):
            if name in ("raises", "short", "described") or time.monotonic() > deadline:
                break


def test_every_route_answers_as_torchserve_does_but_for_what_is_listed(both) -> None:
    theirs, ours = both
    found = set()
    unlisted = []
    for which, method, path, request in CALLS:
        status, body, headers = asked(theirs[which], method, path, request)
        our_status, our_body, our_headers = asked(ours[which], method, path, request)
        if is_description(body):
            body, our_body = shared(body, our_body)
        call = (which, method, path, str(request.get("content", b""), "ascii"))
        if (status, body) != (our_status, our_body):
            found.add(call)
        if call in DIFFERENT:
            continue
        if call in found:
            unlisted.append(f"{method} {path}: {status} {body} there, {our_status} {our_body} here")
        unlisted += [f"{method} {path}: {words}" for words in differing(headers, our_headers, path)]
    assert not unlisted, "\n".join(unlisted)
    assert found == set(DIFFERENT), "listed, but the same"


def is_description(body: Any) -> bool:
    return isinstance(body, list) and bool(body) and "modelVersion" in body[0]


def shared(theirs: list[Any], ours: list[Any]) -> tuple[Any, Any]:
    """Their keys in both; every one of them has to be there."""
    keys = set(theirs[0]) - OWN_VALUES
    assert set(theirs[0]) <= set(ours[0])
    return [{key: each[key] for key in keys} for each in theirs], [{key: each[key] for key in keys} for each in ours]
