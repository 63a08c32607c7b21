"""Versions come to the front and leave while clients post without pause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.servers import running_server, write_model
from tests.e2e.test_serving import ECHO, Load


@pytest.mark.slow
def test_switching_the_default_and_unregistering_the_old_version_loses_no_request(tmp_path: Path) -> None:
    old = write_model(tmp_path / "old", ECHO, version="1.0", config="minWorkers: 1\njobQueueSize: 20000\n")
    new = write_model(tmp_path / "new", ECHO, version="2.0", config="minWorkers: 1\njobQueueSize: 20000\n")
    with running_server(old, new, cache=tmp_path / "cache") as server:
        before = server.describe()["modelVersion"]
        after = "2.0" if before == "1.0" else "1.0"
        load = Load(server)
        load.wait_for_answers(50)
        assert server.client.put(f"/models/m/{after}/set-default").status_code == 200
        assert server.client.delete(f"/models/m/{before}").status_code == 200
        load.wait_for_answers(50)
        assert set(load.stop()) == {"200"}
        assert [d["modelVersion"] for d in server.client.get("/models/m/all").json()] == [after]
        assert server.stop() == 0
