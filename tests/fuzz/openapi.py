"""The server does what its OpenAPI document says: requests made from the document, valid ones and others, get the
statuses, content types and bodies that it lists, and none gets a 5xx. `make fuzz` runs it; it needs schemathesis.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as of_openapi

from runner.frontend.openapi import document
from tests.e2e.servers import Server, running_server, write_model
from tests.e2e.test_serving import ECHO

_EXAMPLES = 50
_CHECKS = [
    checks.not_a_server_error,
    of_openapi.status_code_conformance,
    of_openapi.content_type_conformance,
    of_openapi.response_headers_conformance,
    of_openapi.response_schema_conformance,
]

schema = schemathesis.openapi.from_dict(document())


@schema.hook
def map_path_parameters(_: Any, values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Every second request means what is there: a name from nowhere never does."""
    real = {"model": "m", "version": "1.0"}
    if values and crc32(repr(values).encode()) % 2:
        return {name: real.get(name, value) for name, value in values.items()}
    return values


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("openapi")
    model = write_model(folder / "m", ECHO)
    with running_server(model, "--model-store", folder, cache=folder / "cache") as running:
        yield running


# A model that is unregistered, or has no workers, would answer nothing of what follows.
@schema.exclude(method="DELETE").exclude(method="PUT", path_regex=r"^/models/\{model\}(/\{version\})?$").parametrize()
@settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_request_is_answered_as_documented(server: Server, case: schemathesis.Case) -> None:
    response = case.call(base_url=server.url)
    case.validate_response(response, checks=_CHECKS)
