"""Metrics as a TorchServe deployment has them: defined in a metrics.yaml, written to two logs, and in /metrics."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.servers import archive_command, running_server, write_model

COUNTING = """
from ts.metrics.dimension import Dimension

class Counting:
    def initialize(self, context): pass
    def handle(self, data, context):
        context.metrics.add_counter("Depth", 7, dimensions=[Dimension("Kind", "a")])
        context.metrics.add_counter("Other", 1)
        return [1 for _ in data]
"""
DEFINED = """\
model_metrics:
  gauge:
    - name: Depth
      unit: levels
      dimensions: [Kind, Level]
"""


def test_what_is_defined_is_logged_and_scraped_alike(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", COUNTING)
    (tmp_path / "metrics.yaml").write_text(DEFINED)
    logs = tmp_path / "logs"
    flags = ["--metrics-config", tmp_path / "metrics.yaml", "--metrics-log", logs]
    with running_server(model, *flags, cache=tmp_path / "cache") as server:
        for _ in range(2):
            assert server.predict([1]).status_code == 200
        scraped = server.client.get("/metrics").text
        assert server.stop() == 0
    assert "# TYPE Depth gauge" in scraped
    assert re.search(r'^Depth\{Hostname=".+",Kind="a",Level="Model",model_name="m",.*} 7.0$', scraped, re.M)
    assert re.search(r'^WorkerLoadTime\{Hostname=".+",Level="Host",WorkerName="W-0-m_1.0"} [1-9]', scraped, re.M)
    models, own = ((logs / name).read_text() for name in ("model_metrics.log", "ts_metrics.log"))
    assert models.count(" - Depth.levels:7.0|#Kind:a,Level:Model|#hostname:") == 2
    assert models.count(" - Other.Count:1.0|#ModelName:m,Level:Model|#hostname:") == 2
    assert " - CPUUtilization.Percent:" in own
    assert " - Requests2XX.Count:2.0|#Level:Host|#hostname:" in own
    assert " - WorkerLoadTime.Milliseconds:" in own


def test_a_mistake_in_the_definitions_is_told_with_its_place_and_nothing_starts(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", COUNTING)
    file = tmp_path / "metrics.yaml"
    file.write_text(DEFINED.replace("unit:", "units:"))
    done = archive_command("serve", str(model), "--metrics-config", str(file), cache=tmp_path / "cache")
    assert done.returncode == 1
    assert f"{file}:4:7: error: model_metrics.gauge[0].units is not a known key [server/value]" in done.stderr
    assert "did you mean `unit`?" in done.stderr
    assert "nothing was started" in done.stderr


def test_a_folder_that_cannot_be_written_never_stops_serving(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", COUNTING)
    (tmp_path / "logs").write_text("")
    with running_server(model, "--metrics-log", tmp_path / "logs" / "in", cache=tmp_path / "cache") as server:
        assert server.predict([1]).status_code == 200
        assert server.stop() == 0
    said = [line for line in server.log if "its lines are lost" in line]
    assert len(said) == 2
