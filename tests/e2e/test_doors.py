"""The other prediction routes against a real server."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.servers import running_server, write_model


def test_the_other_prediction_routes_reach_the_handler(tmp_path: Path) -> None:
    source = (
        "def handle(data, ctx):\n"
        "    rows = [{k: v.decode() if isinstance(v, bytearray) else v for k, v in r.items()} for r in data or ()]\n"
        "    return data and [{'row': r, 'explain': ctx.get_request_header(i, 'explain')}\n"
        "                     for i, r in enumerate(rows)]\n"
    )
    with running_server(write_model(tmp_path / "m", source), cache=tmp_path / "cache") as server:
        plain = {"row": {"body": {"a": 1}}, "explain": "False"}
        for path in ("/models/m/invoke", "/invocations", "/m/predict", "/m/1.0/predict", "/v1/models/m:predict"):
            assert server.client.post(path, json={"a": 1}).json() == plain, path
        for path in ("/explanations/m", "/v1/models/m:explain"):
            assert server.client.post(path, json={"a": 1}).json() == {**plain, "explain": "True"}, path
        fields = server.client.post("/invocations?top=3", json={"a": 1}).json()["row"]
        assert fields == {"body": {"a": 1}, "top": "3"}
        tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}
        inferred = server.client.post("/v2/models/m/infer", json={"id": "7", "inputs": [tensor]}).json()
        assert inferred["id"] == "7"
        assert "FP32" in inferred["outputs"][0]["data"][0]
        assert server.client.get("/v1/models/m").json() == {"name": "m", "ready": True}
