"""The limit: the same function in a loop in one process, JSON read and written, no server. Prints what it found.

python offline.py WORKLOAD SECONDS
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
from workloads import WORKLOADS


def per_second(call: Callable[[], object], seconds: float) -> float:
    """After one call that does not count; at least one that does."""
    call()
    calls, began = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        if (taken := time.perf_counter() - began) >= seconds:
            return calls / taken


def main() -> None:
    name, seconds = sys.argv[1], float(sys.argv[2])
    workload = WORKLOADS[name]
    predict = workload.load()
    bodies = [json.dumps({"x": each}) for each in workload.samples()]

    def batch(size: int) -> list[str]:
        several = (bodies * (size // len(bodies) + 1))[:size]
        return [json.dumps(output) for output in predict([json.loads(body)["x"] for body in several])]

    square = np.random.default_rng(0).standard_normal((256, 256), dtype=np.float32)
    found = {
        "loops": per_second(lambda: square @ square, seconds),
        "milliseconds": 1000 / per_second(lambda: batch(1), seconds),
        "rows": workload.batch * per_second(lambda: batch(workload.batch), seconds),
        "outputs": predict(workload.samples()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
