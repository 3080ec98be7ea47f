"""MedMNIST sets: what is read, from where, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medmnist import INFO
from medmnist.dataset import MedMNIST

from ingest import ImageRecord, SourceUnavailable, open_source
from ingest.images.pixels import pixels_digest
from ingest.sources.published import medmnist, npz
from ingest.sources.source import SPLITS, check_splits
from store import BadSource, UsageError
from tests.ingest.fakes import write_npz

COUNTS = {"train": 5, "val": 3, "test": 4}


def read(spec: str = "medmnist:pneumoniamnist", **options: Any) -> list[ImageRecord]:
    records = list(open_source(spec, **options).records)
    assert all(isinstance(record, ImageRecord) for record in records)
    return records  # type: ignore[return-value]


# -- what is read ----------------------------------------------------------------------------------


def test_records_carry_everything_the_file_says(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "pneumoniamnist.npz", COUNTS)
    source = open_source("medmnist:pneumoniamnist", root=tmp_path)
    records = list(source.records)
    assert (source.name, source.total) == ("pneumoniamnist", 12)
    assert [record.id for record in records] == [
        f"pneumoniamnist/{split}/{i}" for split, count in COUNTS.items() for i in range(count)
    ]
    one = records[6]
    assert isinstance(one, ImageRecord)
    assert (one.split, one.dataset) == ("val", "pneumoniamnist")
    assert one.source == "pneumoniamnist.npz#val/1"
    np.testing.assert_array_equal(one.pixels, arrays["val_images"][1])
    assert one.sha256 == pixels_digest(arrays["val_images"][1])
    assert one.labels == (("normal", "pneumonia")[int(arrays["val_labels"][1, 0])],)


def test_splits_come_in_the_order_asked_and_once(tmp_path: Path) -> None:
    write_npz(tmp_path / "pneumoniamnist.npz", COUNTS)
    source = open_source("medmnist:pneumoniamnist", root=tmp_path, splits=["test", "train", "test"])
    assert source.total == 9
    assert [r.split for r in source.records] == ["test"] * 4 + ["train"] * 5


def test_rgb(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "bloodmnist.npz", COUNTS, channels=3, classes=8)
    records = read("medmnist:bloodmnist", root=tmp_path)
    assert records[0].pixels.shape == (28, 28, 3)
    names = medmnist.label_names("bloodmnist")
    assert [r.labels for r in records[:5]] == [(names[i],) for i in arrays["train_labels"][:, 0]]


def test_multi_label(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "chestmnist.npz", {"test": 6}, classes=14, multi_label=True)
    arrays["test_labels"][0] = 0
    np.savez(tmp_path / "chestmnist.npz", **arrays)
    records = read("medmnist:chestmnist", root=tmp_path, splits=["test"])
    names = medmnist.label_names("chestmnist")
    assert names[:2] == ("atelectasis", "cardiomegaly")
    assert records[0].labels == ()
    for record, row in zip(records, arrays["test_labels"], strict=True):
        assert record.labels == tuple(name for name, on in zip(names, row, strict=True) if on)


@pytest.mark.parametrize("name", ["chestmnist", "pathmnist", "octmnist"])
@pytest.mark.parametrize("size", [28, 64, 128, 224])
def test_every_size_whole_and_streamed(tmp_path: Path, name: str, size: int) -> None:
    about, suffix = medmnist.info(name), "" if size == 28 else f"_{size}"
    path = tmp_path / f"{name}{suffix}.npz"
    several = "multi-label" in about["task"]
    write_npz(
        path,
        {"train": 3, "test": 2},
        side=size,
        channels=about["n_channels"],
        classes=len(medmnist.label_names(name)),
        multi_label=several,
    )
    options: dict[str, Any] = {"root": tmp_path, "splits": ["train", "test"], "size": size}
    whole = read(f"medmnist:{name}", **options)
    assert [r.pixels.shape[:2] for r in whole] == [(size, size)] * 5
    streamed = npz.NpzFile(
        path,
        name,
        medmnist.label_names(name),
        "fetch it again",
        several,
        size,
        about["n_channels"],
        whole_bytes=1000,
    )
    for one, other in zip(whole, streamed.read(options["splits"]), strict=True):
        assert (one.id, one.labels, one.sha256) == (other.id, other.labels, other.sha256)
        np.testing.assert_array_equal(one.pixels, other.pixels)
    if size <= 64:  # so small that opening it reads it whole
        return
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("test_images.npy").header_offset
    content[place + 400] ^= 1
    path.write_bytes(content)
    stream = open_source(f"medmnist:{name}", **options).records
    assert [next(stream).source for _ in range(3)]  # the split before the damage
    with pytest.raises(BadSource):
        next(stream)


def test_larger_size_has_its_own_file(tmp_path: Path) -> None:
    write_npz(tmp_path / "pneumoniamnist.npz", COUNTS)
    write_npz(tmp_path / "pneumoniamnist_64.npz", {"test": 2}, side=64)
    records = read(root=tmp_path, splits=["test"], size=64)
    assert [r.pixels.shape for r in records] == [(64, 64)] * 2
    assert records[0].source == "pneumoniamnist_64.npz#test/0"


def test_labels_may_be_flat_and_of_any_whole_type(tmp_path: Path) -> None:
    labels = np.array([0, 1, 1], dtype=np.int64)
    write_npz(tmp_path / "pneumoniamnist.npz", {"test": 3}, test_labels=labels)
    assert [r.labels[0] for r in read(root=tmp_path, splits=["test"])] == [
        "normal",
        "pneumonia",
        "pneumonia",
    ]


def test_an_empty_split_is_no_accident(tmp_path: Path) -> None:
    write_npz(tmp_path / "pneumoniamnist.npz", {"val": 0, "test": 2})
    assert len(read(root=tmp_path, splits=["val", "test"])) == 2


def test_every_flat_set_is_known() -> None:
    for name, about in INFO.items():
        if not about["python_class"].endswith("3D"):
            assert len(medmnist.label_names(name)) >= 2
            assert all(f"url{s}" in about for s in ("", "_64", "_128", "_224"))


# -- where from ------------------------------------------------------------------------------------


def test_root_beats_variable_beats_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medmnist, "fetch", lambda *_: pytest.fail("downloaded"))
    home, variable, root = Path.home() / ".medmnist", tmp_path / "variable", tmp_path / "root"
    for count, folder in enumerate((home, variable, root), start=1):
        folder.mkdir(exist_ok=True)
        write_npz(folder / "pneumoniamnist.npz", {"test": count})
    assert len(read(splits=["test"])) == 1
    monkeypatch.setenv("MEDMNIST_ROOT", str(variable))
    assert len(read(splits=["test"])) == 2
    assert len(read(splits=["test"], root=root)) == 3
    (variable / "pneumoniamnist.npz").unlink()
    assert len(read(splits=["test"])) == 1


def test_note_about_a_file_that_is_not_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    write_npz(path, COUNTS)
    note = open_source("medmnist:pneumoniamnist", root=tmp_path).note
    assert note is not None and "28209eda62fecd6e6a2d98b1501bb15f" in note
    assert "may not be the official ones" in note
    monkeypatch.setitem(medmnist.info("pneumoniamnist"), "MD5", _md5(path.read_bytes()))
    assert open_source("medmnist:pneumoniamnist", root=tmp_path).note is None


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"no pneumoniamnist\.npz in .*; download https://"):
        open_source("medmnist:pneumoniamnist", root=tmp_path, download=False)


def test_offline_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(monkeypatch, "http://127.0.0.1:9/pneumoniamnist.npz", b"")
    with pytest.raises(SourceUnavailable, match="cannot download") as caught:
        open_source("medmnist:pneumoniamnist", root=tmp_path / "new")
    assert "\n" not in str(caught.value) and "MEDMNIST_ROOT" in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/stall":
                release.wait(20)
                return
            body: bytes = server.body  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path == "/short" else body)

        def do_HEAD(self) -> None:  # where the address leads
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    release = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    release.set()
    server.shutdown()
    server.server_close()
    thread.join()


def _publish(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes) -> None:
    about = medmnist.info("pneumoniamnist")
    monkeypatch.setitem(about, "url", url)
    monkeypatch.setitem(about, "MD5", _md5(content))


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_download_appears_whole(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npz(tmp_path / "made.npz", COUNTS)
    server.body = (tmp_path / "made.npz").read_bytes()
    url = f"http://127.0.0.1:{server.server_port}"
    _publish(monkeypatch, f"{url}/whole", server.body)
    source = open_source("medmnist:pneumoniamnist", root=tmp_path / "root")
    assert (source.total, source.note) == (12, None)
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["pneumoniamnist.npz"]
    _publish(monkeypatch, "http://127.0.0.1:9/", server.body)
    assert open_source("medmnist:pneumoniamnist", root=tmp_path / "root").total == 12


@pytest.mark.parametrize("path", ["short", "altered", "stall"])
def test_aborted_download_does_not_poison_the_cache(
    path: str, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = b"x" * 100_000
    monkeypatch.setattr(medmnist.fetch, "__defaults__", (0.5,))  # seconds
    _publish(
        monkeypatch,
        f"http://127.0.0.1:{server.server_port}/{path}",
        server.body if path != "altered" else b"y" * 100_000,
    )
    with pytest.raises(SourceUnavailable):
        open_source("medmnist:pneumoniamnist", root=tmp_path)
    assert [p for p in tmp_path.iterdir() if p.name != "home"] == []


def test_a_download_is_medmnists_own_and_never_replaces_a_file(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npz(tmp_path / "made.npz", COUNTS)
    server.body = (tmp_path / "made.npz").read_bytes()
    _publish(monkeypatch, f"http://127.0.0.1:{server.server_port}/whole", server.body)
    target, plain, roots = tmp_path / "pneumoniamnist.npz", MedMNIST.download, []

    def download(self: Any) -> None:
        roots.append(Path(self.root))
        plain(self)
        target.write_bytes(b"of somebody else, meanwhile")

    monkeypatch.setattr(MedMNIST, "download", download)
    medmnist.fetch("pneumoniamnist", "", target)
    assert target.read_bytes() == b"of somebody else, meanwhile"
    assert roots[0].parent == tmp_path and not roots[0].exists()


def test_opening_a_set_imports_nothing_heavy(tmp_path: Path) -> None:
    write_npz(tmp_path / "pneumoniamnist.npz", COUNTS)
    code = (
        "import sys; from ingest import open_source; "
        f"list(open_source('medmnist:pneumoniamnist', root={str(tmp_path)!r}).records); "
        "print(sorted({'lancedb', 'pydicom', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("floppy:x", {}, r"unknown source 'floppy:x'; expected one of: medmnist:NAME"),
        ("folder", {}, "source 'folder' needs a folder: folder PATH"),
        ("folder:x", {"place": "y"}, "both 'folder:x' and 'y' say what to read"),
        (
            "medmnist:pneumoniamnist",
            {"labels": "x.csv"},
            "has no option --labels; it takes --split, --size",
        ),
        ("", {}, "unknown source ''"),
        ("medmnist:", {}, "needs a data set"),
        ("medmnist:mnist", {}, r"'mnist' is not a MedMNIST set; expected one of pathmnist"),
        ("medmnist:nodulemnist3d", {}, "'nodulemnist3d' is 3-D"),
        ("medmnist:../../etc/passwd", {}, "is not a MedMNIST set"),
        ("medmnist:pneumoniamnist", {"size": 32}, "sizes 28, 64, 128, 224; got 32"),
        ("medmnist:pneumoniamnist", {"splits": ["dev"]}, "some of train, val, test; got 'dev'"),
        ("medmnist:pneumoniamnist", {"splits": []}, "some of train, val, test"),
        ("medmnist:pneumoniamnist", {"splits": "test"}, "some of train, val, test"),
        ("synthetic:x", {}, "takes no name"),
        ("synthetic", {"size": 64}, "28 x 28 only"),
    ],
)
def test_usage(spec: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(spec, **options)


_OBJECTS = np.array([{"a": 1}] * 4, dtype=object)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"test_images": _OBJECTS}, "test_images is object of shape"),
        ({"test_labels": _OBJECTS}, "test_labels is object of shape"),
        ({"test_labels": None}, "has no test_labels, only test_images"),
        ({"test_images": np.zeros((4, 28, 28), np.float32)}, "is float32 .* expected uint8"),
        ({"test_images": np.zeros(4, np.uint8)}, r"shape \(4,\), expected uint8 \(n, height"),
        ({"test_images": np.zeros((4, 14, 14), np.uint8)}, r"expected \(n, 28, 28\)"),
        ({"test_images": np.zeros((4, 28, 28, 3), np.uint8)}, r"expected \(n, 28, 28\)"),
        ({"test_labels": np.zeros((3, 1), np.uint8)}, "4 test_images but 3 test_labels"),
        ({"test_labels": np.zeros((4, 2), np.uint8)}, r"shape \(4, 2\), expected \(4, 1\)"),
        ({"test_labels": np.full((4, 1), 2)}, "values from 2 to 2, expected 0 to 1"),
        ({"test_labels": np.full((4, 1), -1)}, "values from -1 to -1, expected 0 to 1"),
        ({"test_labels": np.zeros((4, 1))}, "test_labels is float64 .* whole numbers"),
    ],
)
def test_wrong_arrays(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    write_npz(tmp_path / "pneumoniamnist.npz", {"test": 4}, **replaced)
    with pytest.raises(BadSource, match=message) as caught:
        read(root=tmp_path, splits=["test"])
    assert "pneumoniamnist.npz" in str(caught.value) and "move the file away" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello, I am a text file\n" * 50])
def test_not_an_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pneumoniamnist.npz").write_bytes(content)
    with pytest.raises(BadSource, match="is not an npz file"):
        read(root=tmp_path)


def test_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "pneumoniamnist.npz").mkdir()
    with pytest.raises(BadSource, match="cannot be read"):
        read(root=tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[bytes]]:
    """A folder, the bytes of a good small file, and the digests of its records."""
    folder = tmp_path_factory.mktemp("damage")
    write_npz(folder / "pneumoniamnist.npz", {"test": 2})
    content = (folder / "pneumoniamnist.npz").read_bytes()
    return folder, content, [r.sha256 + str(r.labels).encode() for r in _small(folder)]


def _small(folder: Path) -> list[ImageRecord]:
    return read(root=folder, splits=["test"])


@settings(max_examples=300)
@given(drawn=st.data())
def test_a_damaged_byte_is_noticed_or_harmless(
    small: tuple[Path, bytes, list[bytes]], drawn: st.DataObject
) -> None:
    folder, content, expected = small
    place = drawn.draw(st.integers(0, len(content) - 1))
    change = drawn.draw(st.integers(1, 255))
    damaged = bytearray(content)
    damaged[place] ^= change
    (folder / "pneumoniamnist.npz").write_bytes(damaged)
    try:
        found = [r.sha256 + str(r.labels).encode() for r in _small(folder)]
    except BadSource:
        return
    assert found == expected


@settings(max_examples=60)
@given(drawn=st.data())
def test_truncation_is_noticed(
    small: tuple[Path, bytes, list[bytes]], drawn: st.DataObject
) -> None:
    folder, content, _ = small
    length = drawn.draw(st.integers(0, len(content) - 1))
    (folder / "pneumoniamnist.npz").write_bytes(content[:length])
    with pytest.raises(BadSource, match=r"pneumoniamnist\.npz.*; move the file away"):
        open_source("medmnist:pneumoniamnist", root=folder, splits=["test"])


def test_damage_stops_the_stream_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **write_npz(path, {"train": 5, "val": 200}))  # as they are, not compressed
    content = bytearray(path.read_bytes())
    content[content.index(read(root=tmp_path, splits=["val"])[-1].pixels.tobytes())] ^= 1
    path.write_bytes(content)
    stream = open_source("medmnist:pneumoniamnist", root=tmp_path, splits=["train", "val"]).records
    assert [next(stream).source for _ in range(5)][-1] == "pneumoniamnist.npz#train/4"
    with pytest.raises(BadSource, match="CRC"):
        next(stream)


# -- sizes are compared before anything is inflated ------------------------------------------------


def repack(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> None:
    """Exchange some members of an npz file for other bytes."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in {**kept, **{f"{k}.npy": v for k, v in members.items()}}.items():
            archive.writestr(name, data)


def npy_bytes(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


MIB = 1 << 20


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("member", ["test_images", "test_labels"])
@pytest.mark.parametrize("kind", ["more values than its header says", "a long header"])
def test_a_member_that_inflates_is_not_inflated(
    tmp_path: Path, member: str, kind: str, packing: int
) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    data = npy_bytes(write_npz(path, {"test": 4})[member])
    if kind == "a long header":
        data = np.lib.format.magic(2, 0) + (32 * MIB).to_bytes(4, "little")
    repack(path, packing, **{member: data + bytes(32 * MIB)})
    tracemalloc.start()
    try:
        with pytest.raises(BadSource, match=rf"{path.name} is truncated or damaged"):
            read(root=tmp_path, splits=["test"])
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


def test_a_size_in_the_archive_that_is_not_true(tmp_path: Path) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    data = npy_bytes(write_npz(path, {"test": 4})["test_images"])
    repack(path, test_images=data + bytes(32 * MIB))
    content = path.read_bytes()
    content = content.replace(
        (len(data) + 32 * MIB).to_bytes(4, "little"), len(data).to_bytes(4, "little")
    )
    path.write_bytes(content)  # now it says that it is no longer than it should be
    tracemalloc.start()
    try:
        with pytest.raises(BadSource, match="CRC"):
            read(root=tmp_path, splits=["test"])
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("member", ["test_images", "test_labels"])
def test_an_array_too_large_for_memory_is_refused_or_streamed(tmp_path: Path, member: str) -> None:
    path = tmp_path / "some.npz"
    arrays = write_npz(path, {"test": 400})
    other = np.asfortranarray(arrays[member]) if member == "test_images" else arrays[member]
    np.savez(path, **{**arrays, member: other if other.ndim == 3 else other.astype(np.int64)})
    file = npz.NpzFile(path, "some", ("normal", "pneumonia"), "do something", whole_bytes=1000)
    with pytest.raises(BadSource, match=f"{member} takes .* of memory"):
        list(file.read(["test"]))
    found = dataclasses.replace(file, whole_bytes=400 * 28 * 28).read(["test"])
    assert np.array_equal(np.stack([one.pixels for one in found]), arrays["test_images"])


@given(
    shape=st.sampled_from([(4, 6), (6, 4), (2, 12), (24,), (4, 2, 3)]),
    other=st.sampled_from([(4, 6), (6, 4), (2, 12), (24,), (4, 2, 3)]),
    value=st.integers(0, 255),
)
def test_digest_tells_shape_and_values_apart(
    shape: tuple[int, ...], other: tuple[int, ...], value: int
) -> None:
    base = np.arange(24, dtype=np.uint8)
    changed = base.copy()
    changed[3] = value
    same = shape == other and value == 3
    left, right = base.reshape(shape), changed.reshape(other)
    assert (pixels_digest(left) == pixels_digest(right)) == same
    assert pixels_digest(left) == pixels_digest(np.asfortranarray(left))
    assert pixels_digest(left) != pixels_digest(left.astype(np.int8))


def test_check_splits() -> None:
    assert check_splits(None) == SPLITS == ("train", "val", "test")


# -- the real thing --------------------------------------------------------------------------------


def test_real_pneumoniamnist(data: Path) -> None:
    source = open_source("medmnist:pneumoniamnist", root=data)
    assert source.total == 5856
    assert source.note is not None and "not the published file" in source.note
    records = list(source.records)
    assert Counter(r.split for r in records) == {"train": 4708, "val": 524, "test": 624}
    arrays = np.load(data / "pneumoniamnist.npz")
    np.testing.assert_array_equal(records[4708 + 524 + 17].pixels, arrays["test_images"][17])

    copies: dict[bytes, list[str]] = defaultdict(list)
    for record in records:
        copies[record.sha256].append(record.id)
    by_split = [
        {split: [i for i in ids if f"/{split}/" in i] for split in SPLITS}
        for ids in copies.values()
    ]
    assert sum(max(len(found["train"]) - 1, 0) for found in by_split) == 18
    assert sum(len(f["val"]) for f in by_split if f["train"]) == 8
    assert not [f for f in by_split if f["test"] and (f["train"] or f["val"])]
    assert sorted(f["test"] for f in by_split if len(f["test"]) > 1) == [
        [f"pneumoniamnist/test/{i}" for i in pair] for pair in ((170, 311), (302, 401), (440, 538))
    ]
