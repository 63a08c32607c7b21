"""Ways around a scan that were tried on this one: each is found, or refused since it cannot be looked into."""

from __future__ import annotations

import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zlib

import pytest

from archiver.scan.look import Budget
from tests.archiver.scan.payloads import PAYLOADS, looked, names, saved
from tests.archiver.scan.test_nested import EVIL, numpy_file, tarred, zipped

OLD = PAYLOADS["os.system, protocol 2"][0]


def _lzma(properties: int, dictionary: int) -> bytes:
    """As `lzma.open` and joblib read it, with another head than the usual one."""
    literal, rest = properties % 9, properties // 9
    options = {"id": lzma.FILTER_LZMA1, "lc": literal, "lp": rest % 5, "pb": rest // 5, "dict_size": dictionary}
    return lzma.compress(EVIL, format=lzma.FORMAT_ALONE, filters=[options])


def _joblib(space: bytes = b"") -> bytes:
    """As joblib wrote before 0.10, and reads still."""
    return b"ZF" + f"{len(EVIL):#x}".ljust(19).encode() + space + zlib.compress(EVIL)


def _safetensors() -> bytes:
    """Valid as both: the length of the header is a text that the pickle drops, the rest lies in the metadata."""
    text = 0x200
    head = b"X" + struct.pack("<I", text) + b"\0\0\0"
    header = b'{"__metadata__":{"a":"'.ljust(text - 3) + b"0" + OLD[2:]
    header += b'"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    return head + header.ljust(int.from_bytes(head, "little")) + b"\0"


@pytest.mark.parametrize(
    "data",
    [
        _lzma(93, 4096),
        _lzma(0, 1 << 20),
        _lzma(93, 3 << 20),
        _joblib(),
        _joblib(b" "),
        _safetensors(),
        numpy_file(b"x" * 8) + numpy_file(EVIL),
        numpy_file(b"x" * (1 << 20)) + numpy_file(EVIL, version=2),
    ],
)
def test_a_pickle_behind_an_odd_beginning_is_found(data):
    assert names(looked(data)) == ["file.bin: posix.system"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "inner",
    [
        *(EVIL, OLD, PAYLOADS["os.system, protocol 0"][0], gzip.compress(EVIL), zlib.compress(EVIL)),
        *(zipped({"m/data.pkl": EVIL}), pickle.dumps({"more": EVIL}, 4), pickle.dumps({"more": [OLD]}, 0)),
    ],
)
def test_a_pickle_that_another_one_holds_as_bytes_is_found(protocol, inner):
    told = names(looked(pickle.dumps({"tokenizer": inner, "count": 3}, protocol), "extra.pkl"))
    assert [each for each in told if "!bytes at" in each and "posix.system" in each]


def test_bytes_in_a_checkpoint_of_torch_are_looked_at_too():
    torch = pytest.importorskip("torch")
    for protocol in (2, 4):
        found = looked(saved({"w": torch.ones(2), "tokenizer": EVIL}, pickle_protocol=protocol), "m.pt")
        assert [each.split("!")[1] for each in names(found)] == ["archive/data.pkl"]
        assert found[0].verdict == "refused"


def test_a_list_of_words_is_looked_at_in_no_time_and_is_no_reason_to_refuse():
    words = [f"c{number}ontaining words\n" for number in range(1000)] + ["cat\ndog\nmouse\n", "(cat\ndog\n)"]
    for protocol in range(6):
        found = looked(pickle.dumps(words, protocol), "vocab.pkl", Budget(entries=10))
        assert found[0].verdict in ("plain", "safe")


def test_bytes_that_are_a_harmless_pickle_are_no_reason_to_refuse():
    assert looked(pickle.dumps({"a": pickle.dumps([1, 2, 3, 4])}, 4), "extra.pkl")[0].verdict == "plain"


def test_pickles_in_pickles_without_end_are_refused():
    data = EVIL
    for _ in range(40):
        data = pickle.dumps(data, 4)
    assert "too deep" in names(looked(data, "extra.pkl"))[0]


def test_many_pickles_in_a_pickle_cost_no_more_than_a_scan_may():
    data = pickle.dumps([pickle.dumps([number, "words"]) for number in range(50)])
    assert names(looked(data, "extra.pkl", Budget(entries=20))) == ["extra.pkl: is more than a scan reads"]


@pytest.mark.parametrize(
    ("head", "how"),
    [
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x50\x2a\x4d\x18", "zstd or lz4"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\xff\x06\0\0sNaPpY", "snappy"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"Rar!\x1a\x07\x01\0", "RAR"),
        (b"LZIP\x01", "lzip"),
    ],
)
def test_what_cannot_be_unpacked_here_is_refused(head, how):
    """pandas and joblib unpack some of them by themselves, and unpickle what comes out."""
    assert names(looked(head + bytes(50), "table.pkl.zst")) == [
        f"table.pkl.zst: is compressed by {how}, which is not unpacked here"
    ]


def test_files_of_zeros_and_numbers_are_not_taken_for_compressed_ones():
    for data in (bytes(4096), struct.pack("<8f", *range(8)) * 50, struct.pack("<8q", *range(8)) * 50):
        assert looked(data)[0].verdict == "data"


def test_a_zip_before_a_zip_is_refused():
    """Readers that begin at the end see the good one, those that begin at the front the other."""
    good, evil = zipped({"m/data.pkl": pickle.dumps({}, 2)}), zipped({"m/data.pkl": EVIL})
    told = ["m.pt: holds entries that its directory does not name"]
    assert names(looked(evil + good, "m.pt")) == told
    end = bytearray(evil)
    struct.pack_into("<H", end, len(evil) - 2, len(good))
    assert names(looked(bytes(end) + good, "m.pt")) == told


def test_a_sparse_file_in_a_tar_is_refused():
    """Its bytes lie in another order than they are read in."""
    file, swapped = io.BytesIO(), EVIL[5:] + EVIL[:5]
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("w.bin")
        info.size = len(swapped)
        blocks = f"5,{len(EVIL) - 5},0,5"
        info.pax_headers = {"GNU.sparse.size": str(len(EVIL)), "GNU.sparse.map": blocks}
        archive.addfile(info, io.BytesIO(swapped))
    assert "neither a file nor a folder" in names(looked(file.getvalue()))[0]


def test_the_checkpoints_of_torch_s_first_releases_are_looked_into():
    parts = {"sys_info": pickle.dumps({}, 2), "pickle": OLD, "storages": b"\x80\x02K\0.", "tensors": b"\x80\x02K\0."}
    assert names(looked(tarred(parts), "m.pth")) == ["m.pth!pickle: posix.system"]
