"""The client that TorchServe's users generate from its .proto files, asked of the real one and of ours."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.e2e.servers import running_server
from tests.interop.torchserve import TorchServe, free_ports, installed, properties

pytestmark = pytest.mark.interop

HANDLER = """
from ts.handler_utils.utils import send_intermediate_predict_response as send
from ts.utils.util import PredictionException
def handle(data, context):
    if data is None: return None
    rows = [bytes(row['data']).decode() for row in data]
    for place, text in enumerate(rows):
        if text == 'refused': raise PredictionException('not this', 418)
        if text == 'raises': raise ValueError('no')
        if text == 'stream':
            for word in ('one ', 'two '):
                send([word], {0: context.get_request_id(place)}, 'Intermediate Prediction success', 200, context)
    return [text.upper() for text in rows]
"""
#: Adds up what a sequence brings.
ADDING = """
from ts.utils.util import PredictionException
def handle(data, context):
    if data is None:
        context.cache = {}
        return None
    answers = []
    for place, row in enumerate(data):
        text, key = bytes(row['data']).decode(), context.get_sequence_id(place)
        if text == 'refused': raise PredictionException('not this', 418)
        if text == 'raises': raise ValueError('no')
        context.cache[key] = context.cache.get(key, 0) + int(text)
        answers.append(str(context.cache[key]))
    return answers
"""
SEQUENCES = """
minWorkers: 1
maxWorkers: 1
batchSize: 2
maxBatchDelay: 10
sequenceBatching: true
maxNumSequence: 4
sequenceMaxIdleMSec: 20000
maxSequenceJobQueueSize: 10
"""
CLIENT = """
import json, queue, sys
import grpc
import inference_pb2 as i, inference_pb2_grpc, management_pb2 as m, management_pb2_grpc
from google.protobuf.empty_pb2 import Empty
channels = [grpc.insecure_channel(address) for address in sys.argv[1:]]
for channel in channels: grpc.channel_ready_future(channel).result(60)
inference = inference_pb2_grpc.InferenceAPIsServiceStub(channels[0])
management = management_pb2_grpc.ManagementAPIsServiceStub(channels[1])
said = []
def tell(what, call):
    try:
        said.append([what, 'OK', call()])
    except grpc.RpcError as error:
        # TorchServe adds a line with the name of a Java class.
        said.append([what, error.code().name, error.details().partition('\\n')[0]])
def row(text, model='m', **more):
    return i.PredictionsRequest(model_name=model, input={'data': text.encode()}, **more)
def one(*given, **more):
    return lambda: inference.Predictions(row(*given, **more)).prediction.decode()
def pieces(text):
    return lambda: [each.prediction.decode() for each in inference.StreamPredictions(row(text))]
def both_ways(*texts, model='m', **more):
    asked = queue.Queue()
    def call():
        told = []
        answers = inference.StreamPredictions2(iter(asked.get, None), timeout=20)
        for text in texts:
            asked.put(row(text, model, **more))
            each = next(answers)
            status = [each.status.code, each.status.message.partition('\\n')[0]]
            told.append([each.prediction.decode(), *status, each.sequence_id])
        asked.put(None)
        return [*told, *(each.prediction.decode() for each in answers)]
    return call
def acts(method, **fields):
    request = getattr(m, {'SetDefault': 'SetDefault', 'ListModels': 'ListModels'}.get(method, method) + 'Request')
    return lambda: getattr(management, method)(request(**fields)).msg
tell('ping', lambda: json.loads(inference.Ping(Empty()).health))
tell('one', one('abc'))
tell('version', one('abc', model_version='1.0'))
tell('no version', one('abc', model_version='9.9'))
tell('nobody', one('abc', 'nobody'))
tell('raises', one('raises'))
tell('refused', one('refused'))
tell('stream', pieces('stream'))
tell('stream raises', pieces('raises'))
tell('sequence', both_ways('1', '2', '3', model='s', sequence_id='q'))
tell('sequence again', both_ways('4', model='s', sequence_id='q'))
tell('sequence refused', both_ways('refused', '2', model='s', sequence_id='r'))
tell('sequence raises', both_ways('raises', '2', model='s', sequence_id='t'))
tell('no sequence', both_ways('1', '2', model='s'))
tell('both ways of no sequences', both_ways('abc', 'def', sequence_id='s'))
tell('both ways of nobody', both_ways('abc', model='nobody', sequence_id='s'))
tell('list', lambda: json.loads(acts('ListModels')()))
tell('describe', lambda: json.loads(acts('DescribeModel', model_name='m')())[0]['modelName'])
tell('describe nobody', acts('DescribeModel', model_name='nobody'))
tell('register', acts('RegisterModel', url='n.mar', initial_workers=1, synchronous=True, model_name='second'))
described = acts('DescribeModel', model_name='m', model_version='1.0')
tell('describe version', lambda: json.loads(described())[0]['batchSize'])
tell('describe no version', acts('DescribeModel', model_name='m', model_version='9.9'))
tell('list one', lambda: json.loads(acts('ListModels', limit=1)()))
tell('register no url', acts('RegisterModel', model_name='third'))
bad = {'url': 'n.mar', 'model_name': 'third', 'handler': 'none', 'initial_workers': 1, 'synchronous': True}
tell('register bad handler', acts('RegisterModel', **bad))
tell('register again', acts('RegisterModel', url='n.mar', model_name='second'))
tell('register nothing', acts('RegisterModel', url='nothing.mar'))
tell('scale', acts('ScaleWorker', model_name='second', min_worker=2, synchronous=True))
tell('scale nobody', acts('ScaleWorker', model_name='nobody', min_worker=2))
tell('scale less', acts('ScaleWorker', model_name='second', min_worker=3, max_worker=1))
tell('set no default', acts('SetDefault', model_name='second', model_version='9.9'))
tell('set default', acts('SetDefault', model_name='second', model_version='1.0'))
tell('second', one('abc', 'second'))
tell('unregister', acts('UnregisterModel', model_name='second'))
tell('unregister nobody', acts('UnregisterModel', model_name='nobody'))
print(json.dumps(said))
"""
#: What is different, and why; docs/torchserve.md says the same.
DIFFERENT = {
    "nobody": "an unknown model is NOT_FOUND",
    "no version": "an unknown version is NOT_FOUND",
    "list": "a limit of 0, which is none in proto3, is the usual one",
    "register again": "a version that is there is ABORTED",
    "register bad handler": "the reason is told, too",
    "set no default": "the words of the other calls",
    "sequence": "answers say what sequence they are of",
    "sequence again": "answers say what sequence they are of",
    "sequence refused": "an error is answered, and the stream goes on",
    "sequence raises": "an error is answered, and the stream goes on",
    "no sequence": "a stream may be of no sequence",
    "both ways of no sequences": "a model may have no sequences",
    "both ways of nobody": "an unknown model does not end the stream",
}


def generated(torchserve: TorchServe, folder: Path) -> None:
    """The client's modules, from the .proto files inside the installed TorchServe."""
    (jar,) = torchserve.bin.parent.glob("lib/python3*/site-packages/ts/frontend/model-server.jar")
    with zipfile.ZipFile(jar) as file:
        protos = [name for name in file.namelist() if name.startswith("google/rpc/") and name.endswith(".proto")]
        file.extractall(folder, ["inference.proto", "management.proto", *protos])
    outputs = [f"--{kind}_out=." for kind in ("python", "grpc_python")]
    command = [torchserve.bin / "python", "-m", "grpc_tools.protoc", "-I.", *outputs]
    subprocess.run([*command, "inference.proto", "management.proto"], cwd=folder, check=True)
    subprocess.run([*command, "google/rpc/status.proto"], cwd=folder, check=True)


def said(torchserve: TorchServe, folder: Path, ports: list[int]) -> dict[str, tuple[str, object]]:
    addresses = [f"127.0.0.1:{port}" for port in ports[3:]]
    command = [torchserve.bin / "python", "-c", CLIENT, *addresses]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {what: (code, answer) for what, code, answer in json.loads(done.stdout)}


def test_the_generated_client_hears_the_same_from_both(tmp_path: Path) -> None:
    torchserve = installed()
    generated(torchserve, tmp_path)
    store = torchserve.store(tmp_path, m=HANDLER, n=HANDLER)
    (tmp_path / "s_handler.py").write_text(ADDING)
    (tmp_path / "sequences.yaml").write_text(SEQUENCES)
    flags = ["--model-name", "s", "--version", "1.0", "--handler", "s_handler.py", "--config-file", "sequences.yaml"]
    torchserve.archiver(*flags, "--export-path", str(store), folder=tmp_path)
    more = "default_workers_per_model=1\nenable_model_api=true\n"
    with torchserve.serving(store, ["m.mar", "s.mar"], tmp_path, more) as ports:
        theirs = said(torchserve, tmp_path, ports)
    (tmp_path / "ours.properties").write_text(properties(ports := free_ports(5)) + more)
    options = ["--ts-config", tmp_path / "ours.properties", "--model-store", store, "--models", "m=m.mar,s=s.mar"]
    with running_server(*options, cache=tmp_path / "cache", port=None):
        ours = said(torchserve, tmp_path, ports)
    differing = {what: (theirs[what], ours[what]) for what in theirs if theirs[what] != ours[what]}
    unlisted = [
        f"{what}: {found[0]} there, {found[1]} here" for what, found in differing.items() if what not in DIFFERENT
    ]
    assert not unlisted, "\n".join(unlisted)
    assert set(differing) == set(DIFFERENT), "listed, but the same"
