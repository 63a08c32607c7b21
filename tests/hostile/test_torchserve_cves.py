"""TorchServe's five CVEs, tried against a real server and the code beneath it. None of them can happen here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archiver.archive import Archive
from archiver.config.validate import examine_config, examine_project
from archiver.errors import RefusedArchive
from archiver.store import unpack
from archiver.workflow.spec import read_spec
from runner.frontend.downloads import Downloads, NotAllowed
from runner.torchserve import settings
from tests.e2e.servers import Server, archive_command, running_server, write_model
from tests.e2e.test_serving import ECHO
from tests.hostile.rawzip import Raw, write_zip

SLIPS = ("../evil.py", "a/../../evil.py", "/tmp/evil.py", "..\\evil.py", "../store-evil/evil.py", "C:\\evil.py")


class Elsewhere(BaseHTTPRequestHandler):
    """A site that counts who asks, and sends everybody on to itself."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("location", "/evil.mar")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it starts when nobody says anything about addresses, with a store of hostile archives."""
    folder = tmp_path_factory.mktemp("cves")
    model = write_model(folder / "m", ECHO)
    (folder / "store").mkdir()
    for number, name in enumerate(SLIPS):
        write_zip(folder / "store" / f"slip{number}.mar", [Raw("handler.py", ECHO.encode()), Raw(name)])
    options = ("--model-store", folder / "store", "--grpc-port", "0")
    with running_server(model, *options, cache=folder / "cache") as running:
        yield running


def test_cve_2023_43654_management_is_for_this_machine_alone(server: Server, tmp_path: Path) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    model = write_model(tmp_path / "m", ECHO)
    done = archive_command("serve", str(model), "--host", "0.0.0.0", "--port", "0", cache=tmp_path / "cache")
    assert done.returncode != 0 and "there are no keys" in done.stderr


@pytest.mark.parametrize("url", ["{site}/evil.mar", "{site}/x?.mar", "HTTP://{host}/evil.mar", "//{host}/evil.mar"])
def test_cve_2023_43654_no_archive_is_fetched_from_anywhere(server: Server, elsewhere: str, url: str) -> None:
    Elsewhere.asked.clear()
    address = url.format(site=elsewhere, host=elsewhere.removeprefix("http://"))
    assert server.client.post("/models", params={"url": address}).status_code in (400, 404)
    assert not Elsewhere.asked


def test_cve_2023_43654_an_allowed_address_does_not_lead_to_another(elsewhere: str, tmp_path: Path) -> None:
    Elsewhere.asked.clear()
    with pytest.raises(NotAllowed):
        Downloads(tmp_path, [f"{elsewhere}/models/"]).fetch(f"{elsewhere}/models/good.mar")
    assert Elsewhere.asked == ["/models/good.mar"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "payload",
    [
        "!!python/object/apply:os.system ['touch {file}']",
        "!!python/object/new:subprocess.Popen [['touch', '{file}']]",
        "!!python/name:os.system ''",
        "!!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[!!java.net.URL ['http://127.0.0.1/']]]]",
        '&a !!python/object/apply:builtins.exec [\'open("{file}", "w")\']',
    ],
)
def test_cve_2022_1471_yaml_makes_no_objects(payload: str, tmp_path: Path) -> None:
    file = tmp_path / "ran"
    text = f"handler:\n  evil: {payload.format(file=file)}\n"
    assert any(finding.code == "yaml/tag" for finding in examine_config(text, "model-config.yaml").findings)
    assert any(finding.code == "yaml/tag" for finding in examine_project(text, "archive.yaml").findings)
    spec, findings = read_spec(f"models: {{m: {{url: x}}}}\ndag: {{a: [b]}}\n{text}", "spec.yaml")
    assert spec is None and any(finding.code == "yaml/tag" for finding in findings)
    assert not file.exists()


@pytest.mark.parametrize("number", range(len(SLIPS)), ids=SLIPS)
def test_cve_2023_48299_an_archive_that_climbs_out_is_not_registered(server: Server, number: int) -> None:
    answer = server.client.post("/models", params={"url": f"slip{number}.mar"})
    assert answer.status_code == 400 and "refusing to open" in answer.json()["message"]
    assert server.predict(b"x").status_code == 200


@pytest.mark.parametrize("name", SLIPS)
def test_cve_2023_48299_nothing_of_it_is_unpacked(name: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "slip.mar", [Raw("handler.py"), Raw(name)])
    with pytest.raises(RefusedArchive):
        Archive.open(path)
    with pytest.raises(RefusedArchive):
        unpack(path, cache=tmp_path / "cache")
    assert [found.name for found in tmp_path.iterdir()] == ["slip.mar"]


@pytest.mark.parametrize(
    "path",
    [
        "/models/../evil.mar",
        "/models/%2e%2e/evil.mar",
        "/models/.%2E/evil.mar",
        "/models/x/../../evil.mar",
        "/models/..%2fevil.mar",
        "/models\\..\\evil.mar",
        "/models/..;/evil.mar/../../evil.mar",
        "/models-evil/evil.mar",
        "/modelsevil.mar",
        "@127.0.0.2/models/evil.mar",
        ".evil.test/models/evil.mar",
        "#@host/models/evil.mar",
    ],
)
def test_cve_2024_35198_allowed_addresses_cannot_be_left(elsewhere: str, path: str, tmp_path: Path) -> None:
    Elsewhere.asked.clear()
    with pytest.raises(NotAllowed):
        Downloads(tmp_path, [f"{elsewhere}/models"]).fetch(elsewhere + path)
    assert not Elsewhere.asked and not list(tmp_path.iterdir())


def test_cve_2024_35199_grpc_is_for_this_machine_alone(server: Server, tmp_path: Path) -> None:
    assert server.grpc.startswith("127.0.0.1:")
    assert all(address.is_local for address, _ in settings.TWO_RPC_ADDRESSES)
    (tmp_path / "store").mkdir()
    config = tmp_path / "config.properties"
    config.write_text(f"grpc_inference_address=0.0.0.0\nmodel_store={tmp_path / 'store'}\nmodels=\n")
    done = archive_command("serve", "--ts-config", str(config), cache=tmp_path / "cache")
    assert done.returncode != 0 and "there are no keys" in done.stderr
