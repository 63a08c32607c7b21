"""For a project's own tests: its handler, loaded and answering in this process exactly as in a worker.

    from runner.testing import model_of

    with model_of(Path(__file__).parent) as model:
        assert model.predict({"rgb": [255, 0, 0]})["label"] == "red"

No server, no second process: a debugger works, and what the handler raises at load passes as it is.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from archiver.config.model import to_plain
from archiver.pack import create
from archiver.project import PROJECT_FILE, load_project
from archiver.store import Unpacked, unpack
from runner import wire
from runner.settings import declared
from runner.worker.session import Session


class Refused(Exception):
    """The row was answered with an error: `status` as in HTTP, `message` as the client would read it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model. `report`: what was declared, applied and measured, as `archive serve` shows it."""

    session: Session
    report: dict[str, Any]

    def predict(self, payload: Any) -> Any:
        """The answer to one request. Raises Refused when it is an error."""
        (answer,) = self.batch([payload])
        if isinstance(answer, Refused):
            raise answer
        return answer

    def batch(self, payloads: Sequence[Any]) -> list[Any]:
        """One answer per request, all of them in one batch; Refused stands where a row failed alone.

        str is sent as text, bytes as they are, anything else as JSON. JSON answers come decoded, text as str.
        Raises what the handler raises for the batch as a whole.
        """
        rows = [_row(str(number), payload) for number, payload in enumerate(payloads)]
        return [_value(reply) for reply in self.session.answer(rows).replies]


@contextmanager
def model_of(path: Path, *, device: str = "cpu") -> Iterator[Model]:
    """A project's folder (one that holds an archive.yaml) or an archive, loaded on `device` until the block ends.

    The project is packed to a folder of its own first, so that what is tested is what the archive would hold.
    Raises InvalidInput and the other errors of `archive create`, and whatever the handler raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        unpacked = unpack(_packed(path, Path(folder)))
        session = Session(_load_order(unpacked, path, device))
        try:
            with _given_back(unpacked.model_dir):
                yield Model(session, session.load())
        finally:
            session.close()
            unpacked.lease.release()


def _packed(path: Path, folder: Path) -> Path:
    if not (path / PROJECT_FILE).is_file():
        return path
    project = replace(load_project(path), export_path=folder, archive_format="no-archive")
    return create(project).path


def _load_order(unpacked: Unpacked, path: Path, device: str) -> wire.Load:
    """One worker with one thread. The user named the file, so its checkpoint is trusted."""
    config, _ = declared(unpacked.config_text, str(path), lenient=False).settle({}, device.partition(":")[0])
    return wire.Load(
        model_name=unpacked.manifest.model_name,
        model_version=unpacked.manifest.model_version,
        model_dir=str(unpacked.model_dir),
        manifest=dict(unpacked.manifest.raw),
        config=to_plain(config),
        device=device,
        threads=1,
        cpus=None,
        trusted=True,
        envelope=unpacked.manifest.envelope,
    )


@contextmanager
def _given_back(model_dir: Path) -> Iterator[None]:
    """A session takes the working directory, the import path and the environment; afterwards they are as before,
    and the archive's modules are forgotten, so that the next project may have a `model.py` too."""
    folder, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    try:
        yield
    finally:
        os.chdir(folder)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
        for name in [name for name, module in sys.modules.items() if _lies_in(module, model_dir)]:
            del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(folder.resolve())


def _row(row_id: str, payload: Any) -> wire.Row:
    """The payload as the raw body of a request."""
    if isinstance(payload, str):
        kind, body = "text/plain; charset=utf-8", payload.encode()
    elif isinstance(payload, bytes):
        kind, body = "application/octet-stream", payload
    else:
        kind, body = "application/json", json.dumps(payload).encode()
    headers = wire.pack_headers([(b"content-type", kind.encode())])
    return wire.Row(row_id, [("body", kind, body)], headers)


def _value(reply: wire.Reply) -> Any:
    kind = reply.content_type.partition(";")[0]
    value = json.loads(reply.body) if kind == "application/json" else reply.body
    if reply.status >= 400:
        return Refused(
            reply.status, value["message"] if isinstance(value, dict) and "message" in value else str(value)
        )
    return value.decode() if kind.startswith("text/") else value
