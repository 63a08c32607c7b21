"""Every name of TorchServe that handlers are known to import is here, or is refused with what to do instead."""

from __future__ import annotations

import importlib
import sys

import pytest

from runner.compat import hook
from runner.worker.session import LoadError
from tests.runner.handlers.nets import state, write_net
from tests.runner.worker.sessions import opened

#: Module → names: those of TorchServe's examples and tests, and what belongs to them.
HERE = {
    "ts": ["__version__"],
    "ts.context": ["Context", "RequestProcessor"],
    "ts.handler_utils.distributed.deepspeed": ["get_ds_engine", "create_checkpoints_json"],
    "ts.handler_utils.micro_batching": ["MicroBatching"],
    "ts.handler_utils.text_utils": ["ngrams_iterator", "get_tokenizer"],
    "ts.handler_utils.timer": ["timed"],
    "ts.handler_utils.utils": ["import_class", "send_intermediate_predict_response"],
    "ts.metrics.caching_metric": ["CachingMetric"],
    "ts.metrics.dimension": ["Dimension"],
    "ts.metrics.metric": ["Metric"],
    "ts.metrics.metric_cache_errors": ["MetricsCacheKeyError", "MetricsCachePyYamlError", "MetricsCacheTypeError"],
    "ts.metrics.metric_encoder": ["MetricEncoder"],
    "ts.metrics.metric_type_enum": ["MetricTypes"],
    "ts.metrics.metrics_store": ["MetricsStore"],
    "ts.metrics.process_memory_metric": ["check_process_mem_usage", "get_cpu_usage"],
    "ts.metrics.unit": ["Units"],
    "ts.protocol.otf_message_handler": ["send_intermediate_predict_response"],
    "ts.service": ["PredictionException", "emit_metrics"],
    "ts.torch_handler.base_handler": ["BaseHandler", "setup_ort_session"],
    "ts.torch_handler.distributed.base_deepspeed_handler": ["BaseDeepSpeedHandler"],
    "ts.torch_handler.image_classifier": ["ImageClassifier"],
    "ts.torch_handler.image_segmenter": ["ImageSegmenter"],
    "ts.torch_handler.object_detector": ["ObjectDetector"],
    "ts.torch_handler.request_envelope.base": ["BaseEnvelope"],
    "ts.torch_handler.request_envelope.body": ["BodyEnvelope"],
    "ts.torch_handler.request_envelope.json": ["JSONEnvelope"],
    "ts.torch_handler.request_envelope.kserve": ["KServeEnvelope"],
    "ts.torch_handler.request_envelope.kservev2": ["KServev2Envelope"],
    "ts.torch_handler.text_classifier": ["TextClassifier"],
    "ts.torch_handler.text_handler": ["TextHandler"],
    "ts.torch_handler.unit_tests.test_utils.mock_context": ["MockContext"],
    "ts.torch_handler.unit_tests.test_utils.model_dir": ["copy_files", "download_model"],
    "ts.torch_handler.vision_handler": ["VisionHandler"],
    "ts.utils.util": [
        "CLEANUP_REGEX",
        "PredictionException",
        "check_valid_pt2_backend",
        "deprecated",
        "get_yaml_config",
        "list_classes_from_module",
        "load_label_mapping",
        "map_class_to_label",
    ],
    "ts.version": ["__version__"],
}

#: Module → a part of what its refusal says.
REFUSED = {
    "ts.arg_parser": "archive torchserve --start",
    "ts.async_service": "another one here",
    "ts.handler_utils.distributed.pt_pippy": "torch.distributed.pipelining",
    "ts.handler_utils.preprocess.dali": "Pillow",
    "ts.launcher": "POST /models",
    "ts.llm_launcher": "`archive create`",
    "ts.metrics.metric_cache_yaml_impl": "context.metrics",
    "ts.metrics.system_metrics": "/metrics",
    "ts.model_loader": "another one here",
    "ts.model_server": "archive torchserve --start",
    "ts.model_service.model_service": "BaseHandler",
    "ts.model_service_worker": "another one here",
    "ts.torch_handler.contractions": "_expand_contractions",
    "ts.torch_handler.dali_handler": "Pillow",
    "ts.torch_handler.dali_image_classifier": "image_classifier",
    "ts.torch_handler.densenet_handler": "image_classifier",
    "ts.torch_handler.distributed.base_pippy_handler": "torch.distributed.pipelining",
    "ts.torch_handler.trt_llm_handler": "tensorrt_llm.LLM",
    "ts.torch_handler.unit_tests.test_base_handler": "test_utils",
    "ts.torch_handler.vllm_handler": "vllm.AsyncLLMEngine",
    "ts.utils.hf_utils": "`archive create`",
    "ts.utils.nothing": "docs/torchserve.md",
    "ts.utils.setup_model_venv": "another one here",
    "ts.utils.timeit_decorator": "ts.handler_utils.timer.timed",
}


@pytest.fixture(autouse=True)
def hooked():
    hook.install()


@pytest.mark.parametrize("module", HERE)
def test_the_names_that_handlers_import_are_there(module):
    found = importlib.import_module(module)

    assert [name for name in HERE[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", REFUSED)
def test_a_module_that_cannot_be_here_says_what_to_do_instead(module):
    with pytest.raises(ModuleNotFoundError) as missing:
        importlib.import_module(module)

    named = missing.value.name
    assert module == named or module.startswith(f"{named}.")
    assert str(missing.value).startswith(f"{named} is not in torch-archive: ")
    assert REFUSED[module] in str(missing.value)


def test_torchserves_own_frames_are_refused_by_name():
    with pytest.raises(ImportError, match=r"create_predict_response is not in torch-archive: send_intermediate"):
        exec("from ts.protocol.otf_message_handler import create_predict_response", {})
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from ts.protocol.otf_message_handler import nothing", {})


@pytest.mark.parametrize("handler", ["dali_image_classifier", "trt_llm_handler", "vllm_handler"])
def test_an_archive_with_a_handler_that_cannot_be_here_fails_with_the_same_sentence(tmp_path, handler):
    module = f"ts.torch_handler.{handler}"
    with pytest.raises(LoadError) as refused:
        opened(tmp_path, None, handler=handler)

    assert refused.value.message.startswith(f"{module} is not in torch-archive: ")
    assert REFUSED[module] in refused.value.message


def test_a_context_equals_one_that_says_the_same():
    context = importlib.import_module("ts.context")
    arguments = {
        "model_name": "m",
        "model_dir": "/m",
        "manifest": {},
        "batch_size": 1,
        "gpu": None,
        "mms_version": "1",
    }
    one, other = context.Context(**arguments), context.Context(**arguments)
    assert one == other

    other.cache = {}
    assert one != other
    assert context.RequestProcessor({"a": "1"}) == context.RequestProcessor({"a": "1"})
    assert context.RequestProcessor({"a": "1"}) != context.RequestProcessor({"a": "2"})


def test_basic_english_makes_tokens_of_punctuation():
    tokenizer = importlib.import_module("ts.handler_utils.text_utils").get_tokenizer

    assert tokenizer("basic_english")('Isn\'t "this";fine, (or so)?<br />Yes!') == (
        ["isn", "'", "t", "this", "fine", ",", "(", "or", "so", ")", "?", "yes", "!"]
    )
    assert tokenizer(None)("A  b") == ["A", "b"]
    assert tokenizer(str.split) is str.split
    with pytest.raises(ValueError, match="no tokenizer spacy for en"):
        tokenizer("spacy")


def test_a_deprecated_function_warns_and_works():
    util = importlib.import_module("ts.utils.util")

    with pytest.warns(PendingDeprecationWarning, match="old is deprecated in 0.1; use new"):

        @util.deprecated("0.1", "new")
        def old():
            return 1

        assert old() == 1


def test_metrics_of_the_oldest_kind_are_collected_and_encoded():
    store = importlib.import_module("ts.metrics.metrics_store").MetricsStore({0: "r"}, "m")
    encoder = importlib.import_module("ts.metrics.metric_encoder").MetricEncoder
    dimension = importlib.import_module("ts.metrics.dimension").Dimension("Level", "Model")
    store.add_counter("Seen", 2)

    assert [metric.name for metric in store.drain()] == ["Seen"]
    assert encoder().encode([dimension]) == '[{"Name": "Level", "Value": "Model"}]'
    with pytest.raises(TypeError, match="not JSON serializable"):
        encoder().encode(object())


def test_the_files_of_a_handlers_test_are_copied_and_nothing_is_downloaded(tmp_path):
    model_dir = importlib.import_module("ts.torch_handler.unit_tests.test_utils.model_dir")
    (tmp_path / "a.py").write_text("x")
    model_dir.copy_files(tmp_path, tmp_path, {"a.py": "b.py"})

    assert (tmp_path / "b.py").read_text() == "x"
    with pytest.raises(NotImplementedError, match="download https://example.org/m.pt beforehand"):
        model_dir.download_model("https://example.org/m.pt", tmp_path)


DEEPSPEED = """
from ts.handler_utils.distributed.deepspeed import get_ds_engine
from ts.torch_handler.distributed.base_deepspeed_handler import BaseDeepSpeedHandler


class Handler(BaseDeepSpeedHandler):
    def initialize(self, ctx):
        super().initialize(ctx)
        self.engine = get_ds_engine("model", ctx)

    def handle(self, data, context):
        return [[self.device, self.engine] for _ in data]
"""


def deepspeed_handler(folder, **deepspeed):
    config = {"handler": {"model_path": str(folder)}, **({"deepspeed": deepspeed} if deepspeed else {})}
    return opened(folder, DEEPSPEED, config=config)


def test_a_deepspeed_handler_gets_the_engine_that_its_config_describes(tmp_path, monkeypatch):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "deepspeed.py").write_text("def init_inference(model, **kw):\n    return [model, kw]\n")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    (tmp_path / "ds.json").write_text("{}")
    (tmp_path / "w.bin").write_text("")

    engine = deepspeed_handler(tmp_path, config="ds.json", checkpoint="list.json")._entry.instance.engine

    assert engine == [
        "model",
        {"base_dir": str(tmp_path), "config": str(tmp_path / "ds.json"), "checkpoint": str(tmp_path / "list.json")},
    ]
    assert str(tmp_path / "w.bin") in (tmp_path / "list.json").read_text()


def test_what_a_deepspeed_handler_lacks_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(LoadError, match="needs the key `deepspeed`"):
        deepspeed_handler(tmp_path)
    with pytest.raises(LoadError, match="pip install deepspeed"):
        deepspeed_handler(tmp_path, config="ds.json")


def test_the_stages_of_a_built_in_handler_are_timed_when_the_config_says_profile(tmp_path):
    import torch

    from tests.runner.worker.sessions import json_row

    write_net(tmp_path)
    torch.save(state(), tmp_path / "w.pt")
    arguments = {"serializedFile": "w.pt", "modelFile": "net.py", "handler": "base_handler"}
    session = opened(tmp_path, None, config={"handler": {"profile": True}}, **arguments)

    measured = session.run([json_row([1.0, 1.0])], 1).metrics

    stages = ["ts_handler_preprocess", "ts_handler_inference", "ts_handler_postprocess"]
    assert [metric.name for metric in measured] == [*stages, "HandlerTime"]
    assert {(metric.unit, metric.type) for metric in measured} == {("Milliseconds", "gauge")}
