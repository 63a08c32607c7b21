"""`archive optimize`: a new archive that was loaded, measured and compared before it took its place."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import torch

from archiver.archive import Archive
from tests.archiver.scan.payloads import calling
from tests.archiver.scan.test_nested import zipped
from tests.builders import make_archive
from tests.e2e.projects import succeeded
from tests.e2e.servers import archive_command, running_server

MODEL = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(6, 400), torch.nn.ReLU(), torch.nn.Linear(400, 400), torch.nn.Linear(400, 4))
"""
HANDLER = """
import torch
from runner.handlers import Handler

class Rows(Handler):
    def preprocess(self, payload):
        return torch.tensor(payload, dtype=torch.float32)
    def postprocess(self, output):
        return [round(value, 3) for value in output.tolist()]
"""
BF16 = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nprecision: bf16\nwarmup: {input: sample.json}\n"


def make(folder, config=BF16, handler=HANDLER):
    """`rows.mar` in the folder."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 400), torch.nn.ReLU(), torch.nn.Linear(400, 400), torch.nn.Linear(400, 4)
    )
    torch.save(net.state_dict(), folder / "net.pt")
    for name, text in {
        "model.py": MODEL,
        "handler.py": handler,
        "sample.json": "[1, 2, 3, 4, 5, 6]",
        "c.yaml": config,
    }.items():
        (folder / name).write_text(text)
    flags = [
        "--model-name",
        "rows",
        "--serialized-file",
        "net.pt",
        "--model-file",
        "model.py",
        "--handler",
        "handler.py",
    ]
    succeeded(archive_command("create", *flags, "-c", "c.yaml", "--extra-files", "sample.json", cwd=folder))
    return folder / "rows.mar"


def optimize(*arguments, cache):
    return archive_command("optimize", *map(str, arguments), cache=cache)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Folder, the original's digest before, and the printed table of one run."""
    folder = tmp_path_factory.mktemp("optimize")
    original = make(folder)
    before = hashlib.sha256(original.read_bytes()).hexdigest()
    ran = optimize(original, "-o", folder / "fast.mar", "--json", cache=folder / "cache")
    return folder, before, json.loads(succeeded(ran))


def test_a_bf16_archive_is_half_the_size_and_the_original_is_untouched(done):
    folder, before, table = done
    sizes = [(folder / name).stat().st_size for name in ("rows.mar", "fast.mar")]
    assert sizes[1] < sizes[0] * 0.6
    assert hashlib.sha256((folder / "rows.mar").read_bytes()).hexdigest() == before
    assert table["weights"] == [
        {
            "file": "net.pt",
            "becomes": "net.safetensors",
            "size": table["weights"][0]["size"],
            "told": "6 tensors in bfloat16, as safetensors",
        }
    ]


def test_the_table_has_what_was_measured_of_each_way_to_have_the_model(done):
    _, _, table = done
    assert [column["name"] for column in table["columns"]] == [
        "original, eager",
        "original, as declared",
        "optimised",
    ]
    eager, declared, optimised = table["columns"]
    assert eager["accuracy"] is None
    assert optimised["accuracy"] == declared["accuracy"]  # the same numbers are cast, only earlier
    assert 0.999 < optimised["accuracy"]["cosine"] < 1
    for column in table["columns"]:
        assert set(column["milliseconds"]) == {"1", "4"}
        assert column["loadSeconds"] > 0 and column["peakMemory"] > 50_000_000


def test_the_new_archive_names_its_parent_and_keeps_the_report(done):
    folder, _, _ = done
    with Archive.open(folder / "rows.mar") as original, Archive.open(folder / "fast.mar") as optimised:
        assert optimised.verify() == []
        assert optimised.manifest.parent == f"sha256:{original.digest}"
        assert any(line.startswith("precision") for line in optimised.manifest.report)
    shown = succeeded(archive_command("inspect", str(folder / "fast.mar")))
    assert "Optimised" in shown and "parent" in shown


def test_it_serves_what_the_original_serves(done):
    folder, _, _ = done
    answers = []
    for name in ("rows.mar", "fast.mar"):
        with running_server(folder / name, cache=folder / "cache") as server:
            answers.append(server.predict([6, 5, 4, 3, 2, 1], model="rows").json())
            applied = {row["name"]: row["applied"] for row in server.describe("rows")["applied"]["steps"]}
            assert applied["precision"] == "bf16 (cast)"
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_settings_of_the_command_line_are_what_the_new_archive_declares(tmp_path):
    plain = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nwarmup: {input: sample.json}\nlabel: mine\n"
    original = make(tmp_path / "a", plain)
    succeeded(optimize(original, "-o", tmp_path / "b.mar", "--set", "precision=bf16", cache=tmp_path / "cache"))
    shown = json.loads(succeeded(archive_command("inspect", str(tmp_path / "b.mar"), "--json")))
    settings = {row["key"]: (row["value"], row["origin"]) for row in shown["config"]}
    assert settings["precision.dtype"] == ("bf16", "yaml")
    assert settings["batchSize"] == (4, "yaml")
    assert settings["label"] == ("mine", "yaml")


@pytest.mark.slow
def test_a_dry_run_prints_the_table_and_writes_nothing(done, tmp_path):
    folder, _, _ = done
    ran = optimize(folder / "rows.mar", "-o", tmp_path / "never.mar", "--dry-run", cache=folder / "cache")
    assert "original, eager" in ran.stdout and "nothing was written (--dry-run)" in succeeded(ran)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("precision: bf16\n", "no sample to measure and compare with"),
        ("warmup: {input: sample.json}\n", "declares neither precision, quantization nor pt2.compile"),
    ],
)
def test_an_archive_that_gives_nothing_to_do_is_refused_with_what_to_add(tmp_path, config, said):
    ran = optimize(make(tmp_path / "a", config), "-o", tmp_path / "b.mar", cache=tmp_path / "cache")
    assert ran.returncode == 1 and said in ran.stderr and "hint:" in ran.stderr
    assert not (tmp_path / "b.mar").exists()


@pytest.mark.slow
def test_a_new_archive_that_does_not_load_is_not_written(tmp_path):
    picky = HANDLER + (
        "    def load_model(self):\n"
        "        from pathlib import Path\n"
        "        assert Path(self.context.model_dir, 'net.pt').is_file(), 'my own file is gone'\n"
        "        return super().load_model()\n"
    )
    ran = optimize(make(tmp_path / "a", handler=picky), "-o", tmp_path / "b.mar", cache=tmp_path / "cache")
    assert ran.returncode == 1 and "my own file is gone" in ran.stderr
    assert not (tmp_path / "b.mar").exists()


def test_the_original_and_what_is_there_already_are_not_overwritten(done):
    folder, before, _ = done
    same = optimize(folder / "rows.mar", "-o", folder / "rows.mar", "--force", cache=folder / "cache")
    assert same.returncode == 2 and "never replaced" in same.stderr
    there = optimize(folder / "rows.mar", "-o", folder / "fast.mar", cache=folder / "cache")
    assert there.returncode != 0 and "fast.mar" in there.stderr
    assert hashlib.sha256((folder / "rows.mar").read_bytes()).hexdigest() == before


def test_an_archive_that_would_run_something_when_it_is_loaded_is_refused_first(tmp_path):
    evil = zipped({"w/data.pkl": calling(os.mkdir, str(tmp_path / "made"), protocol=2), "w/version": b"3"})
    original = make_archive(tmp_path, extra={"more.pt": evil})
    done = optimize(original, "-o", tmp_path / "new.mar", cache=tmp_path / "cache")
    assert (done.returncode, "more.pt!w/data.pkl: posix.mkdir" in done.stderr) == (1, True)
    assert not (tmp_path / "new.mar").exists() and not (tmp_path / "made").exists()
