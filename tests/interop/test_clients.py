"""Triton's and KServe's own clients, over HTTP and gRPC, against a running server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.servers import Server, running_server, write_model
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
#: Of each protocol a plain and an asyncio client, with the same methods.
CLIENT = """
import asyncio, importlib, inspect, json, sys
import ml_dtypes
import numpy as np
kind, address = sys.argv[1:]
triton = importlib.import_module('tritonclient.' + kind)
async def plain(value): return await value if inspect.isawaitable(value) else value
ways = [{'binary_data': True}, {'binary_data': False}] if kind.startswith('http') else [{}]
arrays = [(np.arange(6, dtype=np.float32).reshape(2, 3), 'FP32'), (np.array([1, -2]), 'INT64'),
          (np.array([['a', 'b']], dtype=object), 'BYTES'), (np.array([True, False]), 'BOOL')]
whole = ['int8', 'int16', 'int32', 'uint8', 'uint16', 'uint32', 'uint64']
arrays += [(np.array([1, 2], dtype=kind), kind.upper()) for kind in whole]
halves = [1.5, -2.0]
arrays += [(np.array(halves), 'FP64'), (np.array(halves, np.float16), 'FP16')]
arrays += [(np.array(halves, ml_dtypes.bfloat16), 'BF16')]
async def main():
    client = triton.InferenceServerClient(address)
    said = [await plain(client.is_server_live()), await plain(client.is_server_ready())]
    said.append(await plain(client.is_model_ready('m')))
    for way in ways:
        for array, datatype in arrays:
            # The client has no JSON for these two.
            if way == {'binary_data': False} and datatype in ('FP16', 'BF16'): continue
            given = triton.InferInput('x', array.shape, datatype)
            given.set_data_from_numpy(array, **way)
            wanted = [triton.InferRequestedOutput('x', **way)]
            answer = await plain(client.infer('m', [given], outputs=wanted, request_id='7'))
            found = [v.decode() if isinstance(v, bytes) else v for v in answer.as_numpy('x').ravel().tolist()]
            said.append([datatype, list(answer.as_numpy('x').shape), found])
    try:
        await plain(client.infer('nobody', [given]))
    except Exception as error:
        said.append('Model not found: nobody' in str(error))
    await plain(client.close())
    return said
print(json.dumps(asyncio.run(main())))
"""
#: KServe's clients are asynchronous; v1 gets what the model answers to `instances`.
KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
http, grpc = sys.argv[1:]
def request():
    given = InferInput('x', [2, 3], 'FP32')
    given.set_data_from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3), binary_data=False)
    return InferRequest('m', [given])
def heard(answer):
    return [[tensor.name, tensor.datatype, list(tensor.shape), tensor.as_numpy().ravel().tolist()]
            for tensor in answer.outputs]
async def main():
    said = []
    two = InferenceRESTClient(RESTConfig(protocol='v2'))
    said.append([await two.is_server_live(http), await two.is_server_ready(http)])
    said[0].append(await two.is_model_ready(http, 'm'))
    said.append(heard(await two.infer(http, request(), model_name='m')))
    one = InferenceRESTClient(RESTConfig(protocol='v1'))
    said.append(await one.is_model_ready(http, 'm'))
    said.append(await one.infer(http, {'inputs': [{'name': 'x', 'shape': [2], 'data': [1, 2]}]}, model_name='m'))
    calls = InferenceGRPCClient(grpc)
    said.append([await calls.is_server_live(), await calls.is_server_ready(), await calls.is_model_ready('m')])
    said.append(heard(await calls.infer(request())))
    return said
print(json.dumps(asyncio.run(main())))
"""
TENSORS = [
    ["FP32", [2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]],
    ["INT64", [2], [1, -2]],
    ["BYTES", [1, 2], ["a", "b"]],
    ["BOOL", [2], [True, False]],
    *([kind, [2], [1, 2]] for kind in ("INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32", "UINT64")),
    ["FP64", [2], [1.5, -2.0]],
]
HALVES = [[kind, [2], [1.5, -2.0]] for kind in ("FP16", "BF16")]

AS_LIST = [["x", "FP32", [2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    with running_server(write_model(folder / "m", HANDLER), "--grpc-port", "0", cache=folder / "cache") as running:
        yield running


def told(python: Path, program: str, *arguments: str) -> object:
    """What the program prints, run by an interpreter that has its client."""
    command = [str(python), "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["http", "http.aio", "grpc", "grpc.aio"])
def test_tritons_clients_get_their_tensors_back(server: Server, kind: str) -> None:
    http = kind.startswith("http")
    address = server.url.removeprefix("http://") if http else server.grpc
    found = told(installed().bin / "python", CLIENT, kind, address)
    assert found == [True, True, True, *TENSORS, *HALVES, *(TENSORS if http else ()), True]


def test_kserves_clients_get_their_tensors_back(server: Server) -> None:
    python = installed().bin.parent / "kserve" / "bin" / "python"
    found = told(python, KSERVE, server.url, server.grpc)
    ready = [True, True, True]
    assert found == [ready, AS_LIST, True, {"x": [1, 2]}, ready, AS_LIST]
