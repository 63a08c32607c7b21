"""ts.torch_handler.unit_tests.test_utils.mock_context: a context for the tests of a handler."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import yaml

from runner import wire
from runner.handlers.context import Context


class MockContext(Context):
    """A context of one request without headers. `explain` set to True makes it a request for an explanation."""

    def __init__(
        self,
        model_pt_file: str | None = "model.pt",
        model_dir: str | os.PathLike[str] = ".",
        model_file: str | None = "model.py",
        gpu_id: str | int | None = 0,
        model_name: str = "mnist",
        model_yaml_config_file: str | None = None,
    ) -> None:
        files = {"serializedFile": model_pt_file, "modelFile": model_file, "configFile": model_yaml_config_file}
        manifest = {"model": {key: value for key, value in files.items() if value}}
        # TorchServe's mock names a GPU whether there is one or not.
        gpu = int(gpu_id) if gpu_id is not None and torch.cuda.is_available() else None
        config = _config(Path(model_dir) / model_yaml_config_file) if model_yaml_config_file else {}
        super().__init__(model_name, str(model_dir), manifest, 1, gpu, "mock", model_yaml_config=config)
        self.explain = False
        self.begin([wire.Row("0", [("body", "", b"")], b"")])

    def get_request_header(self, idx: int, key: str) -> Any:
        """A header of the request; "explain" from the attribute."""
        return str(self.explain) if key == "explain" else super().get_request_header(idx, key)


def _config(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
