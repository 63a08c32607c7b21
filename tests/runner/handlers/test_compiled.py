"""Checkpoints that are native code. Where nothing is compiled, a runner that checks shapes stands for torch's."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from runner import wire
from runner.handlers import compiled, gradients
from runner.handlers.errors import BadRequest, CannotLoad
from runner.handlers.weights import from_checkpoint
from runner.worker.session import LoadError
from tests.runner.worker.sessions import bodies, json_row, opened

CPU = torch.device("cpu")
DECLARED = {"pt2": {"export": {"aot_compile": True}}}
MADE_HERE = {"AOTI_DEVICE_KEY": "cpu"}


class Runner:
    """Code for 2 to 4 rows of 3 numbers, which it adds up; checked as torch checks."""

    def __init__(self, takes=1):
        self.batches = []
        self._takes = takes

    def get_call_spec(self):
        call = (tuple(range(self._takes)), {})
        return [pytree.treespec_dumps(pytree.tree_structure(value)) for value in (call, 0)]

    def run(self, tensors):
        (rows, *_) = tensors
        self.batches.append(len(rows))
        if len(rows) < 2:
            raise RuntimeError("input_handles[0]: dim value is too small at 0, expected it to be >= 2, but got: 1 \n")
        if rows.shape[1:] != (3,):
            raise RuntimeError("input_handles[0]: unmatched dim value at 1, expected: 3, but got: 2 \n")
        if not rows.is_contiguous():
            raise RuntimeError("unmatched stride")
        return [rows.sum(dim=1)]


def test_rows_go_in_as_the_code_takes_them():
    model = compiled.CompiledModel(Runner())

    assert model(torch.ones(3, 2).t()).tolist() == [3.0, 3.0]


def test_a_single_row_goes_in_twice_and_is_tried_alone_only_once():
    runner = Runner()
    model = compiled.CompiledModel(runner)

    assert [model(torch.ones(1, 3)).tolist() for _ in range(2)] == [[3.0], [3.0]]
    assert runner.batches == [1, 2, 2]


@pytest.mark.parametrize("rows", [torch.ones(1, 2), torch.ones(2, 2)])
def test_an_input_that_does_not_fit_is_the_inputs_fault(rows):
    with pytest.raises(BadRequest) as refused:
        compiled.CompiledModel(Runner())(rows)

    assert str(refused.value) == (
        "the compiled model does not take this: input 0: unmatched dim value at 1, expected: 3, but got: 2"
    )


def test_what_may_not_be_a_row_does_not_go_in_twice():
    model = compiled.CompiledModel(Runner(takes=2))

    with pytest.raises(BadRequest, match="too small"):
        model(torch.ones(1, 3), torch.zeros(1))


def test_any_other_failure_of_the_code_is_its_own():
    class Broken(Runner):
        def run(self, tensors):
            raise RuntimeError("out of everything")

    with pytest.raises(RuntimeError, match="out of everything"):
        compiled.CompiledModel(Broken())(torch.ones(2, 3))


def test_compiled_code_cannot_be_explained():
    with gradients.needed(), pytest.raises(gradients.NoGradients, match="it is compiled code") as refused:
        compiled.CompiledModel(Runner())(torch.ones(2, 3))

    assert refused.value.error_code == 501


@pytest.mark.parametrize(
    ("config", "declared"),
    [
        (DECLARED, True),
        ({"pt2": {"export": {"aot_compile": False}}}, False),
        ({"pt2": "inductor"}, False),
        ({"pt2": {"compile": {"enable": True}}}, False),
        ({}, False),
    ],
)
def test_compiled_code_is_declared_as_in_torchserve(config, declared):
    assert compiled.is_declared(config) is declared


def package(folder, metadata=MADE_HERE, libraries=("a.so",)):
    with zipfile.ZipFile(folder / "m.pt2", "w") as file:
        file.writestr("m/data/aotinductor/model/a_metadata.json", json.dumps(metadata))
        for name in libraries:
            file.writestr(f"m/data/aotinductor/model/{name}", b"code")
    return folder / "m.pt2"


def test_the_library_of_a_package_is_unpacked_for_as_long_as_it_takes_to_load_it(tmp_path, monkeypatch):
    seen = []

    def runner(library, device):
        seen.append((library, library.read_bytes(), sorted(path.name for path in library.parent.iterdir())))
        return Runner()

    monkeypatch.setattr(compiled, "_runner", runner)
    model, origin = from_checkpoint(package(tmp_path), CPU, compiled=True)

    [(library, code, names)] = seen
    assert (library.name, code, names) == ("a.so", b"code", ["a.so", "a_metadata.json"])
    assert not library.parent.exists()
    assert model(torch.ones(2, 3)).tolist() == [3.0, 3.0]
    assert (origin.format, origin.file) == ("AOTInductor", "m.pt2")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"AOTI_DEVICE_KEY": "cuda"}, "m.pt2 is compiled for cuda, and this worker runs on cpu"),
        ({"AOTI_MACHINE": "vax"}, "m.pt2 is compiled for vax"),
    ],
)
def test_a_package_for_elsewhere_is_refused(tmp_path, metadata, said):
    with pytest.raises(CannotLoad, match=said):
        from_checkpoint(package(tmp_path, metadata), CPU, compiled=True)


def test_a_package_for_a_richer_cpu_is_refused_before_it_ends_the_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(CannotLoad, match="a CPU with AVX512 AVX512_VNNI"):
        from_checkpoint(package(tmp_path, {"AOTI_CPU_ISA": "AVX512 AVX512_VNNI"}), CPU, compiled=True)


def test_a_package_without_one_library_is_refused(tmp_path):
    with pytest.raises(CannotLoad, match="must hold one library called `model`; found: 0"):
        from_checkpoint(package(tmp_path, libraries=()), CPU, compiled=True)


@pytest.mark.parametrize("name", ["m.so", "m.pt2"])
def test_compiled_code_that_is_not_declared_is_not_run(tmp_path, name):
    package(tmp_path).rename(tmp_path / name)

    with pytest.raises(LoadError) as refused:
        opened(tmp_path, None, handler="base_handler", serializedFile=name)
    assert refused.value.message == f"{name} is compiled code: declare `pt2: {{export: {{aot_compile: true}}}}`"


def test_a_library_that_is_not_in_the_archive_is_named(tmp_path):
    with pytest.raises(LoadError, match=r"the checkpoint m\.so, which is not in the archive"):
        opened(tmp_path, None, handler="base_handler", serializedFile="m.so", config=DECLARED)


def compile_to(folder, kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    rows = {0: torch.export.Dim("rows", min=2, max=4)}
    with torch.no_grad():
        if kind == "so":
            file = str(folder / "m.so")
            options = {"aot_inductor.output_path": file}
            torch._export.aot_compile(model, (torch.ones(2, 3),), dynamic_shapes=(rows,), options=options)
        else:
            exported = torch.export.export(model, (torch.ones(2, 3),), dynamic_shapes=(rows,))
            torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "m.pt2"))
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", ["so", "pt2"])
def test_an_archive_with_compiled_code_is_served(tmp_path, kind):
    model = compile_to(tmp_path, kind)
    config = {"batchSize": 4, **DECLARED}
    session = opened(tmp_path, None, handler="base_handler", serializedFile=f"m.{kind}", config=config)

    for size in (1, 2, 4):
        with torch.no_grad():
            wanted = model(torch.ones(size, 3)).tolist()
        assert [answer for _, answer in bodies(session.run([json_row([1.0, 1.0, 1.0])] * size, 1))] == [
            pytest.approx(row, abs=1e-5) for row in wanted
        ]
    raised = session.run([json_row([1.0, 1.0])], 2)
    assert isinstance(raised, wire.Raised)
    assert raised.status == 400
    assert "expected: 3, but got: 2" in raised.message
