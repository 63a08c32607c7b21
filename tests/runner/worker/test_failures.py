from __future__ import annotations

import pytest
import torch

from runner.handlers import BadRequest, PredictionException
from runner.worker import failures


@pytest.mark.parametrize(
    ("error", "status", "message", "retire"),
    [
        (ValueError("x"), 503, "Prediction failed", False),
        (BadRequest("no pixels"), 400, "no pixels", False),
        (PredictionException("short and stout", 418), 418, "short and stout", False),
        (MemoryError(), 507, "Out of resources", False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 507, "Out of resources", False),
        (RuntimeError("MPS backend out of memory"), 507, "Out of resources", False),
        (RuntimeError("CUDA error: out of memory"), 507, "Out of resources", False),
        (RuntimeError("CUDA error: device-side assert triggered"), 507, "Out of resources", True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), 507, "Out of resources", True),
        (SystemExit(3), 503, "Prediction failed", False),
    ],
)
def test_each_exception_has_its_answer_and_says_whether_the_worker_is_lost(tmp_path, error, status, message, retire):
    raised = failures.raised(4, error, tmp_path)

    assert (raised.batch, raised.status, raised.message, raised.retire) == (4, status, message, retire)
    assert raised.kind == type(error).__name__


def run_file(folder, source: str) -> BaseException:
    (folder / "user.py").write_text(source)
    code = compile(source, str(folder / "user.py"), "exec")
    with pytest.raises(Exception) as caught:
        exec(code, {})
    return caught.value


def test_the_trace_begins_in_the_users_own_file(tmp_path):
    error = run_file(tmp_path, "def f():\n    raise KeyError('pixels')\nf()\n")

    trace = failures.trace_of(error, tmp_path)

    assert trace == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/user.py", line 3, in <module>',
        "    f()",
        f'  File "{tmp_path}/user.py", line 2, in f',
        "    raise KeyError('pixels')",
        "KeyError: 'pixels'",
    ]


def test_a_long_trace_keeps_its_last_lines(tmp_path):
    error = run_file(tmp_path, "def f(n):\n    return f(n - 1) if n else g(n)\ndef g(n):\n    return 1 / n\nf(50)\n")

    trace = failures.trace_of(error, tmp_path)

    assert len(trace) == 15
    assert trace[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(3), "the handler called sys.exit(3)"),
        (SystemExit(), "the handler called sys.exit()"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("x"), "x"),
    ],
)
def test_every_exception_has_a_sentence(error, text):
    assert failures.sentence(error) == text


def test_memory_is_used_up_when_two_batches_in_a_row_ran_out_of_it():
    memory = failures.Memory()

    assert [memory.is_used_up(error) for error in (MemoryError(), MemoryError())] == [False, True]


@pytest.mark.parametrize(
    "between", [lambda memory: memory.sufficed(), lambda memory: memory.is_used_up(ValueError())]
)
def test_one_batch_that_asked_for_too_much_says_nothing_about_the_next(between):
    memory = failures.Memory()
    memory.is_used_up(MemoryError())

    between(memory)

    assert not memory.is_used_up(RuntimeError("CUDA out of memory"))
