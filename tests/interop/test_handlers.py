"""Handlers and archives as TorchServe's documentation and examples write them, packed by torch-model-archiver and
asked over HTTP: status, headers and body from the real one and from ours are the same."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.interop.answers import asked, differing
from tests.interop.torchserve import TorchServe, both_serving, installed, wait_for_worker

pytestmark = pytest.mark.interop

PROJECT = Path(__file__).parent / "projects" / "documented"
#: Model → what torch-model-archiver is given besides its name and version.
ARCHIVES = {
    "text": (
        *("--handler", "text_handler.py", "--serialized-file", "traced.pt", "--config-file", "config.yaml"),
        *("--extra-files", "setup_config.json,vocab.txt,./index_to_name.json"),
    ),
    "service": ("--handler", "service_handler.py", "--serialized-file", "net.pth", "--model-file", "net.py"),
    "zipped": ("--handler", "zipped_handler", "--serialized-file", "net.pth", "--extra-files", "models.zip"),
    "function": ("--handler", "function_handler:entry_point_function_name", "--serialized-file", "traced.pt"),
    "overriding": (
        *("--handler", "overriding_handler.py", "--serialized-file", "net.pth", "--model-file", "net.py"),
        *("--extra-files", "index_to_name.json", "--archive-format", "zip-store"),
    ),
    "context": ("--handler", "context_handler.py"),
    "packaged": (
        *("--handler", "packaged_handler.py", "--extra-files", "helpers.py,more"),
        *("--requirements-file", "requirements.txt"),
    ),
}
JSON = {"content-type": "application/json"}
ROW = {"content": b"[1, 2, 0]", "headers": JSON}


def question(name: str, **headers: str) -> tuple[str, str, dict[str, Any]]:
    return "POST", "/predictions/context", {"data": {"question": name}, "headers": headers}


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/predictions/text", {"content": b"Red red and blue"}),
    ("POST", "/predictions/text", {"content": b"Red red", "headers": {"content-type": "text/plain"}}),
    ("POST", "/predictions/text", {"content": "blue vÄ".encode(), "headers": {"content-type": "text/plain"}}),
    ("POST", "/predictions/text", {"files": {"data": ("sample_text.txt", b"green green", "text/plain")}}),
    ("POST", "/predictions/text", {"data": {"data": "green"}}),
    ("POST", "/predictions/text", {"data": {"other": "green"}}),
    ("POST", "/predictions/service", ROW),
    ("POST", "/v1/models/service:predict", ROW),
    ("POST", "/predictions/zipped", {"content": b'{"number_of_images": 3}', "headers": JSON}),
    ("POST", "/predictions/zipped", {"data": {"number_of_images": "2"}}),
    ("POST", "/predictions/function", {"files": {"b": b"1", "a": b"2"}}),
    ("POST", "/invocations?model_name=function&more=1", ROW),
    ("POST", "/predictions/overriding", {**ROW, "headers": {**JSON, "x-asked": "yes"}}),
    ("POST", "/predictions/overriding/1.0", {"content": b'{"instances": [[0, 0, 9]]}', "headers": JSON}),
    ("POST", "/explanations/overriding", ROW),
    ("POST", "/v1/models/overriding:explain", ROW),
    *(question(kind) for kind in ("text", "bytes", "number", "whole", "nothing", "true", "list", "object")),
    *(question(kind) for kind in ("status", "all_status", "refused", "memory", "cuda", "unserialisable")),
    *(question(kind) for kind in ("known", "pieces")),
    question("headers", **{"x-mine": "1"}),
    ("POST", "/predictions/context/1.0/v1/chat/completions", {"data": {"question": "headers"}}),
    ("POST", "/explanations/context", {"data": {"question": "headers"}}),
    ("POST", "/predictions/context", {"data": {"question": "fields"}, "files": {"a": b"1", "b": ("b.json", b"[1]")}}),
    ("POST", "/predictions/context", {"content": b'{"question": "fields", "n": 1}', "headers": JSON}),
    ("POST", "/invocations?model_name=context&question=fields&n=1", ROW),
    ("POST", "/models/context/invoke?question=fields", {"data": {"more": "x"}}),
    ("POST", "/predictions/packaged", {"content": b"Hello", "headers": {"content-type": "text/plain"}}),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The inference addresses of TorchServe and of ours, with the same archives."""
    torchserve = installed()
    folder = tmp_path_factory.mktemp("documented")
    store = packed(torchserve, folder)
    more = "default_workers_per_model=1\nenable_model_api=true\n"
    with both_serving(torchserve, store, ARCHIVES, folder, more) as (theirs, ours):
        for name in ARCHIVES:
            wait_for_worker(f"http://127.0.0.1:{theirs[1]}/models/{name}")
        yield f"http://127.0.0.1:{theirs[0]}", f"http://127.0.0.1:{ours[0]}"


def packed(torchserve: TorchServe, folder: Path) -> Path:
    """A store with the project's archives."""
    project, store = folder / "project", folder / "store"
    shutil.copytree(PROJECT, project)
    store.mkdir()
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 3)
    layer.weight.data, layer.bias.data = torch.eye(3), torch.zeros(3)
    torch.save({f"fc.{name}": value for name, value in layer.state_dict().items()}, project / "net.pth")
    with warnings.catch_warnings(action="ignore"):  # torch calls TorchScript deprecated
        torch.jit.trace(layer, torch.zeros(1, 3)).save(project / "traced.pt")
    (project / "setup_config.json").write_text(json.dumps({"do_lower_case": True, "mode": "sequence_classification"}))
    (project / "vocab.txt").write_text("red\ngreen\nblue\n")
    (project / "index_to_name.json").write_text(json.dumps({"0": "Red", "1": "Green", "2": "Blue"}))
    (project / "config.yaml").write_text("minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nhandler:\n  max_length: 10\n")
    with zipfile.ZipFile(project / "models.zip", "w") as file:
        source = "class Generator:\n    def load_state_dict(self, state): self.state = state\n"
        file.writestr("models/__init__.py", "")
        file.writestr("models/generator.py", source + "    def make(self, count): return [0] * count\n")
    (project / "requirements.txt").write_text("no-such-package-is-installed\n")
    (project / "helpers.py").write_text("def text_of(row): return row.get('data') or row.get('body')\n")
    (project / "more" / "parts").mkdir(parents=True)
    (project / "more" / "parts" / "inner.py").write_text("def louder(text): return text.upper()\n")
    (project / "more" / "words.txt").write_text("hello\nworld\n")
    for name, flags in ARCHIVES.items():
        common = ("--model-name", name, "--version", "1.0", "--export-path", str(store))
        torchserve.archiver(*common, *flags, folder=project)
    return store


@pytest.mark.parametrize(("method", "path", "request_"), CALLS)
def test_a_documented_handler_answers_the_same(both, method, path, request_) -> None:
    theirs, ours = (asked(base, method, path, request_) for base in both)

    assert ours[:2] == theirs[:2]
    assert list(differing(theirs[2], ours[2], path)) == []
