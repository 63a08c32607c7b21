"""ts.torch_handler.unit_tests.test_utils.model_dir: the folder of a model that a handler's test loads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["copy_files", "download_model"]


def copy_files(src_dir: Path, dst_dir: Path, files: Mapping[str, str]) -> None:
    """Copy each file under its new name. Raises OSError."""
    for source, target in files.items():
        shutil.copyfile(Path(src_dir) / source, Path(dst_dir) / target)


def download_model(model_url: str, model_dir: Path) -> None:
    """Raises NotImplementedError: nothing is downloaded here."""
    raise NotImplementedError(f"download {model_url} beforehand and copy it to {Path(model_dir) / 'model.pt'}")
