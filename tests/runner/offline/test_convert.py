"""`archive convert` and `archive create --safetensors`: the same weights, in a form that nothing unpickles."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, load_model

from archiver.archive import Archive
from archiver.errors import InvalidInput, UsageError
from archiver.pack import create
from archiver.project import from_flags
from archiver.repack import member_of, members_of, repack
from archiver.scan.scan import scan
from archiver.signing.sign import sign
from archiver.store import unpack
from runner.offline.convert import CannotConvert, Wanted, convert_archive, convert_file, converted
from tests.archiver.scan.payloads import calling
from tests.archiver.scan.test_nested import zipped
from tests.archiver.signing.people import person
from tests.builders import make_torchserve_archive
from tests.e2e.servers import archive_command

MODEL = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))
"""
HANDLER = """
import torch
from runner.handlers import Handler

class Rows(Handler):
    def preprocess(self, payload):
        return torch.tensor(payload, dtype=torch.float32)

    def postprocess(self, output):
        return [round(value, 4) for value in output.tolist()]
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_ARCHIVE_CACHE", str(tmp_path / "cache"))


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    names: dict[str, type[torch.nn.Module]] = {}
    exec(MODEL, names)
    return names["Net"]()


def project(folder, *, handler=HANDLER, state=None, **options):
    """Weights, model, handler and a sample."""
    torch.save(net().state_dict() if state is None else state, folder / "net.pt")
    for name, text in {"model.py": MODEL, "handler.py": handler, "sample.json": "[1, 2, 3]"}.items():
        (folder / name).write_text(text)
    (folder / "c.yaml").write_text("warmup: {input: sample.json}\n")
    return from_flags(
        model_name="rows",
        serialized_file=folder / "net.pt",
        model_file=folder / "model.py",
        handler=folder / "handler.py",
        config_file=folder / "c.yaml",
        extra_files=f"{folder}/sample.json",
        export_path=folder,
        **options,
    )


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def members(path) -> dict[str, bytes]:
    with Archive.open(path) as archive:
        return {member.name: archive.read(member.name) for member in archive.members}


def test_a_checkpoint_becomes_a_file_with_the_same_tensors(tmp_path):
    module = net()
    torch.save(module.state_dict(), tmp_path / "net.pt")
    done = convert_file(tmp_path / "net.pt", tmp_path / "deep" / "net.safetensors", Wanted())
    other = net()
    torch.nn.init.zeros_(other.a.weight)
    load_model(other, done.path)
    assert torch.equal(other.b.weight, module.a.weight)
    assert done.weights.tied == {"b.weight": "a.weight"}
    assert names(tmp_path / "deep") == ["net.safetensors"]
    assert (tmp_path / "deep" / "net.safetensors").stat().st_mode & 0o077 == 0o044 & ~_mask()


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_cannot_be_converted_leaves_nothing_and_replaces_nothing(tmp_path):
    torch.save({"w": torch.ones(2) + 1j}, tmp_path / "net.pt")
    (tmp_path / "out.safetensors").write_text("older")
    with pytest.raises(CannotConvert, match="complex64"):
        convert_file(tmp_path / "net.pt", tmp_path / "out.safetensors", Wanted())
    assert names(tmp_path) == ["net.pt", "out.safetensors"]
    assert (tmp_path / "out.safetensors").read_text() == "older"


def test_a_file_that_does_not_read_back_the_same_is_not_published(tmp_path, monkeypatch):
    torch.save({"w": torch.ones(2)}, tmp_path / "net.pt")
    monkeypatch.setattr("runner.offline.as_safetensors.save_file", lambda state, file, **_: _other(file))
    with pytest.raises(CannotConvert, match=r"these tensors of net\.pt did not come back as they were: w"):
        convert_file(tmp_path / "net.pt", tmp_path / "net.safetensors", Wanted())
    assert names(tmp_path) == ["net.pt"]


def _other(file) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, file)


def test_a_target_that_readers_would_take_for_a_pickle_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not end in .safetensors"):
        convert_file(tmp_path / "net.pt", tmp_path / "other.pt", Wanted())


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda file: torch.jit.script(torch.nn.Linear(2, 2)).save(str(file)), "is TorchScript: only a state dict"),
        (lambda file: file.write_text("words"), "is no checkpoint that torch.save has written"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_is_no_state_dict_is_told(tmp_path, make, problem):
    make(tmp_path / "net.pt")
    with pytest.raises(CannotConvert, match=problem):
        convert_file(tmp_path / "net.pt", tmp_path / "net.safetensors", Wanted())


def test_an_archive_keeps_all_but_its_weights_and_their_name(tmp_path):
    original = create(project(tmp_path, version="2.1", license="MIT", description="rows")).path
    before = hashlib.sha256(original.read_bytes()).digest()
    convert_archive(original, tmp_path / "new.mar", Wanted())
    old, new = members(original), members(tmp_path / "new.mar")
    assert hashlib.sha256(original.read_bytes()).digest() == before
    assert {*new} == {*old} - {"net.pt"} | {"net.safetensors"}
    assert all(new[name] == old[name] for name in ("handler.py", "model.py", "c.yaml", "sample.json"))
    manifest, was = (json.loads(each["MAR-INF/MANIFEST.json"]) for each in (new, old))
    assert manifest["model"] == {**was["model"], "serializedFile": "net.safetensors"}
    assert manifest["license"] == "MIT" and manifest["parent"].startswith("sha256:")
    with Archive.open(tmp_path / "new.mar") as archive:
        assert archive.verify() == []
    assert scan(tmp_path / "new.mar").verdict == "runs"


def test_a_converted_archive_answers_as_the_original(tmp_path):
    original = create(project(tmp_path)).path
    convert_archive(original, tmp_path / "new.mar", Wanted())
    both = (original, tmp_path / "new.mar")
    answers = [archive_command("run", str(path), cache=tmp_path / "cache") for path in both]
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout


def test_keys_of_a_foreign_manifest_and_its_folders_stay(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    parts = {"handler.py": HANDLER, "weights/w.pt": (tmp_path / "w.pt").read_bytes(), "notes/a.txt": "x"}
    model = {"serializedFile": "weights/w.pt", "extensions": "kept"}
    original = make_torchserve_archive(tmp_path / "old.mar", members=parts, model=model)
    convert_archive(original, tmp_path / "new.mar", Wanted())
    new = members(tmp_path / "new.mar")
    manifest = json.loads(new["MAR-INF/MANIFEST.json"])["model"]
    assert (manifest["serializedFile"], manifest["extensions"]) == ("weights/w.safetensors", "kept")
    assert {"weights/w.safetensors", "notes/a.txt"} < {*new}


def test_a_signature_and_compiled_code_do_not_outlive_what_they_are_about(tmp_path):
    plain = create(project(tmp_path)).path
    opened = unpack(plain)
    (tmp_path / "kernel.so").write_bytes(b"code")
    code = member_of("MAR-INF/precompiled/k1/kernel.so", tmp_path / "kernel.so", "precompiled")
    entry = {"key": "k1", "environment": {"device": ["cpu"]}, "report": {}}
    manifest = replace(opened.manifest, precompiled=(entry,), report=("measured",))
    repack(tmp_path / "full.mar", [*members_of(opened.manifest, opened.model_dir), code], manifest)
    sign(tmp_path / "full.mar", person(tmp_path / "keys").signer)
    done = convert_archive(tmp_path / "full.mar", tmp_path / "new.mar", Wanted())
    assert (done.signature, done.compiled) == (True, ("cpu",))
    new = members(tmp_path / "new.mar")
    assert not [name for name in new if name.endswith((".sig", ".so"))]
    assert not {"precompiled", "report"} & {*json.loads(new["MAR-INF/MANIFEST.json"])}


def test_other_pickles_stay_and_are_named(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    data = (tmp_path / "w.pt").read_bytes()
    original = make_torchserve_archive(
        tmp_path / "old.mar",
        members={"handler.py": HANDLER, "w.pt": data, "vocab.pt": data, "a.json": "{}"},
        model={"serializedFile": "w.pt"},
    )
    assert convert_archive(original, tmp_path / "new.mar", Wanted()).pickles == ("vocab.pt",)


def test_code_that_opens_the_old_file_by_name_stops_it(tmp_path):
    handler = HANDLER + '\nPATH = "net.pt"\n'
    original = create(project(tmp_path, handler=handler)).path
    with pytest.raises(InvalidInput) as caught:
        convert_archive(original, tmp_path / "new.mar", Wanted())
    assert [(each.code, str(each.where)) for each in caught.value.findings] == [
        ("convert/named-by-hand", "handler.py:12:8")
    ]
    assert not (tmp_path / "new.mar").exists()
    done = convert_archive(original, tmp_path / "new.mar", Wanted(), checks=False)
    assert [each.severity.value for each in done.warnings] == ["warning"]


@pytest.mark.parametrize(
    ("parts", "model", "problem"),
    [
        ({"handler.py": HANDLER}, {}, "names no weights"),
        ({"handler.py": HANDLER}, {"serializedFile": "w.pt"}, "which is not in the archive"),
        (
            {"handler.py": HANDLER, "w.pt": b"x", "w.safetensors": b"y"},
            {"serializedFile": "w.pt"},
            "has a w.safetensors already",
        ),
    ],
)
def test_an_archive_that_cannot_be_converted_is_told(tmp_path, parts, model, problem):
    original = make_torchserve_archive(tmp_path / "old.mar", members=parts, model=model)
    with pytest.raises(CannotConvert, match=problem):
        convert_archive(original, tmp_path / "new.mar", Wanted())


def test_a_converted_archive_is_not_converted_again(tmp_path):
    convert_archive(create(project(tmp_path)).path, tmp_path / "new.mar", Wanted())
    with pytest.raises(CannotConvert, match=r"net\.safetensors is safetensors already"):
        convert_archive(tmp_path / "new.mar", tmp_path / "newer.mar", Wanted())


def test_create_packs_safetensors_where_that_is_wanted(tmp_path):
    with converted(project(tmp_path), checks=True) as (changed, warnings):
        path = create(changed).path
    with Archive.open(path) as archive:
        weights = next(file for file in archive.manifest.files if file.role == "weights")
        assert (weights.path, weights.format) == ("net.safetensors", "safetensors")
        assert archive.manifest.serialized_file == "net.safetensors"
    assert warnings == []


def test_what_create_would_refuse_is_refused_before_anything_is_converted(tmp_path):
    with pytest.raises(InvalidInput), converted(project(tmp_path, handler="def broken("), checks=True):
        pass


def test_a_project_with_safetensors_is_packed_as_it_is(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    convert_file(tmp_path / "w.pt", tmp_path / "w.safetensors", Wanted())
    (tmp_path / "handler.py").write_text(HANDLER)
    asked = from_flags(serialized_file=tmp_path / "w.safetensors", handler=tmp_path / "handler.py")
    with converted(asked, checks=True) as (same, _):
        assert same is asked


def test_the_command_writes_beside_the_original_and_never_over_it(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "net.pt")
    done = archive_command("convert", "net.pt", "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["weights"]["tensors"]) == (0, 1)
    assert torch.equal(load_file(tmp_path / "net.safetensors")["w"], torch.ones(2))
    again = archive_command("convert", "net.pt", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (
        1,
        "error: net.safetensors already exists\n\nhint: add --force to replace it\n",
    )
    over = archive_command("convert", "net.safetensors", cwd=tmp_path)
    assert (over.returncode, "never replaced" in over.stderr) == (2, True)


def test_a_hostile_checkpoint_of_an_archive_is_named_and_not_run(tmp_path):
    evil = zipped({"w/data.pkl": calling(os.mkdir, str(tmp_path / "made"), protocol=2), "w/version": b"3"})
    original = make_torchserve_archive(
        tmp_path / "old.mar", members={"handler.py": HANDLER, "w.pt": evil}, model={"serializedFile": "w.pt"}
    )
    with pytest.raises(CannotConvert, match=r"w\.pt!w/data\.pkl: posix\.mkdir"):
        convert_archive(original, tmp_path / "new.mar", Wanted())
    assert not (tmp_path / "made").exists()


def test_the_flag_of_create_packs_safetensors(tmp_path):
    project(tmp_path)
    words = ("--serialized-file", "net.pt", "--model-file", "model.py", "--handler", "handler.py", "--safetensors")
    done = archive_command("create", *words, cwd=tmp_path)
    assert (done.returncode, "net.safetensors (safetensors" in done.stdout) == (0, True), done.stderr
    assert not [name for name in members(tmp_path / "net.mar") if name.endswith(".pt")]


def test_without_a_checkpoint_there_is_nothing_to_convert(tmp_path):
    (tmp_path / "handler.py").write_text(HANDLER)
    with pytest.raises(UsageError, match="no checkpoint is named"):
        converted(from_flags(handler=tmp_path / "handler.py"), checks=True).__enter__()
