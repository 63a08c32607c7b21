"""TorchServe's five published vulnerabilities, tried against a real server of ours: refused, and nothing happens.

Their list is in the GitHub advisory database under pytorch/serve.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runner.frontend.listener import LOCAL
from runner.torchserve.settings import THREE_ADDRESSES, TWO_RPC_ADDRESSES
from tests.builders import make_torchserve_archive
from tests.e2e.servers import Server, archive_command, running_server, write_model
from tests.hostile.rawzip import Raw, write_zip

ECHO = "def handle(data, ctx): return data and [row['body'] for row in data]\n"


class Site(ThreadingHTTPServer):
    """An internal web server that nobody should be able to reach through ours; it keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        self.server.asked.append(self.path)
        self.send_response(302 if "redirect" in self.path else 404)
        self.send_header("location", "/secret/evil.mar")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cves")


@pytest.fixture(scope="module")
def server(home: Path, site: Site) -> Iterator[Server]:
    """It may fetch archives from one folder of the site."""
    write_model(home / "store" / "good", ECHO)
    make_torchserve_archive(home / "outside.mar")
    allowed = ("--model-store", home / "store", "--allow-url", f"{site.url}/released/")
    with running_server(home / "store" / "good", *allowed, cache=home / "cache") as running:
        yield running


def refused(server: Server, url: str) -> str:
    """Why this registration is refused; the server serves on, what it served before."""
    answer = server.client.post("/models", params={"url": url})
    assert 400 <= answer.status_code < 500, answer.text
    assert [model["modelName"] for model in server.client.get("/models").json()["models"]] == ["m"]
    assert server.predict("x").text == "x"
    return str(answer.json()["message"])


def test_cve_2023_43654_management_is_not_for_strangers(tmp_path: Path) -> None:
    assert all(address.is_local for address in (LOCAL, *(address for address, _ in THREE_ADDRESSES)))
    model = write_model(tmp_path / "m", ECHO)
    done = archive_command("serve", str(model), "--host", "0.0.0.0", cache=tmp_path / "cache")
    assert done.returncode == 2
    assert "everybody who reaches it could use the server" in done.stderr


def test_cve_2023_43654_a_registration_makes_the_server_fetch_nothing(server: Server, site: Site) -> None:
    for url in (f"{site.url}/evil.mar", f"{site.url}/releasedevil.mar", "http://169.254.169.254/latest/x.mar"):
        assert "does not match any allowed URL(s)" in refused(server, url)
    refused(server, "file:///etc/passwd")
    assert not site.asked


def test_cve_2023_43654_a_redirect_does_not_lead_elsewhere(server: Server, site: Site) -> None:
    assert "does not match any allowed URL(s)" in refused(server, f"{site.url}/released/redirect.mar")
    assert "/secret/evil.mar" not in site.asked


TAGS = [
    '!!python/object/apply:os.system ["touch {pwned}"]',
    '!!python/object/new:subprocess.Popen [["touch", "{pwned}"]]',
    '!!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[!!java.net.URL ["{site}/"]]]]',
]


@pytest.mark.parametrize("tag", TAGS)
def test_cve_2022_1471_yaml_makes_no_objects(server: Server, home: Path, site: Site, tag: str) -> None:
    before, value = len(site.asked), tag.format(pwned=home / "pwned", site=site.url)
    config = f"minWorkers: 1\nmaxWorkers: 1\nown: {value}\n"
    folder = write_model(home / "store" / "yaml", ECHO, name="yaml", config=config)
    # Serving is lenient: the key is the handler's own, and its tag means nothing. Checking is not.
    assert server.client.post("/models", params={"url": "yaml"}).status_code == 200
    assert server.predict("x", model="yaml").text == "x"
    assert server.client.delete("/models/yaml").status_code == 200
    assert "[yaml/tag]" in archive_command("validate", str(folder / "model-config.yaml")).stdout
    assert not (home / "pwned").exists()
    assert len(site.asked) == before


def test_cve_2023_48299_an_archive_writes_nothing_outside_its_folder(server: Server, home: Path) -> None:
    for number, name in enumerate(("../slipped", "../../slipped", f"{home}/slipped", "a/../../slipped")):
        write_zip(home / "store" / f"slip{number}.mar", [Raw("handler.py"), Raw(name, b"x")])
        assert "refusing to open" in refused(server, f"slip{number}.mar")
    assert not [*home.rglob("slipped")]


def test_cve_2024_35198_dots_lead_nowhere(server: Server, site: Site) -> None:
    before = len(site.asked)
    for path in ("released/../secret/evil.mar", "released/%2e%2e/secret/evil.mar", "released/..%2fsecret/evil.mar"):
        assert "Relative path is not allowed in url" in refused(server, f"{site.url}/{path}")
    for path in ("../outside.mar", "good/../../outside.mar", "/etc/passwd"):
        assert "Relative path is not allowed in url" in refused(server, path)
    assert len(site.asked) == before


def test_cve_2024_35199_grpc_is_not_for_strangers(tmp_path: Path) -> None:
    assert all(address.is_local for address, _ in TWO_RPC_ADDRESSES)
    model = write_model(tmp_path / "m", ECHO)
    done = archive_command("serve", str(model), "--host", "::", "--grpc-port", "0", cache=tmp_path / "cache")
    assert done.returncode == 2
    assert "everybody who reaches it could use the server" in done.stderr
