"""Archives go both ways: from the real torch-model-archiver to here, from here to TorchServe."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from tests.archiver.signing.people import person
from tests.e2e.projects import archive
from tests.e2e.servers import running_server
from tests.interop.torchserve import TorchServe, installed

pytestmark = pytest.mark.interop

PROJECT = Path(__file__).parent / "projects" / "base_handler"
#: --archive-format of both archivers → the file it makes of a model
FORMATS = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}
ROWS = [[(row * 7 + pixel) % 17 / 16 for pixel in range(64)] for row in range(3)]


@pytest.fixture(scope="module")
def torchserve() -> TorchServe:
    return installed()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The handler and model of the project with a checkpoint, and what the model answers when called directly."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def expected(project) -> list[list[float]]:
    """Writes the checkpoint; what its model answers when it is simply called."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    torch.save({f"layers.{name}": value for name, value in layers.state_dict().items()}, project / "mlp.pt")
    with torch.no_grad():
        return layers(torch.tensor(ROWS)).tolist()


def flags(name: str, archive_format: str, store: Path) -> list[str]:
    """The same command line for both archivers."""
    return [
        *("--model-name", name, "--version", "1.0", "--serialized-file", "mlp.pt", "--model-file", "model.py"),
        *("--handler", "mlp_handler.py", "--config-file", "model-config.yaml"),
        *("--archive-format", archive_format, "--export-path", str(store)),
    ]


def answers(address: str, model: str) -> list[list[float]]:
    """What a server says to each row, as lists; it must answer 200."""
    with httpx.Client(base_url=address, timeout=60) as client:
        responses = [client.post(f"/predictions/{model}", json={"pixels": row}) for row in ROWS]
    return [response.raise_for_status().json() for response in responses]


def names(store: Path) -> dict[str, str]:
    """Model → its file in the store."""
    store.mkdir()
    return {f"m_{kind.replace('-', '_')}": f"m_{kind.replace('-', '_')}{end}" for kind, end in FORMATS.items()}


def test_archives_of_torch_model_archiver_are_served_unchanged(torchserve, project, expected, tmp_path):
    models = names(tmp_path / "store")
    for model, archive_format in zip(models, FORMATS, strict=True):
        torchserve.archiver(*flags(model, archive_format, tmp_path / "store"), folder=project)
    files = [tmp_path / "store" / file for file in models.values()]
    with running_server(*files, cache=tmp_path / "cache") as server:
        for model in models:
            assert answers(server.url, model) == [pytest.approx(row, abs=1e-5) for row in expected], model


def test_archives_made_here_load_and_predict_in_torchserve(torchserve, project, expected, tmp_path):
    """Signed ones, too, but for the first."""
    models = names(tmp_path / "store")
    for model, archive_format in zip(models, FORMATS, strict=True):
        archive("create", *flags(model, archive_format, tmp_path / "store"), folder=project)
    signer = person(tmp_path / "keys")
    for file in list(models.values())[1:]:
        archive("sign", tmp_path / "store" / file, "--key", signer.private, folder=project)
    with torchserve.serving(tmp_path / "store", list(models.values()), tmp_path) as (port, *_):
        for model in models:
            assert answers(f"http://127.0.0.1:{port}", model) == [pytest.approx(row, abs=1e-5) for row in expected], (
                model
            )


def test_both_archivers_name_the_same_things_in_the_manifest(torchserve, project, expected, tmp_path):
    from archiver.archive import Archive

    manifests = []
    (tmp_path / "theirs").mkdir()
    torchserve.archiver(*flags("m", "default", tmp_path / "theirs"), folder=project)
    archive("create", *flags("m", "default", tmp_path / "ours"), folder=project)
    for store in ("theirs", "ours"):
        with Archive.open(tmp_path / store / "m.mar") as opened:
            manifests.append(opened.manifest.raw)
    theirs, ours = manifests
    assert ours["model"] == theirs["model"]
    assert ours["runtime"] == theirs["runtime"]
    assert set(theirs) <= set(ours)
