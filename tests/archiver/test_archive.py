from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from archiver.archive import Archive
from archiver.errors import ArchiveError, DamagedArchive, NotFound
from tests.builders import make_archive, make_torchserve_archive, safetensors


def test_a_flipped_byte_is_found_and_its_member_named(tmp_path):
    path = make_archive(tmp_path, checkpoint=safetensors(1000, b"w"))
    data = bytearray(path.read_bytes())
    data[data.index(b"wwww") + 500] ^= 1
    path.write_bytes(data)
    with Archive.open(path) as archive:
        (finding,) = archive.verify()
    assert finding.code == "archive/damaged-member"
    assert finding.message == "member `model.safetensors` fails its CRC"


def test_an_altered_member_with_a_right_crc_is_found_by_its_hash(tmp_path):
    import zlib

    path = make_archive(tmp_path)
    data = path.read_bytes()
    old, new = b"batchSize: 2", b"batchSize: 9"
    with Archive.open(path) as archive:
        config = archive.read("model-config.yaml")
    crcs = [zlib.crc32(text).to_bytes(4, "little") for text in (config, config.replace(old, new))]
    path.write_bytes(data.replace(old, new).replace(*crcs))
    with Archive.open(path) as archive:
        (finding,) = archive.verify()
    assert finding.code == "archive/hash-mismatch"
    assert finding.message.startswith("member `model-config.yaml` was altered: its sha256 is ")


def test_an_archive_without_hashes_is_verified_by_its_crcs(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar", compression=0)
    with Archive.open(path) as archive:
        assert archive.verify() == []
    path.write_bytes(path.read_bytes().replace(b"self.initialized", b"self.initialised"))
    with Archive.open(path) as archive:
        assert [finding.message for finding in archive.verify()] == ["member `handler.py` fails its CRC"]


def test_opening_and_listing_read_no_weights(tmp_path):
    path = make_archive(tmp_path, checkpoint=safetensors(70_000))
    with Archive.open(path) as archive:
        offset = archive.extent("model.safetensors").offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 70_000] = bytes(range(250)) * 280
    path.write_bytes(data)
    with Archive.open(path) as archive:
        assert archive.claimed_digest is not None
        assert len(archive.members) == 5


def test_the_digest_of_a_foreign_archive_is_that_of_its_content(tmp_path):
    deflated = make_torchserve_archive(tmp_path / "a" / "m.mar")
    stored = make_torchserve_archive(tmp_path / "b" / "m.mar", compression=0)
    with Archive.open(deflated) as one, Archive.open(stored) as other:
        assert one.claimed_digest is None
        assert one.digest == other.digest


def test_the_config_is_the_file_that_the_manifest_names(tmp_path):
    with Archive.open(make_archive(tmp_path)) as archive:
        assert archive.config_text() == "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\n"
    with Archive.open(make_archive(tmp_path / "none", config=None)) as archive:
        assert archive.config_text() is None


@pytest.mark.parametrize(
    ("members", "said"),
    [({"h.py": ""}, "names the config file `c.yaml`"), ({"c.yaml": b"\xff"}, "not UTF-8 at byte 0")],
)
def test_a_config_that_cannot_be_had_is_damage(tmp_path, members, said):
    path = make_torchserve_archive(tmp_path / "m.mar", members=members, model={"configFile": "c.yaml"})
    with Archive.open(path) as archive, pytest.raises(DamagedArchive, match=said):
        archive.config_text()


def test_an_archive_without_manifest_gets_one(tmp_path):
    path = make_torchserve_archive(tmp_path / "net.mar", manifest=False)
    with Archive.open(path) as archive:
        assert not archive.has_manifest
        assert (archive.manifest.model_name, archive.manifest.handler) == ("net", "handler.py")


def test_a_huge_manifest_is_not_read(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar", model={"x": "y" * (5 << 20)})
    with pytest.raises(ArchiveError, match="the limit is"):
        Archive.open(path)


def test_a_member_that_is_not_there_is_not_found(tmp_path):
    with Archive.open(make_archive(tmp_path)) as archive, pytest.raises(NotFound, match="has no member `x`"):
        archive.read("x")


def test_no_descriptor_is_left_open(tmp_path):
    path = make_archive(tmp_path)
    broken = tmp_path / "broken.mar"
    broken.write_bytes(path.read_bytes()[:-30])
    before = len(list(Path("/dev/fd").iterdir()))
    with Archive.open(path):
        pass
    with pytest.raises(DamagedArchive):
        Archive.open(broken)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_neither_reading_nor_packing_imports_torch_or_jsonschema(tmp_path):
    path = make_torchserve_archive(tmp_path / "m.mar")
    code = (
        "import sys; from pathlib import Path\n"
        "import archiver.pack, archiver.store, archiver.diff, archiver.unpack\n"
        "from archiver.archive import Archive\n"
        f"Archive.open(Path({str(path)!r})).verify()\n"
        "assert not {'torch', 'numpy', 'jsonschema', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
