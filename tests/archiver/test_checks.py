from __future__ import annotations

import pytest

from archiver.checks import check
from archiver.members import plan
from archiver.project import candidates, from_flags
from tests.builders import make_project, safetensors, write


def _findings(project):
    members, _ = plan(candidates(project)[0])
    return check(project, members)


def _handler_findings(folder, text, handler="handler.py"):
    return _findings(make_project(folder, handler=handler, handler_text=text))


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("handler.py", "def handle(data, context): ..."),
        ("handler.py", "from service import handle"),
        ("handler.py", "_service = object()\nhandle = _service"),
        ("handler.py", "try:\n    import fast\nexcept ImportError:\n    def handle(d, c): ...\n"),
        ("handler.py", "class A:\n    def handle(self, data, context): ..."),
        ("handler.py", "from ts.torch_handler.base_handler import BaseHandler\nclass A(BaseHandler): ..."),
        ("handler.py:B", "class A: ...\nclass B(A): ..."),
        ("handler:predict", "def predict(data, context): ..."),
        ("handler:predict", "async def predict(data, context): ..."),
        ("handler.py", "class A: ...\nclass B: ...\ndef handle(d, c): ..."),
        ("handler.py", 'PATTERN = "\\d"\ndef handle(d, c): ...'),
        ("handler.py", "# -*- coding: latin-1 -*-\ndef handle(d, c): ..."),
    ],
)
def test_a_handler_with_an_entry_point_is_fine(tmp_path, handler, text):
    assert _handler_findings(tmp_path, text, handler) == []


@pytest.mark.parametrize(
    ("handler", "text", "code", "message"),
    [
        ("handler.py", "x = 1", "handler/no-entry-point", "has no class and no function `handle`"),
        ("handler.py", "", "handler/no-entry-point", "has no class and no function `handle`"),
        ("handler.py", "class A: ...\nclass B: ...", "handler/two-classes", "defines 2 classes: A, B"),
        ("handler.py", "class A:\n    x = 1", "handler/no-handle", "class A has no `handle` and no base class"),
        ("handler.py:Digit", "class Digits(B): ...", "handler/no-entry-point", "has no class or function `Digit`"),
        ("handler.py:A", "class A(object): ...", "handler/no-handle", "class A has no `handle` and no base class"),
        ("handler.py", "a\0b", "handler/syntax", None),
    ],
)
def test_a_handler_without_one_is_not(tmp_path, handler, text, code, message):
    (finding,) = _handler_findings(tmp_path, text, handler)
    assert finding.code == code
    assert message is None or finding.message == message
    assert finding.is_error


def test_a_syntax_error_is_shown_with_file_line_and_column(tmp_path):
    (finding,) = _handler_findings(tmp_path, "import os\n\ndef handle(data context):\n    pass\n")
    assert finding.code == "handler/syntax"
    assert str(finding.where).startswith(f"{tmp_path}/src/handler.py:3:")
    assert "def handle(data context):" in finding.message


def test_two_classes_are_told_how_to_choose(tmp_path):
    (finding,) = _handler_findings(tmp_path, "class A: ...\n\n\nclass B: ...")
    assert finding.where.line == 4
    assert finding.hint == f"name the one to use: --handler {tmp_path}/src/handler.py:B"


def test_a_misspelt_entry_is_told_the_nearest_name(tmp_path):
    (finding,) = _handler_findings(tmp_path, "class Digits(Base): ...", "handler.py:Digit")
    assert finding.hint == f"did you mean `{tmp_path}/src/handler.py:Digits`?"


def test_a_model_file_must_parse_and_define_a_class(tmp_path):
    assert [f.code for f in _findings(make_project(tmp_path / "a", model_text="x = "))] == ["model-file/syntax"]
    assert [f.code for f in _findings(make_project(tmp_path / "b", model_text="x = 1"))] == ["model-file/no-class"]
    assert _findings(make_project(tmp_path / "c", model_text="class Net: ...")) == []


def test_a_built_in_handler_needs_a_model_file_for_bare_weights(tmp_path):
    weights = write(tmp_path / "m.safetensors", safetensors())
    project = from_flags(serialized_file=weights, handler="image_classifier")
    assert [finding.code for finding in _findings(project)] == ["checkpoint/needs-model-file"]


def test_the_config_is_validated_with_its_lines(tmp_path):
    (finding, *_) = _findings(make_project(tmp_path, config="minWorkers: 1\nmaxWorkers: 1\nbatchSize: eight\n"))
    assert str(finding.where) == f"{tmp_path}/src/model-config.yaml:3:12"
    assert finding.is_error


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ('{"0": "cat"}', []),
        ('{"0": ["n01", "cat"]}', []),
        ('{"object_type_names": ["cat", "dog"]}', []),
        ('["cat"]', ["labels/invalid"]),
        ('{"0": "cat",}', ["labels/invalid"]),
        (b'{"0": "\xff"}', ["labels/invalid"]),
    ],
)
def test_index_to_name_must_be_a_mapping(tmp_path, text, codes):
    project = make_project(tmp_path, extra={"index_to_name.json": text})
    assert [finding.code for finding in _findings(project)] == codes


def test_the_warm_up_sample_must_parse(tmp_path):
    config = "warmup: {input: sample.json}\n"
    good = make_project(tmp_path / "a", config=config, extra={"sample.json": "[1, 2]", "other.json": "{"})
    assert [f for f in _findings(good) if f.is_error] == []
    (finding,) = [
        f for f in _findings(make_project(tmp_path / "b", config=config, extra={"sample.json": "{\n1"})) if f.is_error
    ]
    assert (finding.code, finding.where.line, finding.where.column) == ("sample/invalid", 2, 1)


def test_a_warm_up_sample_that_is_not_packed_is_an_error(tmp_path):
    findings = _findings(make_project(tmp_path, config="warmup: {input: sample.json}\n"))
    assert any(finding.is_error for finding in findings)
