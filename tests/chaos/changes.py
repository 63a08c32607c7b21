"""What an operator does to a server that is busy: new versions, other numbers of workers, mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.stage import ECHO, TWO_WORKERS, Scenario, Stage
from tests.e2e.servers import Server, write_model

_LEAST = 300
BROKEN = 'raise RuntimeError("this version is broken")\n'


@contextmanager
def _with_store(stage: Stage) -> Iterator[tuple[Server, Path]]:
    """A server of version 1.0, and its model store."""
    store = stage.folder / "store"
    store.mkdir()
    with stage.serve(ECHO, "--model-store", str(store)) as server:
        yield server, store


def _put(store: Path, version: str, handler: str = ECHO) -> str:
    """A version in the store; the name under which it is registered."""
    return write_model(store / f"m{version}", handler, version=version, config=TWO_WORKERS).name


def reload(stage: Stage) -> None:
    with _with_store(stage) as (server, store), stage.load(server):
        for old, new in (("1.0", "2.0"), ("2.0", "3.0")):
            stage.answers(_LEAST)
            before = server.workers()
            for method, path in (
                ("POST", f"/models?url={_put(store, new)}"),
                ("PUT", f"/models/m/{new}/set-default"),
                ("DELETE", f"/models/m/{old}"),
            ):
                answer = server.client.request(method, path)
                stage.expect(answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}")
            stage.expect(server.describe()["modelVersion"] == new, f"version {new} does not answer")
            stage.expect(not set(before) & set(server.workers()), "workers of the old version are still there")
        stage.answers(_LEAST)
    stage.only("200")


def scale(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server):
        for workers in (4, 1, 3, 2):
            stage.answers(_LEAST)
            answer = server.client.put(f"/models/m?min_worker={workers}&max_worker={workers}&synchronous=true")
            stage.expect(answer.status_code == 200, f"scale to {workers}: {answer.status_code} {answer.text}")
            stage.expect(len(server.workers()) == workers, f"not {workers} workers")
        stage.answers(_LEAST)
    stage.only("200")


def scale_to_none_and_back(stage: Stage) -> None:
    with stage.serve() as server, stage.load(server, pause=0.005):
        for workers in (0, 2):
            stage.answers(_LEAST)
            answer = server.client.put(f"/models/m?min_worker={workers}&max_worker={workers}&synchronous=true")
            stage.expect(answer.status_code == 200, f"scale to {workers}: {answer.status_code} {answer.text}")
        served = stage.ledger.statuses["200"]
        stage.until(lambda: stage.ledger.statuses["200"] > served + _LEAST, "answers 200 again")
    stage.only("200", "503")


def bad_version(stage: Stage) -> None:
    with _with_store(stage) as (server, store), stage.load(server):
        stage.answers(_LEAST)
        workers = server.workers()
        answer = server.client.post(f"/models?url={_put(store, '2.0', BROKEN)}")
        stage.expect(answer.status_code == 500, f"a broken version was answered {answer.status_code}")
        stage.expect("this version is broken" in answer.text, f"the answer does not say why: {answer.text}")
        stage.expect([d["modelVersion"] for d in server.client.get("/models/m/all").json()] == ["1.0"], "it is there")
        stage.expect(server.workers() == workers, "the old version has other workers")
        stage.answers(_LEAST)
        again = server.client.post(f"/models?url={_put(store, '2.0')}")
        stage.expect(again.status_code == 200, f"the mended version was answered {again.status_code} {again.text}")
        stage.answers(_LEAST)
    stage.only("200")


SCENARIOS = (
    Scenario("two reloads of a new version under load", reload),
    Scenario("scale up and down under load", scale),
    Scenario("scale to no worker and back under load", scale_to_none_and_back),
    Scenario("a bad new version under load", bad_version),
)
