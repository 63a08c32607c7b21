"""Ray Serve on a cluster of one node, which lives as long as this process."""

import os
import signal
import sys
import threading
from pathlib import Path

# Before Ray is imported: it is to take 127.0.0.1 as its address, send no statistics and find its own programs.
os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}

import ray
import workloads
from asked import NAMES, asked
from ray import serve
from starlette.requests import Request

WANTED = asked()
UNDER_WAY = 128
PASSED_ON = (*NAMES, "PYTHONPATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE")


@serve.deployment(
    num_replicas=WANTED.workers,
    max_ongoing_requests=UNDER_WAY,
    ray_actor_options={"num_cpus": 0.2},
    logging_config={"enable_access_log": False},
)
class Workload:
    def __init__(self) -> None:
        self.model = workloads.load(WANTED.workload)

    @serve.batch(max_batch_size=WANTED.batch, batch_wait_timeout_s=WANTED.delay_ms / 1000)
    async def predict(self, inputs):
        return self.model(inputs)

    async def __call__(self, request: Request):
        return await self.predict((await request.json())["x"])


def main() -> None:
    over = threading.Event()
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=200 << 20,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {name: os.environ[name] for name in PASSED_ON}},
    )
    options = {"host": "127.0.0.1", "port": WANTED.port}
    serve.start(http_options=options, logging_config={"enable_access_log": False})
    serve.run(Workload.bind(), route_prefix="/predict")
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    over.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
