"""BentoML 1.4: its dispatcher learns how long to wait; `max_latency_ms` is not a delay, beyond it it answers 503."""

import os
import sys
from pathlib import Path

import bentoml
import workloads
from asked import asked

WANTED = asked()
INPUT = {"mlp": list[float]}.get(WANTED.workload, str)
OUTPUT = {"echo": dict[str, str | float | int]}.get(WANTED.workload, list[float])


@bentoml.service(
    workers=WANTED.workers,
    threads=1,
    traffic={"timeout": 120},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"sample_rate": 0.0},
)
class Workload:
    def __init__(self) -> None:
        self.model = workloads.load(WANTED.workload)

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=WANTED.batch, max_latency_ms=60_000)
    def predict(self, xs: list[INPUT]) -> list[OUTPUT]:
        return self.model(xs)


def main() -> None:
    os.environ |= {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(Path("home").absolute())}
    where = ["--host", "127.0.0.1", "--port", str(WANTED.port), "--working-dir", str(Path(__file__).parent)]
    os.execv(Path(sys.executable).parent / "bentoml", ["bentoml", "serve", "bentoml_app:Workload", *where])


if __name__ == "__main__":
    main()
