"""Workers that cannot fit into their GPU are refused before they load; an unknown GPU is no reason to refuse."""

from __future__ import annotations

import pytest

from archiver.errors import ServeFailed
from runner.pool.gpu_memory import check_fit, free_memory

GB = 10**9


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    def prints(text, status=0):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\nprintf '{text}'\nexit {status}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return prints


def test_what_fits_is_let_through():
    check_fit("m", ["cuda:0", "cuda:0"], 2 * GB, {0: 6 * GB})


def test_workers_of_one_gpu_count_together():
    with pytest.raises(ServeFailed, match="m: 2 workers on GPU 1 need at least 5.0 GB, 4.0 GB are free"):
        check_fit("m", ["cuda:0", "cuda:1", "cuda:1"], 2 * GB, {0: 6 * GB, 1: 4 * GB})


def test_a_gpu_that_nothing_is_known_of_is_no_reason_to_refuse():
    check_fit("m", ["cuda:3"], 500 * GB, {0: GB})


def test_free_memory_is_what_nvidia_smi_says(nvidia_smi):
    nvidia_smi("0, 1024\\n1, 80\\n")
    assert free_memory() == {0: 1 << 30, 1: 80 << 20}


@pytest.mark.parametrize(("text", "status"), [("No devices were found", 0), ("", 9)])
def test_a_tool_that_does_not_answer_is_logged_and_checks_nothing(nvidia_smi, caplog, text, status):
    nvidia_smi(text, status)
    assert free_memory() == {}
    assert "GPU memory is not known" in caplog.text


def test_without_the_tool_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert free_memory() == {}
