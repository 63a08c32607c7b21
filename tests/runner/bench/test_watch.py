"""The server's processes while a round runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from runner.bench.watch import Watch

BUSY = "import sys; sum(range(3_000_000)); print(flush=True); sys.stdin.read()"


def test_a_process_and_what_it_started_are_counted_from_begin_to_end():
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        watch = Watch(os.getpid(), gpus=None)
        watch.begin()
        child.stdout.readline()
        found = watch.end()
        child.stdin.close()
    assert found.count >= 2 and found.cores > 0
    assert found.rss > 10_000_000 and (found.pss is None or 0 < found.pss <= found.rss)


def test_gpus_are_asked_meanwhile_and_the_busiest_is_told():
    asked = threading.Event()

    def gpus():
        asked.set()
        return [("0", 40.0, 1000.0, 8000.0), ("1", 60.0, 500.0, 8000.0)]

    watch = Watch(os.getpid(), gpus)
    watch.begin()
    assert asked.wait(10)
    found = watch.end()
    assert (found.gpu_percent, found.gpu_bytes) == (60.0, 1500 << 20)


def test_a_process_that_is_gone_has_no_figures():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        watch = Watch(child.pid, gpus=None)
        watch.begin()
        child.wait()
        assert watch.end() is None


def test_nor_has_one_that_was_killed_and_that_nobody_asked_for_yet():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        watch = Watch(child.pid, gpus=None)
        watch.begin()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert watch.end() is None
