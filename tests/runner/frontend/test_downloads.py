"""Archives from elsewhere: from allowed addresses only, whole or not at all, and never out of the store."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from runner.frontend.downloads import AlreadyThere, DownloadFailed, Downloads, NotAllowed
from tests.e2e.servers import make_certificate


class Pages(BaseHTTPRequestHandler):
    """/ok/… has an archive, /to?… sends elsewhere, /short/… breaks off."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path.startswith("/to"):
            self.send_response(302)
            self.send_header("location", query)
            self.end_headers()
        elif path.startswith(("/ok", "/short")):
            self.send_response(200)
            self.send_header("content-length", "7" if path.startswith("/ok") else "700")
            self.end_headers()
            self.wfile.write(b"archive")
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


class Site(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with Site(("127.0.0.1", 0), Pages) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serving() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def test_an_archive_comes_into_the_store_under_its_name(site: str, store: Path) -> None:
    assert Downloads(store, [f"{site}/ok/"]).fetch(f"{site}/ok/a.mar?signature=1") == "a.mar"
    assert [path.name for path in store.iterdir()] == ["a.mar"]
    assert (store / "a.mar").read_bytes() == b"archive"


def test_a_redirect_to_an_allowed_address_is_followed(site: str, store: Path) -> None:
    Downloads(store, [f"{site}/"]).fetch(f"{site}/to/a.mar?{site}/ok/other.mar")
    assert (store / "a.mar").read_bytes() == b"archive"


@pytest.mark.parametrize(
    "address",
    [
        "{site}/other/a.mar",
        "{site}/okay/a.mar",
        "{site}/ok/../other/a.mar",
        "{site}/ok/%2e%2e/other/a.mar",
        "{site}/ok/.%2E/other/a.mar",
        "{site}/ok\\..\\other/a.mar",
        "{site}/ok/..;/../../other/a.mar",
        "{site}@127.0.0.2/ok/a.mar",
        "{site}.example.org/ok/a.mar",
        "{site}/ok/a.exe",
        "{site}/ok/.mar",
        "{site}/ok/%2Fetc%2Fa.mar",
        "{site}/to/a.mar?http://169.254.169.254/latest/a.mar",
        "{site}/to/a.mar?file:///etc/passwd",
        "https://127.0.0.1/ok/a.mar",
        "http://127.0.0.1.example.org/ok/a.mar",
        "http://user:word@127.0.0.1/ok/a.mar",
        "file:///etc/a.mar",
        "http://[::1/ok/a.mar",
        "ftp://127.0.0.1/ok/a.mar",
    ],
)
def test_what_is_not_allowed_leaves_nothing_behind(site: str, store: Path, address: str) -> None:
    downloads = Downloads(store, [f"{site}/ok", f"{site}/to/"])
    with pytest.raises(NotAllowed):
        downloads.fetch(address.format(site=site))
    assert [*store.iterdir()] == []


@pytest.mark.parametrize(
    ("path", "said"), [("/none/a.mar", "404"), ("/short/a.mar", "bytes"), ("/to/a.mar?/to/a.mar", "redirects")]
)
def test_an_archive_that_does_not_come_whole_is_not_there(site: str, store: Path, path: str, said: str) -> None:
    with pytest.raises(DownloadFailed, match=said):
        Downloads(store, [site]).fetch(f"{site}{path}")
    assert [*store.iterdir()] == []


def test_an_archive_that_is_too_large_is_not_kept(site: str, store: Path) -> None:
    with pytest.raises(DownloadFailed, match="larger than 3 bytes"):
        Downloads(store, [site], largest=3).fetch(f"{site}/ok/a.mar")
    assert [*store.iterdir()] == []


def test_a_file_of_that_name_stays_as_it_is(site: str, store: Path) -> None:
    (store / "a.mar").write_text("mine")
    with pytest.raises(AlreadyThere):
        Downloads(store, [site]).fetch(f"{site}/ok/a.mar")
    assert (store / "a.mar").read_text() == "mine"


def test_a_server_that_is_not_there_is_told(store: Path) -> None:
    with pytest.raises(DownloadFailed, match="Failed to download archive from"):
        Downloads(store, ["http://127.0.0.1:9/"]).fetch("http://127.0.0.1:9/a.mar")


@pytest.mark.parametrize("prefix", ["models.example.com", "ftp://x/", "https://", ".*"])
def test_a_prefix_that_is_no_address_is_refused(store: Path, prefix: str) -> None:
    with pytest.raises(NotAllowed):
        Downloads(store, [prefix])


def answering(*addresses: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: [*addresses]


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "fe80::1%lo", "fd00::1", "ff02::1", "::", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
    ],
)
def test_a_name_that_leads_to_no_public_address_is_refused(site: str, store: Path, address: str) -> None:
    prefix = site.replace("127.0.0.1", "models.example.com")
    downloads = Downloads(store, [prefix], resolve=answering("93.184.216.34", address))
    with pytest.raises(NotAllowed, match=rf"models.example.com is at {address}, which is no public .*private-url"):
        downloads.fetch(f"{prefix}/ok/a.mar")
    assert [*store.iterdir()] == []


def test_a_prefix_that_is_named_as_private_leads_into_a_private_network(site: str, store: Path) -> None:
    prefix = site.replace("127.0.0.1", "models.internal")
    downloads = Downloads(store, [], [f"{prefix}/ok/"], resolve=answering("127.0.0.1"))
    assert downloads.fetch(f"{prefix}/ok/a.mar") == "a.mar"
    with pytest.raises(NotAllowed):
        downloads.fetch(f"{prefix}/other/a.mar")


def test_a_redirect_is_looked_up_as_well(site: str, store: Path) -> None:
    inside = site.replace("127.0.0.1", "inside.example.com")
    downloads = Downloads(store, [site, inside], resolve=answering("127.0.0.1"))
    with pytest.raises(NotAllowed, match="inside.example.com is at"):
        downloads.fetch(f"{site}/to/a.mar?{inside}/ok/a.mar")


def test_a_name_is_looked_up_once_and_that_address_is_asked(site: str, store: Path) -> None:
    answers = iter([["127.0.0.1"]])
    prefix = site.replace("127.0.0.1", "rebinding.example.com")
    Downloads(store, [], [prefix], resolve=lambda host, port: next(answers)).fetch(f"{prefix}/ok/a.mar")
    assert (store / "a.mar").read_bytes() == b"archive"


def test_an_address_that_does_not_answer_leaves_the_others(site: str, store: Path) -> None:
    prefix = site.replace("127.0.0.1", "models.internal")
    downloads = Downloads(store, [], [prefix], resolve=answering("::1", "127.0.0.1"))
    assert downloads.fetch(f"{prefix}/ok/a.mar") == "a.mar"


def test_a_name_that_nobody_knows_is_told(store: Path) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(DownloadFailed, match="not known"):
        Downloads(store, ["https://none.invalid/"], resolve=unknown).fetch("https://none.invalid/a.mar")


@pytest.mark.parametrize(("host", "is_its"), [("models.internal", True), ("other.internal", False)])
def test_a_certificate_must_be_the_hosts(store: Path, monkeypatch: MonkeyPatch, host: str, is_its: bool) -> None:
    file, key = make_certificate(store.parent, "DNS:models.internal")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    with serving(context) as port:
        prefix = f"https://{host}:{port}/"
        downloads = Downloads(store, [], [prefix], resolve=answering("127.0.0.1"))
        if is_its:
            assert downloads.fetch(f"{prefix}ok/a.mar") == "a.mar"
        else:
            with pytest.raises(DownloadFailed, match="certificate is not valid for 'other.internal'"):
                downloads.fetch(f"{prefix}ok/a.mar")
