"""Triton's own client, over HTTP and gRPC, against a running server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.servers import running_server, write_model
from tests.interop.torchserve import installed

pytestmark = pytest.mark.interop

HANDLER = """
def handle(data, context):
    return data and [{t['name']: shaped(t['data'], t['shape']) for t in row['body']['inputs']} for row in data]
def leaves(value): return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]
def shaped(data, shape):
    data = leaves(data)
    for size in reversed(shape[1:]): data = [data[at:at + size] for at in range(0, len(data), size)]
    return data
"""
CLIENT = """
import json, sys
import numpy as np
kind, address = sys.argv[1:]
if kind == 'http':
    import tritonclient.http as triton
else:
    import tritonclient.grpc as triton
client = triton.InferenceServerClient(address)
said = [client.is_server_live(), client.is_server_ready(), client.is_model_ready('m')]
ways = [{'binary_data': True}, {'binary_data': False}] if kind == 'http' else [{}]
arrays = [(np.arange(6, dtype=np.float32).reshape(2, 3), 'FP32'), (np.array([1, -2]), 'INT64'),
          (np.array([['a', 'b']], dtype=object), 'BYTES'), (np.array([True, False]), 'BOOL')]
for way in ways:
    for array, datatype in arrays:
        given = triton.InferInput('x', array.shape, datatype)
        given.set_data_from_numpy(array, **way)
        answer = client.infer('m', [given], outputs=[triton.InferRequestedOutput('x', **way)], request_id='7')
        found = [v.decode() if isinstance(v, bytes) else v for v in answer.as_numpy('x').ravel().tolist()]
        said.append([datatype, list(answer.as_numpy('x').shape), found])
try:
    client.infer('nobody', [given])
except Exception as error:
    said.append('Model not found: nobody' in str(error))
print(json.dumps(said))
"""
TENSORS = [
    ["FP32", [2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]],
    ["INT64", [2], [1, -2]],
    ["BYTES", [1, 2], ["a", "b"]],
    ["BOOL", [2], [True, False]],
]


def test_tritons_client_gets_its_tensors_back_over_both_protocols(tmp_path: Path) -> None:
    python = installed().bin / "python"
    archive = write_model(tmp_path / "m", HANDLER)
    with running_server(archive, "--grpc-port", "0", cache=tmp_path / "cache") as server:
        for kind, address, ways in (("http", server.url.removeprefix("http://"), 2), ("grpc", server.grpc, 1)):
            command = [str(python), "-c", CLIENT, kind, address]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"})
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == [True, True, True, *TENSORS * ways, True]
