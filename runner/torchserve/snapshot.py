"""A snapshot: the server's config.properties with what it serves now, from which a server starts again as it was.

TorchServe writes a new file for each change; here one file is replaced, whole or not at all.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from archiver.errors import CannotWrite
from runner.pool.deployment import Deployment
from runner.pool.registry import Registry
from runner.torchserve.properties import dump

#: What the snapshot says in place of the file it was made from.
_REPLACED = ("load_models", "models", "model_snapshot", "model_store")


@dataclass(frozen=True)
class Snapshot:
    """`file` is kept up to date. `properties`: of the config.properties that the server was started with."""

    file: Path
    model_store: Path
    properties: Mapping[str, str]

    def save(self, registry: Registry) -> None:
        """Write what is served now. Raises CannotWrite, and then the file is as it was."""
        kept = {key: value for key, value in self.properties.items() if key not in _REPLACED}
        document = json.dumps(_document(registry, self.model_store.resolve()))
        text = dump({**kept, "model_store": str(self.model_store.resolve()), "model_snapshot": document})
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, new = tempfile.mkstemp(prefix=".snapshot", dir=self.file.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(new).replace(self.file)
        except OSError as error:
            raise CannotWrite(f"cannot write the snapshot {self.file}: {error.strerror or error}") from error


def _document(registry: Registry, store: Path) -> dict[str, Any]:
    models: dict[str, dict[str, Any]] = {}
    for default in registry.defaults():
        if default.workflow is not None:
            continue  # TorchServe's snapshots know no workflows, and would start its nodes as models
        name = default.model.name
        models[name] = {
            each.model.version: _version(each, store, is_default=each is default) for each in registry.versions(name)
        }
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"name": "snapshot.cfg", "modelCount": len(models), "created": created, "models": models}


def _version(deployment: Deployment, store: Path, *, is_default: bool) -> dict[str, Any]:
    config, archive = deployment.model.config, deployment.path.resolve()
    least, most = deployment.declared_workers()
    return {
        "defaultVersion": is_default,
        # An archive that is not in the store keeps its whole path, which stands alone when joined to the store's.
        "marName": str(archive.relative_to(store) if archive.is_relative_to(store) else archive),
        "minWorkers": least,
        "maxWorkers": most,
        "batchSize": config.batch_size,
        "maxBatchDelay": config.max_batch_delay,
        "responseTimeout": config.response_timeout,
        "startupTimeout": config.startup_timeout,
    }
