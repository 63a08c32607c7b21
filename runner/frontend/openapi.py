"""The OpenAPI 3.1 document of the server, for `/openapi.json`, and what it says about one model."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from archiver import __version__
from runner.frontend.tensors import DATATYPES

_ERROR = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {
        "code": {"type": "integer", "description": "The HTTP status."},
        "type": {"type": "string", "description": "What kind of error; stable, in TorchServe's names."},
        "message": {"type": "string", "description": "What happened and what to do."},
    },
}
_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
_VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}
_WORKFLOW = {"name": "workflow", "in": "path", "required": True, "schema": {"type": "string"}}
_MODEL_NAME = {
    "name": "model_name",
    "in": "query",
    "description": "Which model; needed when several are served.",
    "schema": {"type": "string"},
}
_ANY_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {}},
        "text/plain": {"schema": {"type": "string"}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {"schema": {"type": "object"}},
        "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
    },
}
_TENSORS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": list(DATATYPES)},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
    },
}
_INFER_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": _TENSORS}},
            "example": {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}]},
        },
        "application/octet-stream": {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "JSON of Inference-Header-Content-Length bytes, then the bytes of tensors.",
            }
        },
    },
}


def _errors(**meanings: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {code[1:]: {"description": text, "content": content} for code, text in meanings.items()}


def _ok(text: str, media: str = "application/json") -> dict[str, Any]:
    return {"200": {"description": text, "content": {media: {"schema": {}}}}}


def _predict(parameters: list[dict[str, Any]], body: dict[str, Any] = _ANY_BODY) -> dict[str, Any]:
    responses = {
        "200": {
            "description": "What the handler returned for this request.",
            "content": {"*/*": {"schema": {}}},
        },
        **_errors(
            _400="The body is not what its content type says.",
            _404="No such model, version or workflow.",
            _408="The body took too long to arrive.",
            _413="The body is larger than the server's limit.",
            _431="The head is larger than heads may be.",
            _500="The request ended its worker, twice.",
            _503="The handler failed on this row, the queue is full, or there is no worker.",
            _504="No answer within the deadline.",
            _507="Out of memory.",
        ),
    }
    return {"post": {"parameters": parameters, "requestBody": body, "responses": responses}}


def _get(
    text: str, parameters: list[dict[str, Any]] | None = None, media: str = "application/json"
) -> dict[str, Any]:
    responses = _ok(text, media)
    if parameters:
        responses |= _errors(_404="No such model, version or workflow.")
    return {"get": {"parameters": parameters or [], "responses": responses}}


def _parameter(name: str, text: str, kind: str = "integer", *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "required": required, "schema": {"type": kind}}


_WAIT = _parameter("synchronous", "Answer when it is done, else 202 at once.", "boolean")
_REGISTER = [
    _parameter("url", "Name of an archive in the model store.", "string", required=True),
    _parameter("model_name", "Serve it under this name.", "string"),
    _parameter("handler", "Instead of the handler that its manifest names.", "string"),
    _parameter("runtime", "python or python3.", "string"),
    _parameter("initial_workers", "How many workers; default: what its config says."),
    _parameter("batch_size", "batchSize of its config."),
    _parameter("max_batch_delay", "maxBatchDelay of its config, in milliseconds."),
    _parameter("response_timeout", "responseTimeout of its config, in seconds."),
    _parameter("startup_timeout", "startupTimeout of its config, in seconds."),
    _WAIT,
]
_SCALE = [
    _parameter("min_worker", "How many workers from now on; default: 1."),
    _parameter("max_worker", "Not fewer than min_worker."),
    _WAIT,
]


def _act(method: str, text: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """A management action."""
    refusals = _errors(
        _400="A parameter is missing or wrong.",
        _403="The server does not take this action.",
        _404="No such model, version or workflow.",
        _409="That version is registered already.",
        _500="Its workers cannot be started.",
    )
    return {method: {"parameters": parameters, "responses": {**_ok(text), **refusals}}}


def _list(text: str) -> dict[str, Any]:
    pages = [
        _parameter("limit", "How many at most; default: 100, which is also the most."),
        _parameter("next_page_token", "Where the page before said that this one begins."),
    ]
    responses = _ok(text) | _errors(_400="A parameter is no whole number.")
    return {"get": {"parameters": pages, "responses": responses}}


def _management() -> dict[str, Any]:
    scale = _act("put", "Change the number of workers.", [_MODEL, *_SCALE])
    leave = _act("delete", "Unregister: accepted requests are answered first.", [_MODEL])
    described = _get("The default version: settings, workers, what was applied.", [_MODEL])
    one = [_MODEL, _VERSION]
    return {
        "/models": {
            **_list("Names and archives of the served models."),
            **_act("post", "Register an archive of the model store.", _REGISTER),
        },
        "/models/{model}": {**described, **scale, **leave},
        "/models/{model}/{version}": {
            **_get("One version, or `all`.", one),
            **_act("put", "Change the number of workers.", [*one, *_SCALE]),
            **_act("delete", "Unregister: accepted requests are answered first.", one),
        },
        "/models/{model}/{version}/set-default": _act("put", "The version that answers when none is asked for.", one),
    }


_REGISTER_WORKFLOW = [
    _parameter("url", "Name of an archive in the workflow store.", "string", required=True),
    _parameter("workflow_name", "Serve it under this name.", "string"),
    *(each for each in _REGISTER if each["name"] in ("response_timeout", "startup_timeout")),
]


def _workflows() -> dict[str, Any]:
    return {
        "/wfpredict/{workflow}": _predict([_WORKFLOW]),
        "/workflows": {
            **_list("Names and archives of the workflows."),
            **_act("post", "Register a workflow: its models are started.", _REGISTER_WORKFLOW),
        },
        "/workflows/{workflow}": {
            **_get("The workflow's archive and settings.", [_WORKFLOW]),
            **_act("delete", "Unregister: accepted requests are answered first.", [_WORKFLOW]),
        },
    }


def _tensor_routes(base: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        base: _get("Open Inference Protocol: what is known of the model.", parameters),
        f"{base}/infer": _predict(parameters, _INFER_BODY),
        f"{base}/explain": _predict(parameters, _INFER_BODY),
    }


def document() -> dict[str, Any]:
    """The document, as plain values."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "torch-archive", "version": __version__},
        "paths": {
            "/predictions/{model}": _predict([_MODEL]),
            "/predictions/{model}/{version}": _predict([_MODEL, _VERSION]),
            "/explanations/{model}": _predict([_MODEL]),
            "/explanations/{model}/{version}": _predict([_MODEL, _VERSION]),
            "/models/{model}/invoke": _predict([_MODEL]),
            "/invocations": _predict([_MODEL_NAME]),
            "/{model}/predict": _predict([_MODEL]),
            "/{model}/{version}/predict": _predict([_MODEL, _VERSION]),
            "/v1/models": _get("KServe v1: the names of the served models."),
            "/v1/models/{model}": _get("KServe v1: whether the model has a READY worker.", [_MODEL]),
            "/v1/models/{model}:predict": _predict([_MODEL]),
            "/v1/models/{model}:explain": _predict([_MODEL]),
            "/v2": _get("Open Inference Protocol: the server's name, version and extensions."),
            "/v2/health/live": _get("Open Inference Protocol: the server is alive."),
            "/v2/health/ready": _get("Open Inference Protocol: every model can answer now."),
            "/v2/models/{model}/ready": _get("Whether the model has a READY worker.", [_MODEL]),
            "/v2/models/{model}/versions/{version}/ready": _get("The same of one version.", [_MODEL, _VERSION]),
            **_tensor_routes("/v2/models/{model}", [_MODEL]),
            **_tensor_routes("/v2/models/{model}/versions/{version}", [_MODEL, _VERSION]),
            **_management(),
            **_workflows(),
            "/ping": _get("Every model has a READY worker."),
            "/livez": _get("The server is alive."),
            "/readyz": _get("Every model can answer now."),
            "/metrics": _get("Prometheus metrics.", media="text/plain"),
            "/openapi.json": _get("This document."),
        },
        "components": {"schemas": {"Error": _ERROR}},
    }


def predictions_document(name: str, version: str, description: str | None = None) -> dict[str, Any]:
    """How to ask this model version, as plain values."""
    paths = {path: item for path, item in document()["paths"].items() if not _manages(path)}
    return _document_of(name, version, description, paths)


def management_document(name: str, version: str, description: str | None = None) -> dict[str, Any]:
    """How to manage this model version, as plain values."""
    paths = {path: item for path, item in document()["paths"].items() if _manages(path)}
    return _document_of(name, version, description, paths)


def _manages(path: str) -> bool:
    return path.startswith("/models") and not path.endswith("/invoke")


def _document_of(name: str, version: str, description: str | None, paths: dict[str, Any]) -> dict[str, Any]:
    """Those of the paths that name a model, with this one's name and version in them."""
    names = {"{model}": quote(name, safe=""), "{version}": quote(version, safe="")}
    info = {"title": name, "version": version, **({"description": description} if description else {})}
    return {
        **document(),
        "info": info,
        "paths": {_filled(path, names): _settled(item) for path, item in paths.items() if "{model}" in path},
    }


def _filled(path: str, names: dict[str, str]) -> str:
    for placeholder, value in names.items():
        path = path.replace(placeholder, value)
    return path


def _settled(item: dict[str, Any]) -> dict[str, Any]:
    """The operations without the parameters that stand in the path already."""
    return {
        method: {**operation, "parameters": [each for each in operation["parameters"] if each["in"] != "path"]}
        for method, operation in item.items()
    }
