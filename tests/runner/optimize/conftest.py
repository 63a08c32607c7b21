from __future__ import annotations

import sys

import pytest
import torch


@pytest.fixture(autouse=True)
def fresh_compiler():
    """A served model tells the compiler to compile no more; the next test starts anew."""
    yield
    if "torch._dynamo" in sys.modules:
        torch.compiler.set_stance("default")
        torch._dynamo.reset()
