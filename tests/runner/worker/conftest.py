from __future__ import annotations

import sys

import pytest
import torch

from tests.runner.isolation import process_given_back


@pytest.fixture(autouse=True)
def own_process(tmp_path):
    with process_given_back(tmp_path):
        yield
    if "torch._dynamo" in sys.modules:  # a served model has told the compiler to compile no more
        torch.compiler.set_stance("default")
        torch._dynamo.reset()
