"""LitServe: batches by size and timeout, a worker process per copy of the model."""

import litserve
import workloads
from asked import asked

WANTED = asked()


class WorkloadAPI(litserve.LitAPI):
    def setup(self, device):
        self.model = workloads.load(WANTED.workload)

    def decode_request(self, request):
        return request["x"]

    def batch(self, inputs):
        return inputs

    def predict(self, inputs):
        return self.model(inputs)

    def unbatch(self, outputs):
        return outputs

    def encode_response(self, output):
        return output


def main() -> None:
    api = WorkloadAPI(max_batch_size=WANTED.batch, batch_timeout=WANTED.delay_ms / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WANTED.workers, timeout=120)
    server.run(host="127.0.0.1", port=WANTED.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
