"""A model store as it grows over years: ten archives of every kind, three versions of one, changed under load."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

from tests.e2e.servers import running_server, write_model
from tests.e2e.test_registering import put, register
from tests.e2e.test_serving import Load

ONE = "minWorkers: 1\nmaxWorkers: 1\njobQueueSize: 20000\n"
#: Says who answered: the model's name and version. Loads when all archives of the store do, beside each other.
NAMES_ITSELF = """
import os, time
open(os.path.join(os.environ["MEETING"], os.path.basename(os.getcwd())), "w").close()
while len(os.listdir(os.environ["MEETING"])) < 10: time.sleep(0.01)
def handle(data, context):
    model = context.manifest["model"]
    return data and [f"{model['modelName']} {model.get('modelVersion')}" for row in data]
"""


def zipped(folder: Path, target: Path, compression: int = zipfile.ZIP_DEFLATED) -> None:
    """The folder as a .mar, and the folder gone."""
    with zipfile.ZipFile(target, "w", compression) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))
    shutil.rmtree(folder)


def store_of(store: Path) -> list[str]:
    """The store; the names of its models."""
    for version in ("1.0", "2.0", "3.0"):
        zipped(
            write_model(store / f"m{version}", NAMES_ITSELF, version=version, config=ONE), store / f"m-{version}.mar"
        )
    zipped(
        write_model(store / "s", NAMES_ITSELF, name="stored", config=ONE), store / "stored.mar", zipfile.ZIP_STORED
    )
    write_model(store / "folder", NAMES_ITSELF, name="folder", config=ONE)
    packed = write_model(store / "t", NAMES_ITSELF, name="tarred", config=ONE)
    with tarfile.open(store / "tarred.tar.gz", "w:gz") as file:
        file.add(packed, "tarred")
    shutil.rmtree(packed)
    old = write_model(store / "o", NAMES_ITSELF, name="old", config=ONE)
    model = {"modelName": "old", "modelVersion": "0.1", "handler": "handler.py:handle"}
    old_manifest = {
        "specificationVersion": "1.0",
        "runtime": "python3",
        "implementationVersion": "1.0",
        "model": model,
    }
    (old / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(old_manifest))
    zipped(old, store / "old.mar")
    bare = write_model(store / "b", NAMES_ITSELF)
    shutil.rmtree(bare / "MAR-INF")
    zipped(bare, store / "bare.mar")
    classy = NAMES_ITSELF.replace(
        "def handle(data, context)",
        "class Says:\n  def initialize(self, context): pass\n  def handle(self, data, context)",
    )
    zipped(
        write_model(store / "c", classy.replace("\n    ", "\n      "), name="classy", config=ONE),
        store / "classy.mar",
    )
    unknown = write_model(store / "u", NAMES_ITSELF, name="unknown", config=ONE + "workers: many\nmineOwn: 1\n")
    zipped(unknown, store / "unknown.mar")
    return ["m", "stored", "folder", "tarred", "old", "bare", "classy", "unknown"]


def test_a_mixed_store_starts_as_a_whole_and_loses_no_request_while_it_changes(tmp_path: Path) -> None:
    names = store_of(tmp_path / "store")
    options = ["--model-store", tmp_path / "store", "--models", "all"]
    (tmp_path / "meeting").mkdir()
    variables = {"MEETING": str(tmp_path / "meeting")}
    with running_server(*options, cache=tmp_path / "cache", variables=variables) as server:
        said = {name: server.predict(b"x", model=name).text.split()[0] for name in names}
        assert said == {name: name for name in names}
        loads = [Load(server, 2 if name == "m" else 1, f"/predictions/{name}") for name in names]
        loads[0].wait_for_answers(20)
        for version in ("2.0", "3.0"):
            put(server, f"/models/m/{version}/set-default")
            assert server.predict(b"x").text == f"m {version}"
        assert server.client.delete("/models/m/1.0").status_code == 200
        put(server, "/models/tarred", min_worker=3, synchronous="true")
        put(server, "/models/m", min_worker=2, synchronous="true")
        assert register(server, url="m-1.0.mar")[0] == 200
        assert register(server, url="classy.mar", model_name="again")[0] == 200
        put(server, "/models/m/1.0/set-default")
        assert server.predict(b"x").text == "m 1.0"
        put(server, "/models/tarred", min_worker=1, synchronous="true")
        for path in ("/models/m/2.0", "/models/again"):
            assert server.client.delete(path).status_code == 200
        for load in loads:
            load.wait_for_answers(10)
        assert [set(load.stop()) for load in loads] == [{"200"}] * len(names)
        assert sorted(each["modelVersion"] for each in server.client.get("/models/m/all").json()) == ["1.0", "3.0"]
