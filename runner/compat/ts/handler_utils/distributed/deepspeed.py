"""ts.handler_utils.distributed.deepspeed: a model behind DeepSpeed's inference engine, as the config says.

handler: {model_path: FOLDER}
deepspeed: {config: FILE, checkpoint: FILE}      # files of the archive; the second is written
"""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from runner.handlers.errors import CannotLoad

__all__ = ["create_checkpoints_json", "get_ds_engine"]

_WEIGHTS = (".bin", ".pt")


def create_checkpoints_json(model_path: str | Path, checkpoints_json: str | Path) -> None:
    """List the checkpoints below a folder in DeepSpeed's form. Raises OSError."""
    found = sorted(str(path) for path in Path(model_path).rglob("*") if path.suffix in _WEIGHTS and path.is_file())
    Path(checkpoints_json).write_text(json.dumps({"type": "ds_model", "checkpoints": found, "version": 1.0}))


def get_ds_engine(model: Any, ctx: Any) -> Any:
    """DeepSpeed's engine for the model. Raises CannotLoad without deepspeed or its part of the config, and what
    deepspeed raises."""
    wanted = ctx.model_yaml_config.get("deepspeed")
    if wanted is None:
        raise CannotLoad("get_ds_engine() needs the key `deepspeed` in the model's config: `config`, `checkpoint`")
    if find_spec("deepspeed") is None:
        raise CannotLoad("get_ds_engine() needs deepspeed, which is not installed: pip install deepspeed")
    model_dir, model_path = Path(ctx.system_properties["model_dir"]), ctx.model_yaml_config["handler"]["model_path"]
    named = {key: model_dir / wanted[key] for key in ("config", "checkpoint") if key in wanted}
    if "config" in named and not named["config"].is_file():
        raise CannotLoad(f"deepspeed.config: {wanted['config']} is not in the archive")
    if "checkpoint" in named:
        create_checkpoints_json(model_path, named["checkpoint"])
    files = {key: str(named[key]) if key in named else None for key in ("config", "checkpoint")}
    return importlib.import_module("deepspeed").init_inference(model, base_dir=model_path, **files)
