from __future__ import annotations

import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from runner.handlers import weights
from runner.handlers.errors import CannotLoad
from tests.archiver.scan.payloads import calling
from tests.archiver.scan.test_nested import zipped
from tests.runner.handlers.nets import NET, state, write_net

CPU = torch.device("cpu")
ONES = torch.ones(1, 2)


def load(folder: Path, serialized: str | None = None, model_file: str | None = None):
    model = {"serializedFile": serialized, "modelFile": model_file}
    return weights.load_model(folder, {"model": {key: value for key, value in model.items() if value}}, CPU)


def shared_with(tensor: torch.Tensor, file: Path) -> bool:
    """Whether the tensor's memory is a mapping of the file."""
    address = tensor.untyped_storage().data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.endswith(str(file.resolve()))
    return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_plain_module_is_built_on_meta_and_its_weights_are_the_files_own_pages(tmp_path, name):
    write_net(tmp_path)
    big = {"linear.weight": state()["linear.weight"], "linear.bias": torch.zeros(3)}
    torch.save(big, tmp_path / name) if name.endswith("pt") else save_file(big, tmp_path / name)

    model, origin = load(tmp_path, name, "net.py")

    assert origin.way == "built on meta, weights mapped"
    assert model(ONES).tolist() == [[2.0, 4.0, 6.0]]
    assert not model.training
    if name.endswith("pt"):
        assert shared_with(model.linear.weight, tmp_path / name)


EMBEDDING = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3, 2)
        nn.init.constant_(self.embedding.weight, nn.init.calculate_gain("relu"))
        self.embedding.weight.data.normal_(std=0.02)

    def forward(self, x):
        return self.embedding(x)
"""


def test_initial_values_are_not_drawn_for_weights_that_a_checkpoint_has(tmp_path):
    write_net(tmp_path, EMBEDDING)
    torch.save({"embedding.weight": torch.ones(3, 2)}, tmp_path / "w.pt")
    code = (
        "import sys, torch\nfrom pathlib import Path\nfrom runner.handlers import weights\n"
        "named = {'model': {'serializedFile': 'w.pt', 'modelFile': 'net.py'}}\n"
        "model, origin = weights.load_model(Path(), named, torch.device('cpu'))\n"
        "print(origin.way, model(torch.tensor([1])).tolist(), 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "built on meta, weights mapped [[1.0, 1.0]] False"


def test_buffers_that_no_checkpoint_has_keep_their_values(tmp_path):
    write_net(
        tmp_path,
        NET.replace(
            "self.linear = nn.Linear(2, 3)",
            "self.linear = nn.Linear(2, 3)\n"
            "        self.register_buffer('scale', torch.arange(3.0), persistent=False)",
        ).replace("return self.linear(x)", "return self.linear(x) * self.scale"),
    )
    torch.save(state(), tmp_path / "w.pt")

    model, origin = load(tmp_path, "w.pt", "net.py")

    assert origin.way == "built normally, weights mapped"
    assert model(ONES).tolist() == [[0.0, 4.0, 12.0]]


@pytest.mark.parametrize(
    "attribute",
    ["self.scale = torch.arange(3.0)", "self.scale = [torch.arange(3.0)][0]", "self.scales = {'a': torch.ones(3)}"],
)
def test_tensors_that_are_plain_attributes_never_stay_on_meta(tmp_path, attribute):
    write_net(tmp_path, NET.replace("super().__init__()", f"super().__init__()\n        {attribute}"))
    torch.save(state(), tmp_path / "w.pt")

    model, origin = load(tmp_path, "w.pt", "net.py")

    assert origin.way == "built normally, weights mapped"
    held = vars(model).get("scale", vars(model).get("scales", {}).get("a") if "scales" in vars(model) else None)
    assert held.device.type == "cpu"


def test_a_constructor_that_reads_tensor_values_is_built_normally(tmp_path):
    write_net(
        tmp_path, NET.replace("super().__init__()", "super().__init__()\n        self.n = torch.ones(3).sum().item()")
    )
    torch.save(state(), tmp_path / "w.pt")

    model, origin = load(tmp_path, "w.pt", "net.py")

    assert (model.n, origin.way) == (3.0, "built normally, weights mapped")


def test_a_half_precision_checkpoint_becomes_the_type_that_the_module_declares(tmp_path):
    write_net(tmp_path)
    torch.save({key: value.half() for key, value in state().items()}, tmp_path / "w.pt")

    model, _ = load(tmp_path, "w.pt", "net.py")

    assert model.linear.weight.dtype is torch.float32
    assert model(ONES).tolist() == [[2.0, 4.0, 6.0]]


def test_weights_that_are_tied_stay_tied_when_the_file_has_them_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

    module, way = weights.build(Tied, {"a.weight": torch.eye(2)})

    assert module.b.weight is module.a.weight
    assert module.b.weight.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert way == "built on meta, weights mapped"


def test_missing_and_unexpected_weights_are_listed_by_torch(tmp_path):
    write_net(tmp_path)
    torch.save({"linear.weight": torch.ones(3, 2), "extra": torch.ones(1)}, tmp_path / "w.pt")

    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "linear.bias"'):
        load(tmp_path, "w.pt", "net.py")


def test_a_checkpoint_from_before_zip_files_loads(tmp_path):
    write_net(tmp_path)
    torch.save(state(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)

    model, _ = load(tmp_path, "w.pth", "net.py")

    assert model(ONES).tolist() == [[2.0, 4.0, 6.0]]


def test_a_model_file_without_a_checkpoint_is_built(tmp_path):
    write_net(tmp_path)

    model, origin = load(tmp_path, None, "net.py")

    assert model(ONES).shape == (1, 3)
    assert origin.file is None


def test_of_several_modules_the_one_without_arguments_is_the_model(tmp_path):
    write_net(
        tmp_path, NET + "\n\nclass Block(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
    )
    torch.save(state(), tmp_path / "w.pt")

    assert type(load(tmp_path, "w.pt", "net.py")[0]).__name__ == "Net"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (NET + "\n\nclass Other(nn.Module):\n    pass\n", "found: Net, Other"),
        ("x = 1\n", "found: none"),
        (NET.replace("__init__(self)", "__init__(self, width)"), "found: Net (needs arguments to be built)"),
    ],
)
def test_a_model_file_without_one_clear_class_is_refused_with_what_it_has(tmp_path, source, message):
    with pytest.raises(CannotLoad) as refused:
        weights.model_class_in(write_net(tmp_path, source))

    assert message in str(refused.value)


def test_torchscript_loads_whatever_its_suffix(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 3)).save(tmp_path / "model.pth")

    model, origin = load(tmp_path, "model.pth")

    assert model(ONES).shape == (1, 3)
    assert origin.format == "TorchScript"


def test_an_exported_program_loads(tmp_path):
    batch = torch.export.Dim("batch")
    program = torch.export.export(nn.Linear(2, 3), (torch.ones(4, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")

    model, origin = load(tmp_path, "model.pt2")

    assert model(ONES).shape == (1, 3)
    assert origin.format == "torch.export"


def test_torch_export_load_does_not_get_to_a_pickle_of_an_untrusted_program(tmp_path, monkeypatch):
    program = torch.export.export(nn.Linear(2, 3), (torch.ones(4, 2),))
    torch.export.save(program, tmp_path / "good.pt2")
    touched = tmp_path / "touched"
    evil = calling(os.system, f"touch {touched}", protocol=2)
    with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(tmp_path / "model.pt2", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, zipped({"a/data.pkl": evil}) if name.endswith("inputs/model.pt") else good.read(name))
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")

    with pytest.raises(CannotLoad, match=r"model\.pt2!good/data/sample_inputs/model\.pt!a/data\.pkl: posix\.system"):
        load(tmp_path, "model.pt2")

    assert not touched.exists()
    assert load(tmp_path, "good.pt2")[1].format == "torch.export"


def test_a_pickled_module_is_refused_unless_the_archive_is_trusted(tmp_path, monkeypatch):
    torch.save(nn.Linear(2, 3), tmp_path / "model.pt")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")

    with pytest.raises(CannotLoad, match="model.pt holds more than tensors.*--trust"):
        load(tmp_path, "model.pt")

    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    assert load(tmp_path, "model.pt")[1].format == "pickled module"


@pytest.mark.parametrize(
    ("serialized", "message"),
    [
        ("weights.pt", "weights.pt holds weights alone: pack the file with their nn.Module class too"),
        ("list.pt", "list.pt holds a list, not a state dict"),
        ("gone.pt", "the manifest names the checkpoint gone.pt, which is not in the archive"),
        ("model.onnx", "model.onnx is an ONNX model; build the model in the handler"),
        (None, "the archive has neither a checkpoint nor a model file; build the model in the handler"),
    ],
)
def test_what_cannot_be_loaded_says_why(tmp_path, serialized, message):
    torch.save(state(), tmp_path / "weights.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "model.onnx").write_bytes(b"onnx")

    with pytest.raises(CannotLoad) as refused:
        load(tmp_path, serialized)

    assert str(refused.value).startswith(message)
