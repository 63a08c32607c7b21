from __future__ import annotations

import pytest

from tests.runner.isolation import process_given_back


@pytest.fixture(autouse=True)
def own_process(tmp_path):
    with process_given_back(tmp_path):
        yield
