"""PyTriton: NVIDIA Triton with its dynamic batcher; a Python function as the model, one per worker."""

import json
import os
import signal
import sys
import sysconfig
from pathlib import Path

import numpy as np
import workloads
from asked import asked
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

WANTED = asked()
TEXT = {"dtype": bytes, "shape": (1,)}
INPUT = {"mlp": {"dtype": np.float32, "shape": (256,)}}.get(WANTED.workload, TEXT)
OUTPUT = {
    "mlp": {"dtype": np.float32, "shape": (10,)},
    "minilm": {"dtype": np.float32, "shape": (384,)},
}.get(WANTED.workload, TEXT)


def infer_function():
    model = workloads.load(WANTED.workload)

    @batch
    def infer(x):
        outputs = model(x if WANTED.workload == "mlp" else [text.decode() for (text,) in x])
        if WANTED.workload == "echo":
            return {"y": np.array([[json.dumps(output).encode()] for output in outputs], dtype=object)}
        return {"y": np.asarray(outputs, dtype=np.float32)}

    return infer


def start_again() -> None:
    """With what is read before this file is: Triton's own programs are to load the libpython of this Python, not one
    of the system, and to leave nothing outside this folder."""
    wanted = {
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
        "PYTRITON_HOME": str(Path.cwd()),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    if os.environ.get("PYTRITON_HOME") != wanted["PYTRITON_HOME"]:
        os.execve(sys.executable, [sys.executable, __file__], os.environ | wanted)


def main() -> None:
    start_again()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # through `with`, which takes its shared memory away
    settings = TritonConfig(
        http_address="127.0.0.1",
        http_port=WANTED.port,
        grpc_address="127.0.0.1",
        grpc_port=WANTED.port + 1,
        allow_metrics=False,
    )
    batcher = DynamicBatcher(max_queue_delay_microseconds=WANTED.delay_ms * 1000)
    config = ModelConfig(batching=True, max_batch_size=WANTED.batch, batcher=batcher)
    with Triton(config=settings) as triton:
        triton.bind(
            model_name="model",
            infer_func=[infer_function() for _ in range(WANTED.workers)],
            inputs=[Tensor(name="x", **INPUT)],
            outputs=[Tensor(name="y", **OUTPUT)],
            config=config,
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
