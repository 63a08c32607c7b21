"""Archives from elsewhere: from allowed addresses only, whole or not at all, and never out of the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runner.frontend.downloads import AlreadyThere, DownloadFailed, Downloads, NotAllowed


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


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


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
