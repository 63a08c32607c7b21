"""MLServer 1.7: adaptive batching, inference in worker processes."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import workloads
from asked import asked
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

WANTED = asked()


class WorkloadModel(MLModel):
    async def load(self) -> bool:
        self.model = workloads.load(WANTED.workload)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (tensor,) = payload.inputs
        outputs = self.model((NumpyCodec if WANTED.workload == "mlp" else StringCodec).decode_input(tensor))
        if WANTED.workload == "echo":
            encoded = StringCodec.encode_output("y", [json.dumps(output) for output in outputs])
        else:
            encoded = NumpyCodec.encode_output("y", np.asarray(outputs, dtype=np.float32))
        return InferenceResponse(model_name=self.name, outputs=[encoded])


def main() -> None:
    here = Path.cwd()
    settings = {
        "host": "127.0.0.1",
        "http_port": WANTED.port,
        "grpc_port": WANTED.port + 1,
        "metrics_endpoint": None,
        "parallel_workers": WANTED.workers,
        "debug": False,
        "environments_dir": str(here / "environments"),
    }
    model = {
        "name": "model",
        "implementation": "mlserver_app.WorkloadModel",
        "max_batch_size": WANTED.batch,
        "max_batch_time": WANTED.delay_ms / 1000,
    }
    Path("model").mkdir(exist_ok=True)
    Path("settings.json").write_text(json.dumps(settings))
    Path("model", "model-settings.json").write_text(json.dumps(model))
    os.execv(Path(sys.executable).parent / "mlserver", ["mlserver", "start", str(here)])


if __name__ == "__main__":
    main()
