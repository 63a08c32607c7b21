"""ts.torch_handler.base_handler: the class that most TorchServe handlers derive from.

Attributes and methods are TorchServe's, because subclasses read, set and override them. Two things differ: weights
are mapped and opened under torch's allow-list (runner.handlers.weights), and `pt2` is left to runner.optimize, which
compiles, exercises and reports whatever handler it is.
"""

from __future__ import annotations

import abc
import logging
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from runner.handlers import weights
from runner.handlers.compiled import is_compiled, is_declared
from runner.handlers.context import Context
from runner.handlers.errors import PredictionException
from runner.handlers.labels import LABELS_FILE, load_labels
from runner.handlers.timing import timed

logger = logging.getLogger(__name__)


class BaseHandler(abc.ABC):  # noqa: B024 - TorchServe's is abstract without abstract methods
    """Loads the model, and answers a batch by preprocess → inference → postprocess over the whole batch."""

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping: dict[str, str] | None = None
        self.device: Any = None
        self.initialized = False
        self.context: Any = None
        self.model_pt_path: str | None = None
        self.manifest: Any = None
        self.map_location: str | None = None
        self.explain = False
        self.target: Any = 0
        self.profiler_args: dict[str, Any] = {}
        self.model_yaml_config: dict[str, Any] = {}

    def initialize(self, context: Any) -> None:
        """Choose the device, load the model, read index_to_name.json. Raises RuntimeError or CannotLoad."""
        self.context = context
        self.model_yaml_config = getattr(context, "model_yaml_config", None) or {}
        self.device = torch.device(_device_of(context))
        self.map_location = self.device.type
        self.manifest = context.manifest
        model_dir = context.system_properties.get("model_dir")
        serialized = self.manifest["model"].get("serializedFile")
        self.model_pt_path = os.path.join(model_dir, serialized) if serialized else None  # noqa: PTH118 - text, as in TorchServe
        self.model = self._load(model_dir, self.manifest["model"].get("modelFile", ""))
        if isinstance(self.model, nn.Module):
            self.model = weights.placed(self.model, self.device)
        self.mapping = load_labels(Path(model_dir) / LABELS_FILE)
        self.initialized = True

    def _load(self, model_dir: str, model_file: str) -> Any:
        if model_file:
            return self._load_pickled_model(model_dir, model_file, self.model_pt_path)
        if self.model_pt_path is None:
            raise RuntimeError("No model weights could be loaded: the archive has no checkpoint and no model file")
        if self.model_pt_path.endswith(".onnx"):
            return setup_ort_session(self.model_pt_path, self.map_location)
        if self.model_pt_path.endswith(".pt"):
            return self._load_torchscript_model(self.model_pt_path)
        if self._use_torch_export_aot_compile() and is_compiled(Path(self.model_pt_path)):
            return self._load_torch_export_aot_compile(self.model_pt_path)
        model, origin = weights.from_checkpoint(Path(self.model_pt_path), self.device)
        self._note(origin)
        return model

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        """The TorchScript module on the handler's device."""
        model, origin = weights.from_checkpoint(Path(model_pt_path), self.device)
        self._note(origin)
        return model

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str | None) -> Any:
        """The model file's class, filled from the state dict. Raises RuntimeError without the file."""
        file = Path(model_dir) / model_file
        if not file.is_file():
            raise RuntimeError(f"Missing the {model_file} file")
        model, origin = weights.from_model_file(file, Path(model_pt_path) if model_pt_path else None)
        self._note(origin)
        return model

    def _use_torch_export_aot_compile(self) -> bool:
        """Whether the config says `pt2.export.aot_compile: true`."""
        return is_declared(self.model_yaml_config)

    def _load_torch_export_aot_compile(self, model_so_path: str) -> Any:
        """The compiled code in a `.so` or `.pt2`, on the handler's device. Raises CannotLoad."""
        model, origin = weights.from_checkpoint(Path(model_so_path), self.device, compiled=True)
        self._note(origin)
        return model

    def _note(self, origin: weights.Origin) -> None:
        if isinstance(self.context, Context):
            self.context.weights = origin.to_dict()

    @timed
    def preprocess(self, data: Any) -> Any:
        """The batch's inputs as one tensor on the device. Rows of a request are unwrapped first; TorchServe's
        own fails on them and wants an envelope."""
        rows = [_payload(row) for row in data] if isinstance(data, list) else data
        return torch.as_tensor(rows, device=self.device)

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """The model's output for the batch."""
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    @timed
    def postprocess(self, data: Any) -> Any:
        """One answer per row."""
        return data.tolist()

    def handle(self, data: Any, context: Any) -> Any:
        """One answer per row; explanations or the description if the request asks for them."""
        started = perf_counter()
        self.context = context
        answers = [self.describe_handle() for _ in data] if self._is_describe() else self._answers(data)
        context.metrics.add_time("HandlerTime", round((perf_counter() - started) * 1000, 2), None, "ms")
        return answers

    def _answers(self, data: Any) -> Any:
        if os.environ.get("ENABLE_TORCH_PROFILER") and not self._is_explain():
            return self._infer_with_profiler(data)[0]
        started = perf_counter()
        prepared = self.preprocess(data)
        inferred = perf_counter()
        if self._is_explain():
            return self.explain_handle(prepared, data)
        output = self.inference(prepared)
        finished = perf_counter()
        answers = self.postprocess(output)
        if isinstance(self.context, Context):
            self.context.seconds["preprocess"] = inferred - started
            self.context.seconds["inference"] = finished - inferred
            self.context.seconds["postprocess"] = perf_counter() - finished
        return answers

    def _infer_with_profiler(self, data: Any) -> tuple[Any, torch.profiler.profile]:
        """The answers to the batch, and the profile of its three stages, which are named in it.

        `profiler_args` go to torch.profiler.profile; without them shapes are recorded, and a trace for each batch is
        left under pytorch_profiler/MODEL in the folder for temporary files.
        """
        from torch.profiler import ProfilerActivity, profile, record_function, tensorboard_trace_handler

        arguments = dict(self.profiler_args)
        if not arguments:
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            arguments = {"activities": kinds, "record_shapes": True}
        folder = Path(tempfile.gettempdir()) / "pytorch_profiler" / self.manifest["model"]["modelName"]
        arguments.setdefault("on_trace_ready", tensorboard_trace_handler(str(folder)))
        with profile(**arguments) as profiled:
            with record_function("preprocess"):
                prepared = self.preprocess(data)
            with record_function("inference"):
                output = self.inference(prepared)
            with record_function("postprocess"):
                answers = self.postprocess(output)
        return answers, profiled

    def explain_handle(self, data_preprocess: Any, raw_data: Any) -> Any:
        """Explanations from the subclass's `get_insights(tensor, inputs, target)`."""
        row = raw_data[0]
        inputs, target = (_payload(row), row.get("target") or 0) if isinstance(row, dict) else (None, 0)
        return self.get_insights(data_preprocess, inputs, target)

    def get_insights(self, tensor_data: Any, raw_data: Any, target: Any) -> Any:
        """What a subclass overrides to explain. Raises PredictionException (501) here."""
        raise PredictionException(f"{type(self).__name__} has no get_insights(): it cannot explain", 501)

    def describe_handle(self) -> Any:
        """What a subclass says about its model; None by default."""
        return None

    def get_device(self) -> Any:
        return self.device

    def _is_explain(self) -> bool:
        self.explain = self._asked_for("explain")
        return self.explain

    def _is_describe(self) -> bool:
        return self._asked_for("describe")

    def _asked_for(self, what: str) -> bool:
        # Rows that ask for something else are in another batch (runner.worker.handling).
        return bool(self.context) and self.context.get_request_header(0, what) == "True"


def setup_ort_session(model_pt_path: str, map_location: str | None) -> Any:
    """An ONNX model as a session of onnxruntime, with as many threads as the worker has. Raises ImportError without
    onnxruntime."""
    import onnxruntime  # type: ignore[import-not-found,import-untyped,unused-ignore]  # optional, not typed

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    wanted = ["CUDAExecutionProvider"] if map_location == "cuda" else []
    return onnxruntime.InferenceSession(
        model_pt_path, providers=[*wanted, "CPUExecutionProvider"], sess_options=options
    )


def _device_of(context: Any) -> str:
    """The device that the worker was given; from the GPU's number for contexts that handlers' tests make up."""
    if isinstance(context, Context):
        return context.device
    gpu = context.system_properties.get("gpu_id")
    if gpu is None:
        return "cpu"
    if torch.cuda.is_available():
        return f"cuda:{gpu}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _payload(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    data = row.get("data")
    return row.get("body") if data is None else data
