"""Torch's own unpickler and Python's are the judges: what they refuse, import or read, the scan has said before."""

from __future__ import annotations

import inspect
import io
import pickle
import re
import subprocess
import sys
import warnings
from collections import Counter, OrderedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.scan.allowed import ALLOWED, INSTRUCTIONS, REGISTERED
from tests.archiver.scan.payloads import OPERATIONS, PAYLOADS, followed, long_text, looked, saved, text

torch = pytest.importorskip("torch")

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_the_record_is_the_list_of_the_installed_torch():
    from torch._weights_only_unpickler import _get_allowed_globals

    assert set(ALLOWED) == set(_get_allowed_globals())


def test_what_importing_torch_adds_is_recorded_too():
    from torch._weights_only_unpickler import _get_user_allowed_globals

    assert set(REGISTERED) <= set(_get_user_allowed_globals())


@pytest.mark.slow
def test_importing_torch_adds_nothing_else():
    program = (
        "import torch; from torch._weights_only_unpickler import _get_user_allowed_globals as names;"
        "print(*sorted(names()))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert set(told.split()) == set(REGISTERED)


def test_the_names_of_python_2_are_renamed_as_torch_does():
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    assert torch._utils.IMPORT_MAPPING.items() <= IMPORT_MAPPING.items()
    assert torch._utils.NAME_MAPPING.items() <= NAME_MAPPING.items()


def test_the_instructions_are_those_of_torch_s_unpickler():
    from torch._weights_only_unpickler import Unpickler

    source = inspect.getsource(Unpickler.load)
    assert set(re.findall(r"\b([A-Z][A-Z0-9_]+)\[0\]", source)) == INSTRUCTIONS


def _module() -> object:
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 4))


def _optimiser() -> object:
    module = _module()
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.1, fused=False)
    # What a step leaves behind; a real one would import torch's compiler first.
    for parameter in module.parameters():
        optimiser.state[parameter] = {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(parameter)}
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 2)
    return {"model": module.state_dict(), "optimizer": optimiser.state_dict(), "schedule": schedule.state_dict()}


def _quantised() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = torch.quantize_per_tensor(torch.randn(3, 3), 0.1, 0, torch.qint8)
        rows = torch.quantize_per_channel(torch.randn(3, 3), torch.ones(3), torch.zeros(3), 0, torch.quint8)
    return [whole, rows]


def _shared() -> object:
    base = torch.arange(10.0)
    return {"a": base, "view": base[2:5], "t": base.view(2, 5).t()}


SAVED = {
    "a state dict": lambda: _module().state_dict(),
    "training's whole state": _optimiser,
    "quantised tensors": _quantised,
    "parameters": lambda: [torch.nn.Parameter(torch.ones(2)), torch.nn.Buffer(torch.ones(2))],
    "shared storages": _shared,
    "sparse tensors": lambda: torch.eye(3).to_sparse(),
    "every number format": lambda: [
        torch.zeros(2, dtype=dtype) for dtype in (torch.bfloat16, torch.bool, torch.complex64, torch.int8)
    ],
    "plain values": lambda: OrderedDict(a=[1, 2.5], b=(None, True), c={1}, d=Counter("aab"), e=b"x", f=1j, g=2**70),
    "types and devices": lambda: [torch.float32, torch.device("cpu"), torch.Size([1, 2]), torch.strided],
    "a meta tensor": lambda: torch.empty(2, device="meta"),
    "a tensor with attributes": lambda: _with_attribute(),
}


def _with_attribute() -> object:
    tensor = torch.ones(2)
    tensor.note = "kept"
    return tensor


def _loads(data: bytes) -> bool:
    """Whether torch's weights_only loading takes it. What else goes wrong there is no refusal, and fails the test."""
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except pickle.UnpicklingError:
        return False
    return True


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", SAVED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_torch_loads_is_safe(name, legacy):
    data = saved(SAVED[name](), _use_new_zipfile_serialization=not legacy)
    assert _loads(data)
    assert looked(data, "m.pt")[0].verdict == "safe"


@pytest.mark.parametrize("name", [*PAYLOADS, *OPERATIONS])
def test_what_the_scan_refuses_torch_refuses(name):
    data = {**PAYLOADS, **OPERATIONS}[name][0]
    kind, _ = _torch_s_word(data)
    assert kind != "loads" or name == "behind a good pickle"


_tensors = st.builds(lambda *size: torch.zeros(size), st.integers(0, 3), st.integers(0, 3))
_keys = st.text(max_size=8) | st.integers()
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | _tensors,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_keys, inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(_keys, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


@settings(quick, max_examples=60)
@given(_values, st.booleans())
def test_a_saved_value_is_safe_when_torch_loads_it_and_refused_when_not(value, legacy):
    data = saved(value, _use_new_zipfile_serialization=not legacy)
    assert looked(data, "m.pt")[0].verdict == ("safe" if _loads(data) else "refused")


_CALLABLE = (("collections", "OrderedDict"), ("torch", "Size"), ("torch", "float32"), ("builtins", "set"))
_REFUSED = (("os", "system"), ("builtins", "eval"), ("torch", "load"), ("a\nb"[:1], "c"))


def _line(pair: tuple[str, str]) -> bytes:
    return f"{pair[0]}\n{pair[1]}\n".encode()


_any_global = st.sampled_from(_CALLABLE + _REFUSED)
_words = st.sampled_from(("os", "system", "collections", "OrderedDict", "storage", "x"))
_place = st.integers(0, 3)
_torch_s = st.one_of(
    st.sampled_from(
        [*(bytes([code]) for code in b"()]}a0est\x85\x86\x87NRb\x81Q\x88"), b"K\x01", b"U\x01x", b"\x8f"]
    ),
    _any_global.map(lambda pair: b"c" + _line(pair)),
    _words.map(long_text),
    _place.map(lambda place: b"q" + bytes([place])),
    _place.map(lambda place: b"h" + bytes([place])),
)
_others = st.one_of(
    st.sampled_from([bytes([code]) for code in b"12dlo\x90\x91\x92\x93\x94"]),
    st.sampled_from([b"I1\n", b"F1\n", b"\x82\x01", b"\x95" + b"\0" * 8]),
    _any_global.map(lambda pair: b"i" + _line(pair)),
    _words.map(text),
    _words.map(lambda word: f"S'{word}'\n".encode()),
    _words.map(lambda word: f"V{word}\n".encode()),
    _place.map(lambda place: f"p{place}\n".encode()),
    _place.map(lambda place: f"g{place}\n".encode()),
)
_pieces = st.sampled_from(
    [
        b"c" + _line(("collections", "OrderedDict")) + b")R",
        b"c" + _line(("os", "system")) + b")R",
        b"(X\x07\0\0\0storageK\x01tQ",
        text("os") + text("system") + b"\x93",
        b"]K\x01a",
        b"}K\x01K\x02s",
        b"(K\x01K\x02",
    ]
)


def _torch_s_word(data: bytes) -> tuple[str, str]:
    """How torch's unpickler ends: loads, refuses or breaks, and its words."""
    from torch._weights_only_unpickler import Unpickler

    machine = Unpickler(io.BytesIO(data), encoding="utf-8")
    machine.persistent_load = lambda _: torch.UntypedStorage(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            machine.load()
    except pickle.UnpicklingError as error:
        return "refuses", str(error)
    except Exception as error:
        return "breaks", str(error)
    return "loads", ""


@quick
@given(st.lists(_torch_s | _pieces, max_size=14))
def test_programs_of_torch_s_instructions_are_judged_as_torch_does(parts):
    data = b"\x80\x02N" + b"".join(parts) + b"."
    one, (kind, words) = followed(data), _torch_s_word(data)
    gated = bool(one.refused) or one.unread is not None
    if kind == "loads":
        assert one.whole
        assert not gated
    if kind == "refuses":
        assert gated, words
    if "Unsupported global: GLOBAL " in words:
        named = words.partition("Unsupported global: GLOBAL ")[2].partition(" was not")[0]
        assert any(str(refusal) in (named, f"builtins.{named}") for refusal in one.refused)


class _Recorder(pickle._Unpickler):
    """Python's unpickler, which imports nothing and writes down what it would have."""

    def __init__(self, data: bytes, asked: list[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._asked = asked

    def find_class(self, module, name):
        self._asked.append(f"{module}.{name}")
        return _Anything

    def persistent_load(self, pid):
        return None


class _Anything:
    def __new__(cls, *_: object, **__: object):
        return object.__new__(cls)

    def append(self, _):
        return None

    def extend(self, _):
        return None

    def __setitem__(self, key, value):
        return None


@quick
@given(st.lists(_torch_s | _others | _pieces, max_size=16), st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]))
def test_everything_that_an_unpickler_would_import_is_named(parts, head):
    data = head + b"".join(parts) + b"."
    asked: list[str] = []
    try:
        _Recorder(data, asked).load()
        ended = True
    except Exception:
        ended = False
    one = followed(data)
    assert {name.replace("__builtin__", "builtins") for name in asked} <= set(one.globals)
    if ended:
        assert one.whole


@settings(quick, max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_an_end(data):
    followed(data)
    looked(data)
