from __future__ import annotations

import os
import pickle
import sys

import pytest

from archiver.scan.found import VERDICTS
from tests.archiver.scan.payloads import OPERATIONS, PAYLOADS, calling, followed, looked, names, text


@pytest.mark.parametrize("name", PAYLOADS)
def test_what_a_pickle_would_call_is_named(name):
    data, wanted = PAYLOADS[name]
    found = looked(data)
    assert found[0].verdict == "refused"
    assert wanted in [str(refusal) for refusal in found[0].refused]


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("renamed", ["labels.txt", "model.pt", "weights.safetensors", "noise.wav", "handler.py", "x"])
def test_the_file_s_name_does_not_hide_it(name, renamed):
    assert looked(PAYLOADS[name][0], renamed)[0].verdict == "refused"


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_beyond_torch_s_unpickler_is_told(name):
    data, words = OPERATIONS[name]
    assert any(words in refusal.why for refusal in followed(data).refused)
    assert looked(data, "model.pkl")[0].verdict == "refused"


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(tmp_path, protocol):
    touched = tmp_path / "touched"
    data = calling(os.system, f"touch {touched}", protocol=protocol)
    assert looked(data)[0].verdict == "refused"
    assert not touched.exists()


def test_nothing_is_imported(tmp_path, monkeypatch):
    (tmp_path / "a_module_of_the_archive.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert names(looked(b"\x80\x02ca_module_of_the_archive\nx\n.")) == ["file.bin: a_module_of_the_archive.x"]
    assert "a_module_of_the_archive" not in sys.modules


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_no_finding(protocol):
    value = {"a": [1, 2.5, None, True, 2**80], "b": ("x", b"y", {1, 2}), "c": bytearray(b"z"), "d": 1j}
    (found,) = looked(pickle.dumps(value, protocol), "vocabulary.pkl")
    assert found.kind == "pickle"
    assert found.verdict == ("safe" if protocol == 2 else "plain")
    assert found.refused == ()


def test_a_pickle_that_torch_does_not_read_says_why():
    (found,) = looked(pickle.dumps({"cat": 0}, 4), "vocabulary.pkl")
    assert (found.verdict, found.about) == ("plain", "torch.load does not read FRAME")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"cat\ndog\nsheep\n",
        b"class,score\n1,2\n",
        b"import os\nos.system('id')\n",
        b"(1, 2)\n",
        b"N.",
        b"." * 100,
        b"]\n",
        b"\x80\x04" + bytes(range(200, 256)),
        b"\0" * 5000,
        bytes(range(256)) * 20,
        b"PK\x03\x04" + b"x" * 40,
    ],
)
def test_text_and_numbers_are_no_pickles(data):
    found = looked(data)
    assert [each.kind for each in found] in (["data"], ["archive"])
    assert found[0].globals == ()


def test_a_refused_global_is_named_once_with_what_is_done_with_it():
    data = b"\x80\x02" + b"(" + b"cos\nsystem\n(X\x02\0\0\0idtR}b" * 5 + b"t."
    assert names(looked(data)) == ["file.bin: os.system"]


def test_names_out_of_a_hostile_file_are_fit_for_a_terminal():
    found = looked(b"\x80\x04" + text("\x1b[2J\n") + text("ev\u202eil") + b"\x93.")
    assert names(found) == ["file.bin: \\x1b[2J\\n.ev\\u202eil"]


def test_every_pickle_of_a_file_is_read():
    good = pickle.dumps([1], 2)
    data = good * 20 + calling(os.system, "id")
    assert names(looked(data, "m.pkl")) == ["m.pkl: posix.system"]


def test_verdicts_have_meanings():
    assert list(VERDICTS) == ["refused", "runs", "plain", "safe", "data"]
