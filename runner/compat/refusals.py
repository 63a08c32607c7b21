"""Names of TorchServe that have no counterpart here: module → what to do instead. Pure.

A module that is not listed says the same as the nearest package above it that is.
"""

from __future__ import annotations

_SERVER = "it is a part of TorchServe's server, which is another one here"
_LAUNCH = (
    "start the server with `archive torchserve --start` or `archive serve`, and register models with POST /models"
)
_PIPPY = (
    "torch.distributed.pipelining took PiPPy's place: declare `torchrun: {nproc-per-node: N}`, derive "
    "from BaseHandler and build the pipeline in initialize()"
)
_DALI = (
    "pictures are decoded by Pillow: the built-in image_classifier answers alike; for NVIDIA DALI, build its "
    "pipeline in the initialize() of a handler that derives from BaseHandler"
)
_METRICS = "handlers report through context.metrics, and the machine's own metrics are on /metrics"

INSTEAD = {
    "ts": "docs/torchserve.md lists what handlers can import",
    "ts.arg_parser": _LAUNCH,
    "ts.async_service": _SERVER,
    "ts.handler_utils.distributed.pt_pippy": _PIPPY,
    "ts.handler_utils.preprocess": _DALI,
    "ts.launcher": _LAUNCH,
    "ts.llm_launcher": f"nothing is downloaded while serving: pack the model with `archive create`; {_LAUNCH}",
    "ts.metrics": _METRICS,
    "ts.model_loader": _SERVER,
    "ts.model_server": _LAUNCH,
    "ts.model_service": "handlers of that age derive from ts.torch_handler.base_handler.BaseHandler now",
    "ts.model_service_worker": _SERVER,
    "ts.torch_handler.contractions": "TextHandler._expand_contractions() replaces them in a text",
    "ts.torch_handler.dali_handler": _DALI,
    "ts.torch_handler.dali_image_classifier": _DALI,
    "ts.torch_handler.densenet_handler": "the built-in image_classifier does the same for every model",
    "ts.torch_handler.distributed.base_pippy_handler": _PIPPY,
    "ts.torch_handler.trt_llm_handler": (
        "TensorRT-LLM is driven by a handler of your own: `asyncCommunication: true`, an `async def handle` that "
        "asks tensorrt_llm.LLM, and asynchronous generators among its answers"
    ),
    "ts.torch_handler.unit_tests": "only test_utils is for others' tests",
    "ts.torch_handler.vllm_handler": (
        "vLLM is driven by a handler of your own: `asyncCommunication: true`, an `async def handle` that asks "
        "vllm.AsyncLLMEngine, and asynchronous generators among its answers"
    ),
    "ts.utils.hf_utils": "nothing is downloaded while serving: pack the model's files with `archive create`",
    "ts.utils.setup_model_venv": _SERVER,
    "ts.utils.timeit_decorator": "ts.handler_utils.timer.timed measures a method and reports it as a metric",
}

#: TorchServe's built-in handlers that are none here.
HANDLERS = ("dali_image_classifier", "trt_llm_handler", "vllm_handler")


def refusal(module: str) -> str:
    """The sentence for whoever asks for that module."""
    known = module
    while known not in INSTEAD:
        known = known.rpartition(".")[0]
    return f"{module} is not in torch-archive: {INSTEAD[known]}"
