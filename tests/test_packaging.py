"""A built wheel carries the schemas and templates and finds them once installed."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_an_installed_wheel_finds_its_schemas_and_templates(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("torch_archive-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "--quiet", "install", wheel], check=True)
    archive = tmp_path / "env" / "bin" / "archive"
    schema = subprocess.run([archive, "schema", "model-config"], capture_output=True, text=True, check=True)
    assert '"batchSize"' in schema.stdout
    subprocess.run([archive, "init", tmp_path / "project"], check=True, capture_output=True)
    assert (tmp_path / "project" / "archive.yaml").is_file()
    served = subprocess.run([archive, "serve", tmp_path / "project"], capture_output=True, text=True, check=False)
    assert served.returncode == 1
    assert "pip install 'torch-archive[serve]'" in served.stderr
