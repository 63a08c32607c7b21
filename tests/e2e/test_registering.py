"""Models are registered, scaled and unregistered over HTTP while clients post without pause."""

from __future__ import annotations

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.servers import Server, running_server, write_model
from tests.e2e.test_serving import ECHO, Load

ONE = "minWorkers: 1\nmaxWorkers: 1\njobQueueSize: 20000\n"


def store_of(folder: Path) -> Path:
    """A model store: `m` in three versions, one that cannot load, one whose config is no YAML, and another one."""
    for version in ("1.0", "2.0", "3.0"):
        write_model(folder / f"m{version}", ECHO, version=version, config=ONE)
    write_model(folder / "broken", "raise ImportError('no such thing')", name="broken", config=ONE)
    write_model(folder / "unreadable", ECHO, name="unreadable", config="minWorkers: 1\n  batchSize: 4\n")
    write_model(folder / "other", ECHO, name="other", config=ONE)
    return folder


def put(server: Server, path: str, **params: object) -> str:
    answer = server.client.put(path, params=params)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


def register(server: Server, **params: object) -> tuple[int, str]:
    answer = server.client.post("/models", params=params)
    body = answer.json()
    return answer.status_code, body.get("status") or body["message"]


def test_a_new_version_comes_grows_shrinks_and_replaces_the_old_one_without_a_lost_request(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    with running_server(store / "m1.0", "--model-store", store, cache=tmp_path / "cache") as server:
        load = Load(server)
        load.wait_for_answers(20)
        assert register(server, url="m2.0") == (200, 'Model "m" Version: 2.0 registered with 1 initial workers')
        assert server.describe()["modelVersion"] == "1.0"
        put(server, "/models/m/2.0/set-default")
        assert put(server, "/models/m", min_worker=3, synchronous="true") == "Workers scaled to 3 for model: m"
        assert len(server.workers()) == 3
        load.wait_for_answers(20)
        put(server, "/models/m/2.0", min_worker=1, synchronous="true")
        described = server.describe()
        settings = {row["key"]: (row["value"], row["origin"]) for row in described["settings"]}
        assert settings["minWorkers"] == (1, "api")
        assert (described["minWorkers"], described["maxWorkers"]) == (1, 1)
        assert server.client.delete("/models/m/1.0").status_code == 200
        load.wait_for_answers(20)
        assert set(load.stop()) == {"200"}
        assert server.stop() == 0


def test_what_cannot_be_registered_is_refused_and_what_serves_goes_on(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    with running_server(store / "m1.0", "--model-store", store, cache=tmp_path / "cache") as server:
        assert register(server) == (400, "Parameter url is required.")
        assert register(server, url="m1.0") == (409, "Model version 1.0 is already registered for model m")
        reason = "Failed to start workers for model broken version: 1.0: ImportError: no such thing"
        assert register(server, url="broken") == (500, reason)
        status, said = register(server, url="unreadable")
        assert (status, "unreadable:2:12: error: a second `:` here" in said) == (400, True)
        assert register(server, url="other", batch_size="many")[1].startswith("Parameter batch_size must be")
        assert register(server, url="https://example.org/a.mar")[0] == 400
        assert register(server, url="other", synchronous="maybe")[0] == 400
        assert register(server, url="other", runtime="lsp") == (400, "Invalid RuntimeType value: lsp")
        assert (
            server.client.post("/models", content=b"{", headers={"content-type": "application/json"}).status_code
            == 400
        )
        answer = server.client.put("/models/m", params={"min_worker": 3, "max_worker": 1})
        assert (answer.status_code, answer.json()["message"]) == (400, "max_worker cannot be less than min_worker.")
        assert [each["modelName"] for each in server.client.get("/models").json()["models"]] == ["m"]
        assert server.predict(b"x").status_code == 200


@pytest.mark.parametrize("wait", ["true", "false"])
def test_a_model_can_be_registered_without_workers_and_get_some_later(tmp_path: Path, wait: str) -> None:
    store = store_of(tmp_path / "store")
    with running_server(store / "m1.0", "--model-store", store, cache=tmp_path / "cache") as server:
        status, said = register(server, url="other", model_name="mine", initial_workers=0, batch_size=4)
        assert (status, "registered with 0 initial workers. Use scale workers API" in said) == (200, True)
        assert server.predict(b"x", model="mine").status_code == 503
        answer = server.client.put("/models/mine", params={"min_worker": 1, "synchronous": wait})
        assert answer.status_code == (200 if wait == "true" else 202)
        while server.predict(b"x", model="mine").status_code == 503:
            pass
        described = server.describe("mine")
        assert described["batchSize"] == 4
        assert next(row for row in described["settings"] if row["key"] == "batchSize")["origin"] == "api"


def test_a_server_can_start_with_a_store_alone(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    with running_server("--model-store", store, "--models", "mine=other", cache=tmp_path / "cache") as server:
        assert server.predict(b"x", model="mine").status_code == 200


def test_parameters_may_be_json_and_the_handler_another_one(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    (store / "other" / "louder.py").write_text("def handle(data, context): return data and ['LOUD' for _ in data]")
    with running_server(store / "m1.0", "--model-store", store, cache=tmp_path / "cache") as server:
        asked = {"url": "other", "handler": "louder.py", "initial_workers": 1, "synchronous": True}
        answer = server.client.post("/models", json=asked)
        assert (answer.status_code, server.predict(b"x", model="other").text) == (200, "LOUD")
        assert server.describe("other")["loadedAtStartup"] is False
        assert server.describe("m")["loadedAtStartup"] is True


def test_a_registration_that_was_refused_does_not_take_its_name(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    with running_server(store / "m1.0", "--model-store", store, cache=tmp_path / "cache") as server:
        for wrong in ({"synchronous": "maybe"}, {"initial_workers": "some"}, {"batch_size": 0}):
            assert register(server, url="other", **wrong)[0] == 400
        assert register(server, url="other")[0] == 200
        assert register(server, url="other")[0] == 409
        assert server.predict(b"x", model="other").status_code == 200


SLOW_TO_COME = """
import os, time
with open("come", "a") as file: file.write("x")
while os.path.exists("wait") and os.path.getsize("come") > 1: time.sleep(0.01)
def handle(data, context): return data and [row.get("body") for row in data]
"""


def test_a_model_can_be_unregistered_while_workers_join_it_and_comes_again(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store")
    slow = write_model(store / "slow", SLOW_TO_COME, name="slow", config=ONE, wait="", come="")
    with running_server(store / "m1.0", "--model-store", store, cache=tmp_path / "cache") as server:
        assert register(server, url="slow") == (200, 'Model "slow" Version: 1.0 registered with 1 initial workers')
        with ThreadPoolExecutor(1) as pool:
            scaling = pool.submit(server.client.put, "/models/slow", params={"min_worker": 3, "synchronous": "true"})
            while not [each for each in server.describe("slow")["workers"] if each["status"] == "LOADING"]:
                pass
            assert server.predict(b"x", model="slow").status_code == 200
            assert server.client.delete("/models/slow").json() == {"status": 'Model "slow" unregistered'}
            answer = scaling.result()
        assert (answer.status_code, "being unregistered" in answer.json()["message"]) == (500, True)
        (slow / "wait").unlink()
        assert register(server, url="slow")[0] == 200
        assert server.predict(b"x", model="slow").status_code == 200
        assert server.stop() == 0


def test_an_archive_without_a_manifest_is_served_by_its_handler(tmp_path: Path) -> None:
    bare = tmp_path / "bare.mar"
    with zipfile.ZipFile(bare, "w") as archive:
        archive.writestr("handler.py", ECHO)
    with running_server(bare, cache=tmp_path / "cache") as server:
        assert server.predict(b"x", model="bare").status_code == 200


@pytest.mark.parametrize("way", ["flag", "config.properties"])
def test_an_archive_comes_from_an_allowed_address_and_from_no_other(tmp_path: Path, way: str) -> None:
    elsewhere, store = tmp_path / "elsewhere", tmp_path / "store"
    elsewhere.mkdir()
    store.mkdir()
    with zipfile.ZipFile(elsewhere / "far.mar", "w") as archive:
        archive.writestr("handler.py", ECHO)
    pages = partial(SimpleHTTPRequestHandler, directory=str(elsewhere))
    with ThreadingHTTPServer(("127.0.0.1", 0), pages) as site:
        threading.Thread(target=site.serve_forever).start()
        url = f"http://127.0.0.1:{site.server_port}/"
        (tmp_path / "config.properties").write_text(f"allowed_urls=file://.*,{url}.*\n")
        allowing = ("--allow-url", url) if way == "flag" else ("--ts-config", tmp_path / "config.properties")
        options = ("--model-store", store, *allowing)
        with running_server(*options, cache=tmp_path / "cache") as server:
            assert register(server, url=f"{url}far.mar")[0] == 200
            assert server.predict(b"x", model="far").status_code == 200
            status, said = register(server, url=f"http://localhost:{site.server_port}/far.mar")
            assert (status, "does not match any allowed URL" in said) == (400, True)
            assert register(server, url=f"{url}none.mar")[1].startswith("Failed to download archive from: ")
        site.shutdown()


DESCRIBES = """
from ts.torch_handler.base_handler import BaseHandler
class Handler(BaseHandler):
    def initialize(self, context): self.context = context
    def preprocess(self, data): return data
    def inference(self, data): return data
    def postprocess(self, data): return ['answer'] * len(data)
    def get_insights(self, tensor, inputs, target): return ['insight']
    def describe_handle(self): return {'labels': 10}
"""


def test_a_handler_describes_itself_and_explanations_never_mix_with_predictions(tmp_path: Path) -> None:
    config = ONE + "batchSize: 8\nbatchPolicy: delay\nmaxBatchDelay: 300\n"
    archive = write_model(tmp_path / "m", DESCRIBES, config=config)
    with running_server(archive, cache=tmp_path / "cache") as server, ThreadPoolExecutor(3) as pool:
        plain = server.client.get("/models/m").json()[0]
        asked = server.client.get("/models/m?customized=true").json()[0]
        paths = ["/predictions/m", "/explanations/m", "/predictions/m"]
        answers = list(pool.map(lambda path: server.client.post(path, content=b"x").text, paths))
    assert ("customizedMetadata" in plain, asked["customizedMetadata"]) == (False, {"labels": 10})
    assert answers == ["answer", "insight", "answer"]
