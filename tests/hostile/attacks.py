"""Builders of bad archives: one function per attack, keyed by the code it must be refused with.

Each takes a folder and returns (archive, the text that the refusal must name). A new attack is a new function.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.hostile.rawzip import Raw, write_zip

Attack = Callable[[Path], tuple[Path, str]]

#: Code → attacks that must be refused with it.
ATTACKS: dict[str, list[Attack]] = {}


def refused_with(code: str) -> Callable[[Attack], Attack]:
    def keep(attack: Attack) -> Attack:
        ATTACKS.setdefault(code, []).append(attack)
        return attack

    return keep


def _zip(folder: Path, *entries: Raw, **ends: bytes) -> Path:
    return write_zip(folder / "bad.mar", [Raw("handler.py"), *entries], **ends)


def _tar(folder: Path, *infos: tarfile.TarInfo, data: bytes = b"") -> Path:
    path = folder / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def _tar_info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def _own(entries: list[Raw], files: list[dict] | None = None) -> list[Raw]:
    """The entries with a manifest of this tool, which holds them to the strict profile."""
    if files is None:
        files = [
            {"path": entry.name, "size": len(entry.data), "sha256": _sha(entry.data), "role": "extra"}
            for entry in entries
        ]
    document = {"model": {"modelName": "bad", "modelVersion": "1.0"}, "specificationVersion": "2.0", "files": files}
    return [*entries, Raw("MAR-INF/MANIFEST.json", json.dumps(document).encode())]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@refused_with("archive/escapes-root")
def climbs_out(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("../../etc/cron.d/x")), "../../etc/cron.d/x"


@refused_with("archive/escapes-root")
def climbs_out_of_a_tar(folder: Path) -> tuple[Path, str]:
    return _tar(folder, _tar_info("model/handler.py"), _tar_info("model/../../x")), "../../x"


@refused_with("archive/escapes-root")
def names_a_config_outside(folder: Path) -> tuple[Path, str]:
    model = {"modelName": "bad", "modelVersion": "1.0", "configFile": "../../../etc/passwd"}
    return _zip(folder, Raw("MAR-INF/MANIFEST.json", json.dumps({"model": model}).encode())), "configFile"


@refused_with("archive/absolute-path")
def starts_at_the_root(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("/etc/passwd")), "/etc/passwd"


@refused_with("archive/absolute-path")
def starts_at_a_drive(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("C:evil.py")), "C:evil.py"


@refused_with("archive/absolute-path")
def starts_at_the_root_of_a_tar(folder: Path) -> tuple[Path, str]:
    return _tar(folder, _tar_info("/etc/passwd")), "/etc/passwd"


@refused_with("archive/backslash")
def climbs_out_with_backslashes(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("..\\..\\evil.py")), "..\\..\\evil.py"


@refused_with("archive/bad-name")
def has_a_control_character(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("handler\x1b[2J.py")), "handler"


@refused_with("archive/bad-name")
def turns_the_text_around(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("handler‮yp.exe", flags=0x800)), "handler"


@refused_with("archive/bad-name")
def is_a_device_of_windows(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("weights/NUL.txt")), "NUL.txt"


@refused_with("archive/bad-name")
def is_no_utf8(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw(b"caf\xe9.py", flags=0x800)), "caf"


@refused_with("archive/bad-name")
def has_an_empty_part(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("a//b.py")), "a//b.py"


@refused_with("archive/bad-name")
def is_endless(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("a" * 300)), "aaaa"


@refused_with("archive/link")
def is_a_symlink(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("weights.pt", b"/etc/passwd", mode=0o120777)), "weights.pt"


@refused_with("archive/link")
def is_a_symlink_in_a_tar(folder: Path) -> tuple[Path, str]:
    return _tar(folder, _tar_info("m/handler.py"), _tar_info("m/w", tarfile.SYMTYPE, "/etc")), "`w`"


@refused_with("archive/link")
def is_a_hard_link_in_a_tar(folder: Path) -> tuple[Path, str]:
    return _tar(folder, _tar_info("m/handler.py"), _tar_info("m/w", tarfile.LNKTYPE, "/etc/shadow")), "`w`"


@refused_with("archive/link")
def links_a_folder(folder: Path) -> tuple[Path, str]:
    model = folder / "bad"
    model.mkdir()
    (model / "handler.py").write_text("x = 1\n")
    (model / "weights").symlink_to("/etc")
    return model, "weights"


@refused_with("archive/special-file")
def is_a_device(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("disk", mode=0o060644)), "disk"


@refused_with("archive/special-file")
def is_a_pipe_in_a_tar(folder: Path) -> tuple[Path, str]:
    return _tar(folder, _tar_info("m/handler.py"), _tar_info("m/pipe", tarfile.FIFOTYPE)), "pipe"


@refused_with("archive/special-file")
def is_a_folder_with_content(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("weights/", b"not empty")), "weights/"


@refused_with("archive/duplicate-name")
def comes_twice(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("handler.py", b"evil")), "handler.py"


@refused_with("archive/case-collision")
def differs_by_case(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("Handler.PY")), "Handler.PY"


@refused_with("archive/case-collision")
def differs_by_unicode_form(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("ﬁle.py", flags=0x800), Raw("file.py")), "file.py"


@refused_with("archive/case-collision")
def has_folders_that_differ_by_case(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("weights/a"), Raw("Weights/b")), "Weights"


@refused_with("archive/file-and-directory")
def is_file_and_folder(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("a"), Raw("a/b")), "a/b"


@refused_with("archive/overlapping-entries")
def shares_bytes(folder: Path) -> tuple[Path, str]:
    """The better zip bomb: many records of the directory point at one local entry."""
    kernel = Raw("handler.py", bytes(1000), method=8)
    return write_zip(folder / "bad.mar", [kernel, Raw("handler.py", bytes(1000), method=8, offset=0)]), "handler.py"


@refused_with("archive/overlapping-entries")
def reaches_into_the_directory(folder: Path) -> tuple[Path, str]:
    long = {"packed": 60, "size": 60}
    path = _zip(folder, Raw("w", b"y", local=long))
    data = bytearray(path.read_bytes())
    record = data.rindex(b"PK\1\2")
    data[record + 20 : record + 28] = struct.pack("<II", 60, 60)
    path.write_bytes(data)
    return path, "`w`"


@refused_with("archive/encrypted")
def is_encrypted(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("secret.py", flags=0x1)), "secret.py"


@refused_with("archive/unsupported-compression")
def is_compressed_with_bzip2(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("w", method=12)), "`w`"


@refused_with("archive/extra-field")
def has_a_second_name(folder: Path) -> tuple[Path, str]:
    extra = struct.pack("<HHBI", 0x7075, 5 + 7, 1, 0) + b"evil.py"
    return _zip(folder, Raw("good.py", extra=extra)), "good.py"


@refused_with("archive/extra-field")
def has_a_second_size(folder: Path) -> tuple[Path, str]:
    field = struct.pack("<HHQ", 1, 8, 5)
    return _zip(folder, Raw("w", extra=field + field)), "`w`"


@refused_with("archive/padding")
def hides_bytes_in_its_padding(folder: Path) -> tuple[Path, str]:
    field = struct.pack("<HHH", 0xD935, 2 + 4, 4096) + b"evil"
    return _zip(folder, *_own([Raw("w", local={"extra": field})])), "`w`"


@refused_with("archive/padding")
def hides_bytes_behind_its_size(folder: Path) -> tuple[Path, str]:
    field = struct.pack("<HHQ", 1, 8, 5)
    return _zip(folder, *_own([Raw("w", extra=field)])), "`w`"


@refused_with("archive/padding")
def is_signed_and_has_fields_that_nobody_signed(folder: Path) -> tuple[Path, str]:
    times = struct.pack("<HHBI", 0x5455, 5, 1, 0)
    return _zip(folder, Raw("w", extra=times), Raw("MAR-INF/model.sig")), "`w`"


@refused_with("archive/header-mismatch")
def has_another_name_in_its_header(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("good.py", local={"name": b"evil.py"})), "good.py"


@refused_with("archive/header-mismatch")
def has_another_size_in_its_header(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("w", b"12345", local={"size": 4})), "`w`"


@refused_with("archive/header-mismatch")
def has_another_crc_in_its_header(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("w", b"12345", local={"crc": 1})), "`w`"


@refused_with("archive/bomb-ratio")
def explodes(folder: Path) -> tuple[Path, str]:
    return _zip(folder, Raw("zeros.pt", bytes(20 << 20), method=8)), "zeros.pt"


@refused_with("archive/bomb-ratio")
def explodes_in_a_tar(folder: Path) -> tuple[Path, str]:
    size = 20 << 20
    return _tar(folder, _tar_info("m/zeros.pt", size=size), data=bytes(size)), "zeros.pt"


@refused_with("archive/bomb-ratio")
def has_an_endless_tar_header(folder: Path) -> tuple[Path, str]:
    """tarfile reads an extended header whole; this one claims 8 GB."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 8 << 30
    path = folder / "bad.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))
    return path, "header"


@refused_with("archive/too-large")
def claims_terabytes(folder: Path) -> tuple[Path, str]:
    wide = struct.pack("<HHQQ", 1, 16, 2 << 40, 2 << 40)
    path = _zip(folder, Raw("w", b"x" * 10, method=8, extra=wide))
    data = path.read_bytes()
    full = b"\xff\xff\xff\xff"
    sizes = struct.pack("<II", len(Raw("w", b"x" * 10, method=8).packed()), 10)
    path.write_bytes(data.replace(sizes, sizes[:4] + full))
    return path, "`w`"


@refused_with("archive/too-many-entries")
def claims_countless_members(folder: Path) -> tuple[Path, str]:
    path = _zip(folder)
    start = len(path.read_bytes()) - 22
    wide = struct.pack("<4sQBBHIIQQQQ", b"PK\6\6", 44, 45, 3, 45, 0, 0, 10**9, 10**9, 0, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start, 1)
    classic = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(path.read_bytes()[:start] + wide + locator + classic)
    return path, "1000000000 members"


@refused_with("archive/hidden-entry")
def hides_a_member(folder: Path) -> tuple[Path, str]:
    """TorchServe's reader unpacks it; the directory, and so every scanner, does not know it."""
    return _zip(folder, Raw("evil.py", listed=False)), "handler.py"


@refused_with("archive/hidden-entry")
def hides_bytes_behind_a_tar(folder: Path) -> tuple[Path, str]:
    path = _tar(folder, _tar_info("m/handler.py"))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"evil"))
    return path, "last member"


@refused_with("archive/prefix")
def has_a_prefix(folder: Path) -> tuple[Path, str]:
    """TorchServe's reader finds nothing in it and says nothing."""
    path = write_zip(folder / "bad.mar", _own([Raw("handler.py")]), prefix=b"#!/bin/sh\n")
    return path, "10 bytes"


@refused_with("archive/gap")
def has_a_gap(folder: Path) -> tuple[Path, str]:
    """TorchServe's reader stops there and says nothing."""
    path = write_zip(folder / "bad.mar", _own([Raw("handler.py"), Raw("w", before=bytes(8))]))
    return path, "handler.py"


@refused_with("archive/comment")
def has_a_comment(folder: Path) -> tuple[Path, str]:
    return write_zip(folder / "bad.mar", _own([Raw("handler.py")]), comment=b"hello"), "5 bytes"


@refused_with("archive/data-descriptor")
def has_its_sizes_behind_its_data(folder: Path) -> tuple[Path, str]:
    """TorchServe's reader cannot read a stored member like that."""
    late = {"crc": 0, "packed": 0, "size": 0}
    facts = Raw("w", b"12345").facts()
    descriptor = struct.pack("<4sIII", b"PK\7\x08", facts["crc"], 5, 5)
    entry = Raw("w", b"12345", flags=8, local=late, after=descriptor)
    return write_zip(folder / "bad.mar", _own([Raw("handler.py"), entry])), "`w`"


@refused_with("archive/unlisted-member")
def smuggles_a_member(folder: Path) -> tuple[Path, str]:
    entries = _own([Raw("handler.py")])
    return write_zip(folder / "bad.mar", [Raw("evil.py"), *entries]), "evil.py"


@refused_with("archive/missing-member")
def lost_a_member(folder: Path) -> tuple[Path, str]:
    return write_zip(folder / "bad.mar", _own([Raw("handler.py"), Raw("w")])[1:]), "handler.py"


@refused_with("archive/size-mismatch")
def has_another_size_than_its_manifest(folder: Path) -> tuple[Path, str]:
    files = [{"path": "handler.py", "size": 99, "sha256": _sha(b"x"), "role": "handler"}]
    return write_zip(folder / "bad.mar", _own([Raw("handler.py")], files)), "handler.py"
