"""make_session(folder, handler source): a session as the front end would ask for it, in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archiver.config.model import ModelConfig, to_plain
from archiver.config.origins import Origin, effective
from runner import wire
from runner.worker.session import Session

ECHO = "def handle(data, context):\n    return [row.get('body') for row in data or []]\n"


def make_load(
    folder: Path,
    handler: str | None = "handler.py",
    config: Mapping[str, Any] | None = None,
    trusted: bool = False,
    envelope: str | None = None,
    compile_cache: Path | None = None,
    metrics: Sequence[wire.MetricDefinition] = (),
    **manifest: str,
) -> wire.Load:
    values = dict(config or {})
    settled = effective({Origin.YAML: values}, "cpu")
    model = {"modelName": "m", "modelVersion": "1.0", "handler": handler, **manifest}
    return wire.Load(
        model_name="m",
        model_version="1.0",
        model_dir=str(folder),
        manifest={"model": {key: value for key, value in model.items() if value is not None}},
        config=to_plain(ModelConfig.from_values(settled.values, values)),
        device="cpu",
        threads=1,
        cpus=None,
        trusted=trusted,
        envelope=envelope,
        digest="0" * 64,
        compile_cache=None if compile_cache is None else str(compile_cache),
        metrics=[*metrics],
    )


def make_session(folder: Path, source: str | None = ECHO, **arguments: Any) -> Session:
    """`source` becomes handler.py; None leaves the folder as it is."""
    if source is not None:
        (folder / "handler.py").write_text(source)
    return Session(make_load(folder, **arguments))


def opened(folder: Path, source: str | None = ECHO, **arguments: Any) -> Session:
    session = make_session(folder, source, **arguments)
    session.open()
    return session


def json_row(value: Any, row_id: str = "r1", **headers: str) -> wire.Row:
    return raw_row(json.dumps(value).encode(), "application/json", row_id, **headers)


def raw_row(body: bytes, content_type: str = "", row_id: str = "r1", **headers: str) -> wire.Row:
    packed = wire.pack_headers([(name.encode(), value.encode()) for name, value in headers.items()])
    return wire.Row(row_id, [("body", content_type, body)], packed)


def bodies(ran: wire.Ran | wire.Raised) -> list[Any]:
    """(status, decoded JSON or text) of each reply."""
    assert isinstance(ran, wire.Ran), ran
    return [
        (reply.status, json.loads(reply.body) if reply.content_type == "application/json" else reply.body.decode())
        for reply in ran.replies
    ]
