"""`archive bench` with real servers: the whole command, a stall, an interruption, a death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import psutil

from tests.e2e.servers import archive_command, environment, running_server, wait_until_gone, write_model

ECHO = """
class Echo:
    def initialize(self, context):
        self.initialized = True
    def handle(self, data, context):
        return [row.get("body") for row in data]
"""
STALLING = """
import time
class Stalling:
    def initialize(self, context):
        self.initialized = True
    def handle(self, data, context):
        time.sleep(data[0]["body"]["stall"])
        return ["{}"]
"""
#: The 25th request, the fourth of the second round, lasts as long as the test holds the pipe open.
HALTING = """
class Halting:
    def initialize(self, context):
        self.initialized, self.seen = True, 0
    def handle(self, data, context):
        self.seen += 1
        if self.seen == 25:
            try:
                with open({pipe!r}, "wb") as held:
                    held.write(bytes(2**20))
            except BrokenPipeError:
                pass
        return ["{{}}"]
"""
SAMPLE = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nwarmup: {input: sample.json}\n"


def test_an_archive_is_measured_from_start_to_limit(tmp_path):
    model = write_model(tmp_path / "m", ECHO, config=SAMPLE, sample__json="[1, 2]")
    load = ["--concurrency", "1,8", "--rate", "50", "--duration", "0.4", "--warmup", "0.1", "--repeats", "2"]
    done = archive_command(
        "bench", str(model), *load, "--json", "--report", str(tmp_path / "out"), cache=tmp_path / "c"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    one, eight, fifty = report["levels"]
    assert [len(level["rounds"]) for level in report["levels"]] == [2, 2, 2]
    assert all(
        level["median"]["failures"] == {} and level["median"]["throughput"]["low"] > 0 for level in (one, eight)
    )
    assert fifty["median"]["requests"] > 10 and fifty["rounds"][0]["lagP99"] is not None
    assert one["rounds"][0]["server"]["meanBatch"] == 1.0
    assert 0 < one["median"]["ofLimit"] < 1
    assert eight["rounds"][0]["processes"]["rss"] > 0 and report["startSeconds"] > 0
    assert report["ceiling"]["8"] > 0 and report["machine"]["loadAverage"] >= 0
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert {"ab_report.csv", "report.json", "report.md", "rounds.csv"} <= {*names}


def test_a_handler_that_stalls_is_in_the_p99_of_an_open_loop(tmp_path):
    lines = [json.dumps({"stall": 0.5 if number == 10 else 0}) for number in range(100)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    with running_server(write_model(tmp_path / "m", STALLING), cache=tmp_path / "c") as server:
        load = ["--rate", "100", "--duration", "1", "--warmup", "0", "--repeats", "1", "--connections", "1", "--json"]
        url = f"{server.url}/predictions/m"
        done = archive_command("bench", "--url", url, "-i", str(tmp_path / "in.jsonl"), *load)
    assert done.returncode == 0, done.stderr
    (level,) = json.loads(done.stdout)["levels"]
    assert level["rounds"][0]["latency"]["p99"] > 400
    assert level["rounds"][0]["latency"]["p95"] > 200, "those behind it waited, too, though they were not sent"


def halted(tmp_path, act):
    """Runs a bench until its second round halts; `act(bench, server's pid)`; exit code, report and stderr."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    model = write_model(tmp_path / "m", HALTING.format(pipe=str(pipe)), sample__json="[]")
    arguments = ["--requests", "20", "--warmup", "0", "--repeats", "2", "--concurrency", "1", "--no-limit", "--json"]
    command = [sys.executable, "-m", "archiver", "bench", str(model), "-i", str(model / "sample.json"), *arguments]
    with subprocess.Popen(
        command, env=environment(tmp_path / "c"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        with pipe.open("rb"):
            children = psutil.Process(bench.pid).children()
            (server,) = (child.pid for child in children if "serve" in child.cmdline())
            act(bench, server)
            for generator in {child.pid for child in children} - {server}:
                wait_until_gone(generator)
        out, err = bench.communicate(timeout=60)
    for child in children:
        wait_until_gone(child.pid)
    return bench.returncode, json.loads(out), err


def test_an_interruption_keeps_the_rounds_that_were_done_and_stops_the_server(tmp_path):
    code, report, err = halted(tmp_path, lambda bench, server: bench.send_signal(signal.SIGINT))
    assert code == 1
    assert report["stopped"] == "interrupted" and len(report["levels"][0]["rounds"]) == 1
    assert err == "error: ended early, what was measured is above: interrupted\n"


def test_a_server_that_dies_is_told_and_what_was_measured_is_kept(tmp_path):
    code, report, err = halted(tmp_path, lambda bench, server: os.kill(server, signal.SIGKILL))
    assert code == 1
    assert report["stopped"].startswith("the server ended by SIGKILL")
    first, *_ = report["levels"][0]["rounds"]
    assert first["requests"] == 20 and first["failures"] == {}
    assert "error: ended early, what was measured is above: the server ended by SIGKILL" in err
