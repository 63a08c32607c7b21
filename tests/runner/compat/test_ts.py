from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import warnings

import pytest
import torch

from runner import wire
from runner.compat import hook
from runner.handlers import PredictionException
from tests.runner.handlers.nets import state, write_net
from tests.runner.worker.sessions import bodies, json_row, opened, raw_row

CLASSIFIER = """
import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException, map_class_to_label


class Classifier(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        self.ready = self.initialized

    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        if any(row == "teapot" for row in rows):
            raise PredictionException("short and stout", 418)
        return torch.tensor(rows, dtype=torch.float32)

    def postprocess(self, output):
        return map_class_to_label(output.tolist(), self.mapping)
"""


def classifier(folder, **arguments):
    write_net(folder)
    torch.save(state(), folder / "w.pt")
    (folder / "index_to_name.json").write_text(json.dumps({"0": "a", "1": ["n1", "b"], "2": "c"}))
    return opened(folder, CLASSIFIER, serializedFile="w.pt", modelFile="net.py", **arguments)


def test_a_handler_written_for_torchserve_serves_unchanged(tmp_path):
    session = classifier(tmp_path)

    ran = session.run([json_row([1, 1]), json_row([0, 1])], 1)

    assert bodies(ran) == [(200, {"a": 2.0, "b": 4.0, "c": 6.0}), (200, {"a": 1.0, "b": 2.0, "c": 3.0})]
    assert isinstance(ran, wire.Ran)
    assert set(ran.seconds) == {"preprocess", "inference", "postprocess", "handle"}
    assert [metric.name for metric in ran.metrics] == ["HandlerTime"]


def test_a_prediction_exception_is_the_batchs_answer(tmp_path):
    raised = classifier(tmp_path).run([json_row("teapot")], 1)

    assert isinstance(raised, wire.Raised)
    assert (raised.status, raised.message) == (418, "short and stout")


def test_timed_methods_report_when_the_config_says_profile(tmp_path):
    source = CLASSIFIER.replace("    def postprocess", "    @timed\n    def postprocess").replace(
        "import torch\n", "import torch\nfrom ts.handler_utils.timer import timed\n", 1
    )
    write_net(tmp_path)
    torch.save(state(), tmp_path / "w.pt")
    arguments = {"serializedFile": "w.pt", "modelFile": "net.py"}
    session = opened(tmp_path, source, config={"handler": {"profile": True}}, **arguments)

    ran = session.run([json_row([1, 1])], 1)

    assert isinstance(ran, wire.Ran)
    assert [metric.name for metric in ran.metrics] == [
        "ts_handler_inference",
        "ts_handler_postprocess",
        "HandlerTime",
    ]


def test_the_built_in_base_handler_serves_torchscript_and_unwraps_rows(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(torch.nn.Hardtanh(0.0, 3.0)).save(tmp_path / "model.pt")

    session = opened(tmp_path, None, handler="base_handler", serializedFile="model.pt")

    assert bodies(session.run([json_row([1.0, 9.0]), json_row([2.0, -1.0])], 1)) == [
        (200, [1.0, 3.0]),
        (200, [2.0, 0.0]),
    ]


def test_explain_and_describe_requests_reach_their_methods(tmp_path):
    source = CLASSIFIER + (
        "\n    def get_insights(self, tensor, inputs, target):\n        return [[inputs, target]]\n"
        "\n    def describe_handle(self):\n        return {'about': 'three sums'}\n"
    )
    write_net(tmp_path)
    session = opened(tmp_path, source, modelFile="net.py")

    assert bodies(session.run([json_row([1, 2], explain="True")], 1)) == [(200, [[1, 2], 0])]
    assert bodies(session.run([raw_row(b"", describe="True")], 2)) == [(200, {"about": "three sums"})]


def test_the_pt2_block_of_an_old_archive_is_not_compiled_by_the_handler(tmp_path):
    session = classifier(tmp_path, config={"pt2": {"compile": {"enable": False, "backend": "inductor"}}})

    assert type(session._entry.instance.model).__name__ == "Net"
    assert session._context.model_yaml_config["pt2"]["compile"] == {"enable": False, "backend": "inductor"}


def test_the_context_is_ours():
    hook.install()
    from runner.handlers import Context

    assert importlib.import_module("ts.context").Context is Context


def test_ours_wins_over_an_installed_and_even_an_imported_torchserve(tmp_path, monkeypatch):
    (tmp_path / "ts").mkdir()
    (tmp_path / "ts" / "__init__.py").write_text("real = True\n")
    (tmp_path / "ts" / "context.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    others = [finder for finder in sys.meta_path if not isinstance(finder, hook.TorchServeNames)]
    monkeypatch.setattr(sys, "meta_path", others)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ts"]:
        monkeypatch.delitem(sys.modules, name)
    assert importlib.import_module("ts").real

    hook.install()

    assert hasattr(importlib.import_module("ts.context"), "Context")
    assert not hasattr(importlib.import_module("ts"), "real")


def test_the_hook_is_installed_once():
    hook.install()
    hook.install()

    assert sum(isinstance(finder, hook.TorchServeNames) for finder in sys.meta_path) == 1


def test_other_processes_keep_their_own_ts():
    code = "import runner.compat.hook, sys; assert not any('TorchServe' in str(f) for f in sys.meta_path)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_label_files_are_read_and_a_missing_one_is_only_warned_about(tmp_path, caplog):
    hook.install()
    util = importlib.import_module("ts.utils.util")
    (tmp_path / "names.json").write_text('{"0": "cat"}')

    assert util.load_label_mapping(str(tmp_path / "names.json")) == {"0": "cat"}
    assert util.load_label_mapping(str(tmp_path / "gone.json")) is None
    assert "gone.json is missing" in caplog.text
    assert util.CLEANUP_REGEX.sub("", "<b>a&amp;b</b>") == "ab"


def test_a_base_handler_without_any_model_says_so(tmp_path):
    from runner.worker.session import LoadError

    with pytest.raises(LoadError, match="the archive has no checkpoint and no model file"):
        opened(tmp_path, None, handler="base_handler")


def test_a_base_handler_whose_model_file_is_gone_says_so(tmp_path):
    from runner.worker.session import LoadError

    with pytest.raises(LoadError, match="Missing the net.py file"):
        opened(tmp_path, None, handler="base_handler", modelFile="net.py")


def test_a_class_is_imported_by_its_dotted_name():
    hook.install()
    import_class = importlib.import_module("ts.handler_utils.utils").import_class

    assert import_class("collections.OrderedDict").__name__ == "OrderedDict"
    assert import_class("nn.Linear", "torch") is torch.nn.Linear


def test_a_handler_can_be_tested_with_a_mock_context(tmp_path):
    hook.install()
    (tmp_path / "net.py").write_text("from torch import nn\nclass Net(nn.Identity):\n    pass\n")
    (tmp_path / "config.yaml").write_text("handler: {shout: true}\n")
    name = "ts.torch_handler.unit_tests.test_utils.mock_context"
    context = importlib.import_module(name).MockContext(
        model_pt_file=None, model_dir=tmp_path, model_file="net.py", model_yaml_config_file="config.yaml"
    )
    handler = importlib.import_module("ts.torch_handler.base_handler").BaseHandler()
    handler.initialize(context)

    assert handler.handle([{"body": [1, 2]}], context) == [[1, 2]]
    assert (handler.model_yaml_config, context.get_request_id()) == ({"handler": {"shout": True}}, "0")
    context.explain = True
    with pytest.raises(PredictionException, match="has no get_insights"):
        handler.handle([{"body": [1, 2]}], context)


CONFTEST = "from runner.compat import hook\n\nhook.install()\n"
UNIT_TEST = """
from pathlib import Path

from ts.torch_handler.unit_tests.test_utils.mock_context import MockContext

from my_handler import MyHandler


def test_handle():
    context = MockContext(model_pt_file=None, model_dir=Path(__file__).parent.as_posix())
    handler = MyHandler()
    handler.initialize(context)
    assert handler.handle([{"data": [1.0, 2.0]}] * 2, context) == [[2.0, 4.0]] * 2
    context.explain = True
    assert handler.handle([{"data": [1.0, 2.0], "target": 1}], context) == [1]
"""
MY_HANDLER = """
from ts.torch_handler.base_handler import BaseHandler
class MyHandler(BaseHandler):
    def get_insights(self, tensor_data, raw_data, target): return [target]
"""


def test_the_tests_that_a_handler_had_run_with_the_hook_in_their_conftest(tmp_path):
    model = "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x): return x * 2\n"
    files = {"conftest.py": CONFTEST, "test_it.py": UNIT_TEST, "my_handler.py": MY_HANDLER, "model.py": model}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_profiler_switch_leaves_a_trace_and_the_same_answers(tmp_path, monkeypatch):
    session = classifier(tmp_path)
    plain = bodies(session.run([json_row([1, 1])], 1))
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert bodies(session.run([json_row([1, 1])], 2)) == plain
    (trace,) = (tmp_path / "pytorch_profiler" / "m").iterdir()
    assert {"preprocess", "inference", "postprocess"} <= {
        each["name"] for each in json.loads(trace.read_text())["traceEvents"]
    }


def test_backends_that_torch_compile_knows_are_valid():
    hook.install()
    check_valid_pt2_backend = importlib.import_module("ts.utils.util").check_valid_pt2_backend

    assert check_valid_pt2_backend("inductor")
    assert not check_valid_pt2_backend("outductor")


def test_rows_that_ask_for_different_things_are_handled_apart_and_answered_in_place(tmp_path):
    source = """
class Handler:
    def handle(self, data, context):
        return [[context.get_request_header(0, 'explain'), len(data)] for _ in data]
"""
    asks = wire.pack_headers([(b"explain", b"True")])
    rows = [json_row(1), wire.Row("2", [], asks), json_row(3), wire.Row("4", [], asks)]

    ran = opened(tmp_path, source).run(rows, 1)

    assert bodies(ran) == [(200, ["False", 2]), (200, ["True", 1]), (200, ["False", 2]), (200, ["True", 1])]


OF_NO_CONTEXT = """
from ts.metrics.caching_metric import CachingMetric
from ts.metrics.dimension import Dimension
from ts.metrics.metric import Metric
from ts.metrics.metric_type_enum import MetricTypes
seen = Metric('Seen', 0, 'count', [Dimension('Level', 'Model')])
depth = CachingMetric('Depth', 'ms', ['Level'], MetricTypes.GAUGE)
def handle(data, context):
    if data is None: return None
    seen.update(len(data))
    depth.add_or_update(1.5, ['Host'])
    return [str(seen)] * len(data)
"""


def test_metrics_that_no_context_made_travel_with_the_batch(tmp_path):
    ran = opened(tmp_path, OF_NO_CONTEXT).run([json_row(1), json_row(2)], 1)

    assert [(m.name, m.value, m.unit, m.type, m.dimensions) for m in ran.metrics] == [
        ("Seen", 2.0, "Count", "counter", {"Level": "Model"}),
        ("Depth", 1.5, "Milliseconds", "gauge", {"Level": "Host"}),
    ]
    assert bodies(ran)[0] == (200, "Seen.Count:0|#Level:Model")


def test_metrics_that_no_context_made_have_the_type_that_is_defined(tmp_path):
    definitions = [wire.MetricDefinition("Seen", "count", "gauge", ["Level"])]
    ran = opened(tmp_path, OF_NO_CONTEXT, metrics=definitions).run([json_row(1)], 1)

    assert {metric.name: metric.type for metric in ran.metrics} == {"Seen": "gauge", "Depth": "gauge"}


def test_generated_texts_of_a_batch_come_step_by_step():
    hook.install()
    streamer_class = importlib.import_module("ts.handler_utils.hf_batch_streamer").TextIteratorStreamerBatch

    class Tokenizer:
        def decode(self, tokens, **_):
            # transformers 5 also asks for the length of one token.
            return "".join(f"{token}\n" for token in (tokens if isinstance(tokens, list) else [tokens]))

    streamer = streamer_class(Tokenizer(), batch_size=2)
    streamer.put(torch.tensor([[1], [2]]))
    assert next(streamer) == [{"text": "1\n"}, {"text": "2\n"}]
    with pytest.raises(ValueError, match="3 rows of tokens came for a batch of 2"):
        streamer.put(torch.tensor([[1], [2], [3]]))
    streamer.end()
    assert list(streamer) in ([], [[{"text": ""}, {"text": ""}]])


def test_the_memory_of_processes_is_logged(caplog):
    hook.install()
    module = importlib.import_module("ts.metrics.process_memory_metric")
    with caplog.at_level("INFO"):
        module.check_process_mem_usage(io.StringIO(f"{os.getpid()},,999999999\n"))

    first, _, second = caplog.messages
    assert int(first.partition(":")[2]) > 1_000_000
    assert second == "999999999:0"
