from __future__ import annotations

import sys

import pytest

from runner.compat import hook
from runner.handlers import Context
from runner.handlers.errors import CannotLoad
from runner.worker.loader import load_handler

CLASS = """
class Echo:
    def initialize(self, context):
        self.name = context.model_name

    def handle(self, data, context):
        return data
"""


def load(folder, source: str, handler: str = "handler.py"):
    (folder / "handler.py").write_text(source)
    return load_as(folder, handler)


def load_as(folder, handler: str):
    return load_handler(handler, Context("m", str(folder), {"model": {}}, 1, None, "0"), lambda value: value)


@pytest.mark.parametrize("handler", ["handler.py", "handler", "handler:Echo", "handler.py:Echo", "sub/handler.py"])
def test_a_class_is_found_however_the_manifest_names_it(tmp_path, handler):
    entry = load(tmp_path, CLASS, handler)

    assert entry.handle([1], None) == [1]
    assert (entry.name, entry.instance.name) == ("handler:Echo", "m")


def test_classes_that_do_not_handle_are_no_handlers(tmp_path):
    assert load(tmp_path, CLASS + "\nclass Helper:\n    pass\n").name == "handler:Echo"


def test_a_function_is_called_once_without_data_when_it_loads(tmp_path):
    entry = load(tmp_path, "calls = []\ndef handle(data, context):\n    calls.append(data)\n    return calls\n")

    assert entry.handle([1], None) == [None, [1]]
    assert entry.instance is None


def test_a_named_function_is_the_entry_point(tmp_path):
    assert load(tmp_path, "def predict(data, context):\n    return 7\n", "handler.py:predict").handle([], None) == 7


def test_a_handler_file_named_like_an_imported_package_is_still_the_archives(tmp_path):
    (tmp_path / "json.py").write_text(CLASS)
    import json

    assert load_as(tmp_path, "json.py").instance.name == "m"
    assert sys.modules["json"] is json


def test_siblings_import_each_other_once(tmp_path):
    (tmp_path / "sibling_net.py").write_text("class Net:\n    pass\n")
    sys.path.insert(0, str(tmp_path))
    load(tmp_path, "from sibling_net import Net\n" + CLASS)

    from runner.handlers.modules import import_file

    assert import_file(tmp_path / "sibling_net.py").Net is sys.modules["handler"].Net


def test_the_built_in_base_handler_is_found_without_a_file(tmp_path):
    hook.install()
    (tmp_path / "net.py").write_text("from torch import nn\nclass Net(nn.Identity):\n    pass\n")
    context = Context("m", str(tmp_path), {"model": {"modelFile": "net.py"}}, 1, None, "0")

    assert (
        load_handler("base_handler", context, lambda value: value).name == "ts.torch_handler.base_handler:BaseHandler"
    )


@pytest.mark.parametrize(
    ("source", "handler", "message"),
    [
        ("x = 1\n", "handler.py", "handler.py defines no handler: it needs a function `handle` or a class with one"),
        (
            CLASS + CLASS.replace("Echo", "Other"),
            "handler.py",
            "handler.py defines 2 handlers: Echo, Other; name one of them: handler.py:Echo or handler.py:Other",
        ),
        (CLASS, "handler.py:Ecko", "handler.py has no Ecko; did you mean Echo?"),
        ("x = 1\n", "handler.py:Echo", "handler.py has no Echo; found: nothing callable"),
        ("x = 1\n", "handler.py:x", "x in handler.py is a int, not a class or function"),
        ("class A:\n    pass\n", "handler.py:A", "the class handler:A has no method `handle(self, data, context)`"),
        (CLASS, "other.py", "the handler other.py is not in the archive; Python files there: handler.py"),
        (
            CLASS,
            "no_such.module:f",
            "the handler no_such.module.py is not in the archive; Python files there: handler.py",
        ),
    ],
)
def test_a_handler_that_cannot_be_found_says_why(tmp_path, source, handler, message):
    with pytest.raises(CannotLoad) as refused:
        load(tmp_path, source, handler)

    assert str(refused.value) == message


def test_an_import_error_inside_the_handler_is_shown_as_itself(tmp_path):
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"):
        load(tmp_path, "import no_such_package\n" + CLASS)

    assert "handler" not in sys.modules


def test_an_installed_module_can_be_the_handler(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "installed_echo.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path / "site")

    assert load_as(tmp_path, "installed_echo:Echo").name == "installed_echo:Echo"
