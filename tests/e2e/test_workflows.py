"""Workflows as TorchServe's users have them: a model store, a workflow archive, /workflows and /wfpredict."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archiver.workflow.pack import pack_workflow
from tests.e2e.servers import Server, archive_command, running_server, write_model
from tests.e2e.test_serving import Load

#: A model as its authors write them for workflows: what comes from another node is bytes.
MODEL = """
def handle(data, context):
    return data and [f"{context.model_name.rpartition('__')[2]}({text(row['body'])})" for row in data]
def text(body):
    return body if isinstance(body, str) else bytes(body).decode()
"""
FUNCTIONS = """
import os, json
from pathlib import Path
from ts.utils.util import PredictionException

def before(data, context):
    return data and [row["body"] for row in data]
def both(data, context):
    return data and [{name: bytes(value).decode() for name, value in row.items()} for row in data]
def raises(data, context):
    if data is not None: raise ValueError("no")
def refuses(data, context):
    if data is not None: raise PredictionException("too long", 413)
def at_second_try(data, context):
    tried = Path(__file__).with_name("tried")
    if data is not None and not tried.exists():
        tried.touch()
        raise ValueError("not yet")
    return data and ["done" for row in data]
def bytes_only(data, context):
    return data and [b"\\xff" for row in data]
def waits(data, context):
    if data is None: return
    folder = Path(os.environ["WAITS"])
    with open(folder / "arrived", "w") as pipe: pipe.write("x")
    with open(folder / "go") as pipe: pipe.read()
    return ["waited" for row in data]
"""
MODELS = "models: {m1: {url: m1}, m2: {url: m2}}\n"


def store_of(folder: Path, **specs: str) -> Path:
    """A model store with m1, m2, one that cannot load, and a workflow archive per spec."""
    for name in ("m1", "m2"):
        write_model(folder / name, MODEL, name=name)
    write_model(folder / "broken", "raise ImportError('no such thing')", name="broken")
    handler = folder / "functions.py"
    handler.write_text(FUNCTIONS)
    for name, spec in specs.items():
        (folder / f"{name}.yaml").write_text(spec)
        pack_workflow(name, folder / f"{name}.yaml", handler, [], folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workflows")
    store = store_of(
        folder / "store",
        diamond=MODELS + "dag: {before: [m1, m2], m1: [both], m2: [both]}",
        leaves="dag: {before: [both, bytes_only, at_second_try]}",
        two="models: {m1: {url: m1}}\ndag: {before: [m1, both]}",
        raises="models: {retry-attempts: 0}\ndag: {before: [raises]}",
        refuses="dag: {before: [refuses]}",
        again="dag: {at_second_try: []}",
        broken="models: {m1: {url: m1}, b: {url: broken}, n: {url: nothing}}\ndag: {m1: [b], b: [n]}",
    )
    with running_server("--model-store", store, cache=folder / "cache") as running:
        yield running


@pytest.fixture
def workflow(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The one that the test asks for by name, registered while it runs."""
    name = request.param
    answer = server.client.post("/workflows", params={"url": f"{name}.war"})
    assert answer.json() == {"status": f"Workflow {name} has been registered and scaled successfully."}
    yield name
    assert server.client.delete(f"/workflows/{name}").json() == {"status": f'Workflow "{name}" unregistered'}


def one(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("workflow", [name], indirect=True)


def ask(server: Server, workflow: str, text: str = "hi") -> tuple[int, object]:
    answer = server.client.post(f"/wfpredict/{workflow}", content=text, headers={"content-type": "text/plain"})
    is_json = answer.headers["content-type"].startswith("application/json")
    return answer.status_code, answer.json() if is_json else answer.text


def models(server: Server) -> list[str]:
    return [each["modelName"] for each in server.client.get("/models").json()["models"]]


@one("diamond")
def test_a_request_goes_through_every_node_and_the_last_one_answers(server: Server, workflow: str) -> None:
    assert ask(server, workflow) == (200, {"m1": "m1(hi)", "m2": "m2(hi)"})


@one("diamond")
def test_a_workflow_is_listed_and_described_as_torchserve_does(server: Server, workflow: str) -> None:
    assert server.client.get("/workflows").json() == {
        "workflows": [{"workflowName": "diamond", "workflowUrl": "diamond.war"}]
    }
    assert server.client.get("/workflows/diamond").json() == [
        {
            "workflowName": "diamond",
            "workflowUrl": "diamond.war",
            "minWorkers": 1,
            "maxWorkers": 1,
            "batchSize": 1,
            "maxBatchDelay": 50,
            "workflowDag": "{before=[m1, m2], m1=[both], m2=[both]}",
            "models": {node: f"diamond__{node}" for node in ("before", "m1", "m2", "both")},
        }
    ]


@one("two")
def test_the_answers_of_several_leaves_are_the_values_of_an_object(server: Server, workflow: str) -> None:
    assert ask(server, workflow) == (200, {"m1": "m1(hi)", "both": {"body": "hi"}})


@one("leaves")
def test_an_answer_that_is_no_text_cannot_stand_among_others(server: Server, workflow: str) -> None:
    status, answer = ask(server, workflow)
    assert (status, answer["message"]) == (
        500,
        "The answer of node bytes_only is no text, and cannot stand in a JSON object.",
    )


@one("raises")
def test_a_node_that_raises_is_named(server: Server, workflow: str) -> None:
    status, answer = ask(server, workflow)
    assert (status, answer["message"]) == (503, "Workflow raises, node raises: Prediction failed")


@one("refuses")
def test_a_node_that_refuses_its_input_is_not_asked_again_and_keeps_its_status(server: Server, workflow: str) -> None:
    assert ask(server, workflow)[0] == 413


@one("again")
def test_a_node_that_failed_is_asked_again(server: Server, workflow: str) -> None:
    assert ask(server, workflow) == (200, "done")


@one("diamond")
def test_a_node_stays_while_its_workflow_does(server: Server, workflow: str) -> None:
    answer = server.client.delete("/models/diamond__m1")
    assert (answer.status_code, answer.json()["message"]) == (
        409,
        'Model "diamond__m1" is a node of workflow "diamond": unregister the workflow.',
    )
    assert ask(server, workflow)[0] == 200


@one("diamond")
def test_a_workflow_comes_once(server: Server, workflow: str) -> None:
    again = server.client.post("/workflows", params={"url": "diamond.war"})
    assert (again.status_code, again.json()["message"]) == (409, "Workflow diamond is already registered.")
    other = server.client.post("/workflows", params={"url": "diamond.war", "workflow_name": "other"})
    assert other.status_code == 200
    assert ask(server, "other") == ask(server, workflow)
    server.client.delete("/workflows/other")


def test_a_workflow_whose_nodes_cannot_all_start_leaves_nothing_and_says_which(server: Server) -> None:
    answer = server.client.post("/workflows", params={"url": "broken.war"})
    message = answer.json()["message"]
    assert (answer.status_code, answer.json()["type"]) == (500, "WorkflowException")
    assert "Workflow Node broken__b failed to register. Details: ImportError: no such thing" in message
    assert "Workflow Node broken__n failed to register. Details: Model not found at: nothing" in message
    assert models(server) == []
    assert ask(server, "broken")[0] == 404


@pytest.mark.parametrize(
    ("url", "status"), [("nothing.war", 404), ("../store/two.war", 200), ("../../x.war", 404), ("m1", 400)]
)
def test_a_workflow_comes_from_the_store_only(server: Server, url: str, status: int) -> None:
    assert server.client.post("/workflows", params={"url": url}).status_code == status
    server.client.delete("/workflows/two")


def arrived(folder: Path) -> None:
    """Until a row has reached the function that waits, which opens the pipe and closes it."""
    pipe = os.open(folder / "arrived", os.O_RDONLY | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(pipe)
    assert poll.poll(60_000), "no row reached the function"
    os.close(pipe)


@pytest.fixture
def pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("arrived", "go"):
        os.mkfifo(tmp_path / name)
    monkeypatch.setenv("WAITS", str(tmp_path))
    return tmp_path


def test_a_node_that_takes_too_long_is_told_with_its_limit(tmp_path: Path, pipes: Path) -> None:
    store = store_of(tmp_path / "store", w="models: {timeout-ms: 500, retry-attempts: 0}\ndag: {waits: []}")
    with running_server(store / "w.war", cache=tmp_path / "cache") as server, ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, server, "w")
        arrived(pipes)
        status, answer = asking.result()
        (pipes / "go").write_text("")
    assert (status, answer["message"]) == (
        504,
        "Workflow w, node waits: No answer within 500 ms (timeout-ms), asked 1 times.",
    )


def test_requests_on_their_way_are_answered_before_their_workflow_goes(tmp_path: Path, pipes: Path) -> None:
    store = store_of(tmp_path / "store", w="models: {m1: {url: m1}}\ndag: {waits: [m1]}")
    with running_server(store / "w.war", "--model-store", store, cache=tmp_path / "cache") as server:
        assert server.said[0].startswith(f"ready  {server.url}/wfpredict/w   workflow of 2 nodes")
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(ask, server, "w")
            arrived(pipes)
            leaving = pool.submit(server.client.delete, "/workflows/w")
            while server.client.get("/workflows/w").status_code != 404:
                assert not leaving.done()
            (pipes / "go").write_text("")
            assert asking.result() == (200, "m1(waited)")
            assert leaving.result().status_code == 200
        assert models(server) == []


def test_a_client_that_hangs_up_does_not_hold_up_its_workflow(tmp_path: Path, pipes: Path) -> None:
    store = store_of(tmp_path / "store", w="models: {m1: {url: m1}}\ndag: {waits: [m1]}")
    with running_server(store / "w.war", "--model-store", store, cache=tmp_path / "cache") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /wfpredict/w HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
            arrived(pipes)
        assert server.client.delete("/workflows/w").status_code == 200
        assert models(server) == []


def test_workers_of_nodes_may_change_in_number_under_load_without_a_lost_request(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", w=MODELS + "dag: {before: [m1, m2], m1: [both], m2: [both]}")
    with running_server(store / "w.war", "--model-store", store, cache=tmp_path / "cache") as server:
        load = Load(server, path="/wfpredict/w")
        load.wait_for_answers(20)
        for count in (3, 1):
            scaled = server.client.put("/models/w__m1", params={"min_worker": count, "synchronous": "true"})
            assert scaled.status_code == 200, scaled.text
            load.wait_for_answers(20)
        assert set(load.stop()) == {"200"}


def test_a_snapshot_knows_no_nodes_of_workflows(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", w="models: {m1: {url: m1}}\ndag: {m1: []}")
    options = ["--model-store", store, "--models", "m2", "--snapshot", tmp_path / "kept.cfg"]
    with running_server(store / "w.war", *options, cache=tmp_path / "cache") as server:
        assert ask(server, "w") == (200, "m1(hi)")
        kept = (tmp_path / "kept.cfg").read_text()
        assert ("m2" in kept, "w__m1" in kept) == (True, False)


def test_a_workflow_that_cannot_start_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", w="models: {m: {url: nothing.mar}}\ndag: {m: []}")
    done = archive_command("serve", str(store / "w.war"), "--port", "0", cache=tmp_path / "cache")
    assert done.returncode == 1
    assert "Workflow Node w__m failed to register" in done.stderr
    assert "--model-store DIR" in done.stderr
