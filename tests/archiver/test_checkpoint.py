from __future__ import annotations

import io
import zipfile

import pytest

from archiver.checkpoint import KINDS, kind
from tests.builders import safetensors, write


def _zip(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "suffix", "expected"),
    [
        (_zip("m/data.pkl", "m/data/0", "m/version"), ".pt", "state-dict"),
        (_zip("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"), ".pth", "torchscript"),
        (_zip("m/archive_format", "m/models/model.json"), ".pt2", "pt2"),
        (_zip("x/serialized_exported_program.json"), ".pt2", "pt2"),
        (_zip("m/archive_format", "m/data/aotinductor/model/a.so"), ".pt2", "aotinductor"),
        (_zip("other.txt"), ".pt", "unknown"),
        (b"PK\3\4 cut off", ".pt", "unknown"),
        (safetensors(), ".safetensors", "safetensors"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9", ".pt", "torch-legacy"),
        (b"\x08\x07\x12\x07pytorch", ".onnx", "onnx"),
        (b"\x7fELF\x02\x01", ".so", "shared-library"),
        (b"", ".pt", "unknown"),
        (b"\x80\x04\x95", ".pt", "unknown"),
    ],
)
def test_the_kind_of_a_checkpoint(tmp_path, content, suffix, expected):
    assert kind(write(tmp_path / f"m{suffix}", content)) == expected
    assert expected in KINDS


def test_what_torch_really_writes_is_told_apart(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 1)
    torch.save(module.state_dict(), tmp_path / "a.pt")
    torch.save(module.state_dict(), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert [kind(tmp_path / name) for name in ("a.pt", "b.pt")] == ["state-dict", "torch-legacy"]
