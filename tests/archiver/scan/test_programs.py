from __future__ import annotations

import json
import os
import pickle

import pytest

from archiver.scan.scan import scan
from tests.archiver.scan.payloads import calling, looked, names, saved
from tests.archiver.scan.test_nested import zipped
from tests.builders import make_torchserve_archive, safetensors, write

EVIL = calling(os.system, "id")
JSON_OF_NONE = json.dumps({"config": {}})


@pytest.mark.parametrize(
    ("name", "content", "about"),
    [
        ("handler.py", b"x = 1\n", "Python"),
        ("sub/module.pyc", b"\xa7\r\r\n" + bytes(12), "Python"),
        ("libops.so", b"\x7fELF\x02\x01\x01", "native library"),
        ("model.bin", b"\x7fELF\x02\x01\x01", "native library"),
        ("setup.sh", b"echo\n", "shell script"),
        ("run", b"#!/usr/bin/env python\n", "script"),
        ("requirements.txt", b"numpy\n", "packages for pip to install"),
        ("ops-1.0-py3-none-any.whl", zipped({"ops.py": b""}), "Python package"),
        ("MAR-INF/precompiled/cpu/model.so", b"\x7fELF", "compiled for one kind of machine"),
    ],
)
def test_code_is_listed_and_not_refused(name, content, about):
    found = looked(content, name)[0]
    assert (found.kind, found.verdict, found.about) == ("code", "runs", about)


def test_compiled_code_is_code_as_a_whole_with_the_pickles_of_the_compiler():
    (found,) = looked(EVIL, "MAR-INF/precompiled/cpu-1/fxgraph/entry")
    assert (found.kind, found.verdict) == ("code", "runs")
    assert looked(EVIL, "elsewhere/precompiled/entry")[0].verdict == "refused"
    assert looked(zipped({"MAR-INF/precompiled/data.pkl": EVIL}), "model.pt")[0].verdict == "refused"


def test_safetensors_and_plain_files_are_not_code():
    assert [(each.kind, each.verdict) for each in looked(safetensors(), "m.safetensors")] == [("weights", "safe")]
    assert [(each.kind, each.verdict) for each in looked(b'{"a": 1}', "labels.json")] == [("data", "data")]
    assert looked(b"\x08\x07\x12\x07pytorch", "m.onnx")[0].about == "ONNX"


def program(**more: str | bytes) -> bytes:
    """A torch.export file, as far as a scan looks. `more`: path with `__` for `/` → content."""
    members: dict[str, str | bytes] = {
        "p/archive_format": "pt2",
        "p/models/model.json": "{}",
        "p/data/weights/model_weights_config.json": JSON_OF_NONE,
        "p/data/constants/model_constants_config.json": JSON_OF_NONE,
    }
    members |= {f"p/{path}".replace("__", "/"): content for path, content in more.items()}
    return zipped({name: text.encode() if isinstance(text, str) else text for name, text in members.items()})


def test_an_exported_program_is_code():
    (found,) = looked(program(), "model.pt2")
    assert (found.kind, found.verdict, found.about) == ("code", "runs", "torch.export program")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"data__sample_inputs__model.pt": zipped({"archive/data.pkl": EVIL})},
            "m.pt2!p/data/sample_inputs/model.pt!archive/data.pkl: posix.system",
        ),
        ({"data__constants__opaque_obj_0": b"x"}, "m.pt2: torch.export.load unpickles p/data/constants/opaque_obj_0"),
        ({"data__constants__custom_obj_0": b"x"}, "m.pt2: torch.export.load unpickles p/data/constants/custom_obj_0"),
        (
            {"data__constants__opaque_obj_x__y": b"x"},
            "m.pt2: torch.export.load unpickles p/data/constants/opaque_obj_x/y",
        ),
        (
            {"data__weights__model_weights_config.json": json.dumps({"config": {"w": {"use_pickle": True}}})},
            "m.pt2: torch.export.load unpickles 'w' of p/data/weights/model_weights_config.json",
        ),
        (
            {"data__constants__model_constants_config.json": '{"config": {"c": {"path_name": "opaque_obj_9"}}}'},
            "m.pt2: torch.export.load unpickles 'c' of p/data/constants/model_constants_config.json",
        ),
        (
            {"data__weights__model_weights_config.json": "[" * 100_000},
            "m.pt2: p/data/weights/model_weights_config.json cannot be read",
        ),
        (
            {"data__weights__model_weights_config.json": '{"config": []}'},
            "m.pt2: p/data/weights/model_weights_config.json cannot be read",
        ),
    ],
)
def test_what_torch_export_load_would_unpickle_is_refused(more, told):
    found = looked(program(**more), "m.pt2")
    assert found[0].verdict == "refused"
    assert [each for each in names(found) if each.startswith(told)]


def test_a_program_of_older_torch_is_known_too():
    found = looked(zipped({"serialized_exported_program.json": b"{}", "serialized_state_dict.pt": EVIL}), "model.bin")
    assert (found[0].about, found[0].verdict) == ("torch.export program", "refused")


def test_torchscript_is_a_program_whose_types_are_no_modules():
    torch = pytest.importorskip("torch")
    import io
    import warnings

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), file)
    (found,) = looked(file.getvalue(), "model.pt")
    assert (found.kind, found.verdict, found.about) == ("code", "runs", "TorchScript program")


def test_the_pickle_of_a_torchscript_program_is_no_way_around():
    members = {"m/constants.pkl": pickle.dumps((), 2), "m/code/x.py": b"", "m/data.pkl": EVIL}
    assert names(looked(zipped(members), "model.pt")) == ["model.pt!m/data.pkl: posix.system"]
    types = {**members, "m/data.pkl": b"\x80\x02c__torch__\nNet\n)\x81}b."}
    assert names(looked(zipped(types), "model.pt")) == []
    assert names(looked(zipped({"m/data.pkl": types["m/data.pkl"]}), "model.pt")) != []


@pytest.mark.parametrize("name", ["torch.jit._pickle.torch.os.system", "torch.jit._pickle.build_intlist.__globals__"])
def test_no_name_leads_out_of_torchscript_s_functions(name):
    members = {"m/constants.pkl": b"N.", "m/data.pkl": b"ctorch.jit._pickle\n" + name[18:].encode() + b"\n)R."}
    assert names(looked(zipped(members), "model.pt")) == [f"model.pt!m/data.pkl: {name}"]


def test_a_pickled_module_names_its_classes_and_the_pickle_in_the_zip():
    torch = pytest.importorskip("torch")
    found = looked(saved(torch.nn.Linear(2, 1)), "model.pt")
    assert names(found) == ["model.pt!archive/data.pkl: torch.nn.modules.linear.Linear"]


def test_a_report_tells_the_worst(tmp_path):
    members = {"handler.py": "x = 1", "m.safetensors": safetensors()}
    assert scan(make_torchserve_archive(tmp_path / "a.mar", members=members)).verdict == "runs"
    members["vocabulary.pkl"] = EVIL
    assert scan(make_torchserve_archive(tmp_path / "b.mar", members=members)).verdict == "refused"
    assert scan(write(tmp_path / "m.safetensors", safetensors())).verdict == "safe"
