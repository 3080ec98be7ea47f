"""Originals: stored values as other readers have them, nothing but a row's own file, bounded."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image

from ingest import Original, OriginalUnavailable, decode, open_source, picture, read_original
from ingest import ingest as run_job
from ingest.originals import kept, reading
from ingest.originals.decode import decode_original
from ingest.originals.roots import roots
from store import Gallery, Row
from tests.conftest import DATA
from tests.ingest import kinds
from tests.ingest.fakes import FakeEncoder, record, source, vector_of
from tests.ingest.fakes import picture as noise
from tests.ingest.films import chest, encoded, film, write

TAGS = {"BitsStored": 12, "HighBit": 11}


def deep(seed: int = 0, side: int = 64) -> np.ndarray:
    """A film of 12 bits."""
    return chest(seed, side).astype(np.uint16) * 15 + 100


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXR_ORIGINALS", raising=False)
    kept.KEPT.clear()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three films in a folder."""
    root = tmp_path / "films"
    write(root, "deep.dcm", film(deep(), SOPInstanceUID="1.2.3", **TAGS))
    write(root, "below/grey.png", encoded(Image.fromarray(chest(1))))
    write(root, "sixteen.png", encoded(Image.fromarray(chest(2).astype(np.uint16) * 257 - 3)))
    return root


@pytest.fixture
def gallery(root: Path, tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    run_job(open_source("folder", root), gallery, FakeEncoder())
    gallery.refresh()
    return gallery


def reason(gallery: Gallery, id_: str = "films/deep.dcm") -> str:
    """Why the original is not to be had; no message may tell where anything lies."""
    with pytest.raises(OriginalUnavailable) as error:
        read_original(gallery, id_)
    assert str(error.value).endswith(".") and "/" not in str(error.value)
    return error.value.reason


# -- values ----------------------------------------------------------------------------------------


def sample() -> list[kinds.Kind]:
    """Each tone, sign, photometric interpretation and format, some of their combinations."""
    found = list(kinds.every())
    return [*found[::37], kinds.Kind(stored=10, high=15), kinds.Kind(signed=True, stored=9)]


@pytest.mark.parametrize("kind", sample(), ids=str)
def test_stored_values_are_those_of_pydicom(kind: kinds.Kind):
    data = kind.made()
    found = decode_original(data, "the film")
    assert np.array_equal(found.values, kind.values(0, 96))
    assert found.values.dtype == (np.int16 if kind.signed else np.uint16)
    if not kind.high:
        read = pydicom.dcmread(io.BytesIO(data)).pixel_array
        assert np.array_equal(found.values, read)
    assert (found.bits, found.inverted) == (kind.stored, kind.photometric == "MONOCHROME1")
    if kind.slope:
        assert (found.slope, found.intercept) == (kind.slope, 7)
    assert (found.low, found.high) == (found.values.min(), found.values.max())
    names = [one.name for one in found.presets]
    own = "automatic" if kind.tones == "none" or kind.tones.startswith("modality") else "as stored"
    assert names == [own, "full range", "1-99 %"]


@pytest.mark.parametrize(
    "kind",
    [
        kinds.Kind(tones, slope, photometric, signed)
        for tones in ("none", "VOI 12 OW", "VOI 16 US", "modality 16 OW")
        for slope in ((0,) if tones.startswith("modality") else (0, -2))
        for photometric in ("MONOCHROME1", "MONOCHROME2")
        for signed in (False, True)
    ],
    ids=str,
)
def test_as_it_is_first_seen_is_as_ingestion_saw_it(kind: kinds.Kind):
    """Where the file has no window of its own, which ingestion widens to what is on the film."""
    data = kind.made()
    seen = picture(decode_original(data, "the film"), 96)
    gap = np.abs(seen.astype(int) - decode(data, "the film").astype(int))
    assert gap.max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_that_of_the_standard(function: str, photometric: str):
    tags = {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": function}
    data = film(deep(), **TAGS, **tags, PhotometricInterpretation=photometric)
    one = pydicom.dcmread(io.BytesIO(data))
    expected = pydicom.pixels.apply_windowing(one.pixel_array, one) / 4095 * 255
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    seen = picture(decode_original(data, "the film"), 64)
    assert np.abs(seen - expected).max() <= 1


def test_several_windows_are_all_there():
    tags = {"WindowCenter": [1500, 2000], "WindowWidth": [900, 0], "RescaleSlope": 2}
    data = film(deep(), **TAGS, **tags, RescaleIntercept=-10, RescaleType="OD")
    found = decode_original(data, "the film")
    assert [(one.name, one.centre) for one in found.presets][:2] == [
        ("as stored", 1500),
        ("full range", found.slope * (found.low + found.high) / 2 - 10),
    ]
    more = decode_original(film(deep(), **TAGS, WindowCenter=[9, 8], WindowWidth=[3, 4]), "it")
    assert [one.name for one in more.presets] == [
        "as stored",
        "as stored 2",
        "full range",
        "1-99 %",
    ]
    assert found.unit == "OD" and more.unit == ""


def test_padding_takes_no_part_in_a_range():
    values = deep()
    values[:20] = 4000
    found = decode_original(film(values, **TAGS, PixelPaddingValue=4000), "the film")
    assert found.high == 4000 and found.p99 < 4000
    full = next(one for one in found.presets if one.name == "full range")
    assert full.centre is not None and full.width is not None
    assert full.centre + full.width / 2 == values[20:].max()


FAST = {
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_fast_decoders_agree_with_those_of_pydicom(name: str, bits: int):
    values = (deep(side=80).astype(np.float64) / 4096 * ((1 << bits) - 1)).astype(np.uint16)
    cells = values.astype(np.uint8 if bits == 8 else np.uint16)
    tags = {"BitsStored": bits, "HighBit": bits - 1}
    if name == "JPEG lossless":
        data = jpeg_lossless(cells, tags)
    else:
        data = film(cells, syntax=FAST[name], **tags)
    assert np.array_equal(decode_original(data, "it").values, cells)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(data)).pixel_array, cells)


def jpeg_lossless(values: np.ndarray, tags: dict[str, Any]) -> bytes:
    import imagecodecs
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGLosslessSV1

    one = pydicom.dcmread(io.BytesIO(film(values, **tags)))
    one.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    one.PixelData = encapsulate([imagecodecs.ljpeg_encode(values, bitspersample=one.BitsStored)])
    file = io.BytesIO()
    one.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("inverted", [False, True])
def test_tiff_of_both_photometrics(dtype: Any, inverted: bool):
    values = chest().astype(dtype) * (1 if dtype is np.uint8 else 200)
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="miniswhite" if inverted else "minisblack")
    found = decode_original(file.getvalue(), "it")
    assert np.array_equal(found.values, values) and found.inverted is inverted
    gap = picture(found, 64).astype(int) - decode(file.getvalue(), "it").astype(int)
    assert np.abs(gap).max() <= 1


def test_other_files_at_their_full_depth():
    sixteen = chest().astype(np.uint16) * 200 + 7
    found = decode_original(encoded(Image.fromarray(sixteen)), "it")
    assert np.array_equal(found.values, sixteen) and found.bits == 16
    assert (found.spacing, found.presets[0].name) == (None, "automatic")
    colour = np.dstack([chest(), chest(1), chest(2)])
    found = decode_original(encoded(Image.fromarray(colour)), "it")
    assert np.array_equal(found.values, colour) and found.channels == 3
    assert np.array_equal(picture(found, 64), colour)
    floats = np.linspace(-2, 3, 64 * 64, dtype=np.float32).reshape(64, 64)
    file = io.BytesIO()
    tifffile.imwrite(file, floats)
    found = decode_original(file.getvalue(), "it")
    assert np.allclose(found.values * found.slope + found.intercept, floats, atol=5 / 65535)
    turned = Image.fromarray(chest()[:, :40])
    exif = turned.getexif()
    exif[0x0112] = 6
    found = decode_original(encoded(turned, "PNG", exif=exif), "it")
    assert np.array_equal(found.values, np.rot90(chest()[:, :40], -1))


# -- millimetres -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, (None, None)),
        ({"PixelSpacing": [0.2, 0.1]}, ((0.2, 0.1), "patient")),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, ((0.2, 0.1), "imager")),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]}, ((0.2, 0.2), "imager")),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.2, 0.2]}, ((0.1, 0.1), "patient")),
        (
            {
                "PixelSpacing": [0.2, 0.2],
                "ImagerPixelSpacing": [0.2, 0.2],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            ((0.2, 0.2), "patient"),
        ),
        (
            {"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": 1.5},
            ((0.2, 0.2), "patient"),
        ),
        ({"NominalScannedPixelSpacing": [0.2, 0.2]}, ((0.2, 0.2), "imager")),
        ({"PixelSpacing": [0, 0.1]}, (None, None)),
    ],
)
def test_millimetres_and_where_they_are(tags: dict[str, Any], expected: Any):
    found = decode_original(film(deep(), **TAGS, **tags), "it")
    if expected[0] is None:
        assert found.spacing is None
    else:
        assert found.spacing == pytest.approx(expected[0])
    assert found.spacing_plane == expected[1]


# -- what is read, and what is not -----------------------------------------------------------------


def test_a_row_s_own_file(gallery: Gallery):
    assert np.array_equal(read_original(gallery, "films/deep.dcm").values, deep())
    assert np.array_equal(read_original(gallery, "films/below/grey.png").values, chest(1))
    assert np.array_equal(
        read_original(gallery, "films/sixteen.png").values, chest(2).astype(np.uint16) * 257 - 3
    )


def test_turned_off(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    read_original(gallery, "films/deep.dcm")
    monkeypatch.setenv("CXR_ORIGINALS", "off")
    assert reason(gallery) == "off"


def swap_for_link(root: Path) -> None:
    (root / "deep.dcm").rename(root.with_name("aside.dcm"))
    (root / "deep.dcm").symlink_to(root.with_name("aside.dcm"))


def swap_folder_for_link(root: Path) -> None:
    root.rename(root.with_name("aside"))
    root.symlink_to(root.with_name("aside"))


ACCIDENTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "deleted": (lambda root: (root / "deep.dcm").unlink(), "no_file"),
    "moved": (lambda root: root.rename(root.with_name("elsewhere")), "no_file"),
    "replaced": (lambda root: (root / "deep.dcm").write_bytes(film(deep(9), **TAGS)), "changed"),
    "one bit": (
        lambda root: (root / "deep.dcm").write_bytes(
            (root / "deep.dcm").read_bytes()[:-1] + b"\xff"
        ),
        "changed",
    ),
    "a link to itself": (swap_for_link, "link"),
    "a link above": (swap_folder_for_link, "link"),
    "a pipe": (
        lambda root: ((root / "deep.dcm").unlink(), os.mkfifo(root / "deep.dcm")),
        "no_file",
    ),
    "a folder": (
        lambda root: ((root / "deep.dcm").unlink(), (root / "deep.dcm").mkdir()),
        "no_file",
    ),
}


@pytest.mark.parametrize("seen_before", [False, True], ids=["at first", "after it was kept"])
@pytest.mark.parametrize("name", ACCIDENTS)
def test_accidents_to_a_file(gallery: Gallery, root: Path, name: str, seen_before: bool):
    if seen_before:
        read_original(gallery, "films/deep.dcm")
    happen, expected = ACCIDENTS[name]
    happen(root)
    assert reason(gallery) == expected


def stored(gallery: Gallery, source: str, **metadata: Any) -> str:
    """A row that says that it came from somewhere."""
    row = Row(
        "told", metadata.pop("sha256", b"\1" * 32), vector_of(noise(5)), source=source,
        width=metadata.pop("width", 8), height=8, thumbnail=None,
    )  # fmt: skip
    gallery.upsert([row])
    gallery.refresh()
    return "told"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("{root}/../secret.png", "outside"),
        ("{root}/below/../../secret.png", "outside"),
        ("{outside}/secret.png", "outside"),
        ("{root}", "outside"),
        ("{root}-other/secret.png", "outside"),
        ("/etc/passwd", "outside"),
        ("set.npz#test/3", "array"),
        ("../secret.png", "array"),
        ("https://example.org/secret.png", "remote"),
        ("file:///etc/passwd", "remote"),
        ("", "array"),
    ],
)
def test_no_place_but_below_a_root(gallery: Gallery, root: Path, place: str, expected: str):
    """Even where the digest is right: a row may say anything."""
    import hashlib

    data = encoded(Image.fromarray(chest(3)))
    write(root.parent, "secret.png", data)
    write(root.parent, "films-other/secret.png", data)
    where = place.format(root=root, outside=root.parent)
    id_ = stored(gallery, where, sha256=hashlib.sha256(data).digest(), width=500)
    assert reason(gallery, id_) == expected


def test_a_vector_has_no_original(gallery: Gallery, root: Path):
    assert reason(gallery, stored(gallery, f"{root}/deep.dcm", width=0)) == "vectors_only"


def test_an_array_is_its_own_thumbnail(gallery: Gallery):
    run_job(source([record(1)]), gallery, FakeEncoder())
    gallery.refresh()
    with pytest.raises(OriginalUnavailable, match="the film itself: it came as an array of 6 x 6"):
        read_original(gallery, "toy/test/1")


def test_a_folder_of_imported_vectors_is_no_root(gallery: Gallery, root: Path):
    from datetime import UTC, datetime

    from ingest.job.journal import note

    note(gallery.uri, "import", root.parent, datetime.now(UTC), gallery.upsert(()))
    assert roots(gallery.uri) == (root,)


def test_without_its_journal_nothing_is_served_until_it_is_relocated(gallery: Gallery, root: Path):
    from ingest import relocate

    shutil.rmtree(Path(gallery.uri) / "ingest" / "batches")
    assert reason(gallery) == "outside"
    done = relocate(gallery, root)
    assert (done.moved, done.in_place, done.missing, done.others) == (0, 3, 0, 0)
    assert read_original(gallery, "films/deep.dcm").bits == 12


def test_a_damaged_file_says_so(gallery: Gallery, root: Path, monkeypatch: pytest.MonkeyPatch):
    from store import BadImage

    def broken(*_: object) -> Original:
        raise BadImage("damaged", "the film's file is damaged")

    monkeypatch.setattr(reading, "decode_original", broken)
    assert reason(gallery) == "unreadable"


# -- kept in memory --------------------------------------------------------------------------------


def of_bytes(size: int) -> Original:
    found = decode_original(encoded(Image.fromarray(chest())), "it")
    return Original(**{**{n: getattr(found, n) for n in Original.__slots__},
                       "values": np.zeros((1, size), np.uint8)})  # fmt: skip


def test_what_is_kept_is_bounded_in_bytes():
    held = kept.Kept(most_bytes=100, decoders=2)
    made: list[int] = []

    def get(number: int, size: int = 40, version: int = 0) -> Original:
        def decode() -> Original:
            made.append(number)
            return of_bytes(size)

        return held.get((str(number), b""), lambda: (0, number, size, version, 0), decode)

    assert get(1) is get(1) and made == [1]
    get(2)
    get(1)
    get(3)  # 2 was used longest ago
    assert held.bytes == 80
    get(1)
    get(2)
    assert made == [1, 2, 3, 2] and held.bytes == 80
    get(4, 101)
    assert held.bytes == 80 and made[-1] == 4
    get(2, version=1)
    assert made[-1] == 2
    held.clear()
    assert held.bytes == 0


def test_a_film_is_decoded_once_and_few_at_a_time():
    held = kept.Kept(most_bytes=10_000, decoders=2)
    inside, most, made = 0, 0, []
    lock = threading.Lock()
    start = threading.Barrier(20)

    def decode(number: int) -> Original:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            made.append(number)
        time.sleep(0.01)
        with lock:
            inside -= 1
        return of_bytes(100)

    def visit(visitor: int) -> Original:
        start.wait()
        number = visitor % 5
        return held.get((str(number), b""), lambda: (0, number, 0, 0, 0), lambda: decode(number))

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(visit, range(20)))
    assert sorted(made) == [0, 1, 2, 3, 4] and most <= 2
    assert len({id(one) for one in found}) == 5


def test_one_that_fails_does_not_hold_up_the_others():
    held = kept.Kept()

    def fail() -> Original:
        raise OriginalUnavailable("changed", "No.")

    for _ in range(5):
        with pytest.raises(OriginalUnavailable):
            held.get(("a", b""), lambda: (0, 0, 0, 0, 0), fail)
    assert held.get(("a", b""), lambda: (0, 0, 0, 0, 0), lambda: of_bytes(3)).width == 3


def test_twenty_readers_at_once(gallery: Gallery):
    ids = gallery.ids()
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda n: read_original(gallery, ids[n % 3]), range(60)))
    for number, one in enumerate(found):
        assert np.array_equal(one.values, read_original(gallery, ids[number % 3]).values)


# -- relocation ------------------------------------------------------------------------------------


def test_films_are_found_again_after_a_move(gallery: Gallery, root: Path):
    from ingest import relocate

    before = {id_: gallery.row(id_) for id_ in gallery.ids()}
    target = root.with_name("disk") / "all"
    target.parent.mkdir()
    root.rename(target)
    write(target, "of no row.png", encoded(Image.fromarray(chest(7))))
    write(target, "a copy.png", (target / "below/grey.png").read_bytes())
    (target / "link.png").symlink_to(target / "a copy.png")
    told: list[tuple[int, int]] = []
    counts = relocate(gallery, target.parent, dry_run=True, progress=lambda *n: told.append(n))
    assert (counts.files, counts.moved, counts.missing, counts.others) == (5, 3, 0, 1)
    assert counts.refused == 1 and told == [(5, 5)]
    assert reason(gallery) == "no_file"
    assert relocate(gallery, target.parent) == counts
    gallery.refresh()
    for id_, row in before.items():
        now = gallery.row(id_)
        assert now.source == str(target / Path(row.source).relative_to(root))
        assert (now.batch, now.sha256, now.labels) == (row.batch, row.sha256, row.labels)
        read_original(gallery, id_)
    again = relocate(gallery, target.parent)
    assert (again.moved, again.in_place) == (0, 3)
    (target / "deep.dcm").unlink()
    assert relocate(gallery, target).missing == 1


def test_films_that_are_in_their_place_stay_there(gallery: Gallery, root: Path):
    from ingest import relocate

    shutil.copytree(root, root.with_name("copy"))
    counts = relocate(gallery, root.with_name("copy"))
    assert (counts.moved, counts.in_place) == (0, 3)
    assert roots(gallery.uri) == (root,)


def test_real_films(tmp_path: Path):
    films = DATA / "radiographs"
    if not films.is_dir():
        pytest.skip("no radiographs here")
    gallery = Gallery.create(tmp_path / "store", FakeEncoder().stamp)
    run_job(open_source("folder", films, body_part="any"), gallery, FakeEncoder())
    gallery.refresh()
    for id_ in gallery.ids():
        found = read_original(gallery, id_)
        path = Path(gallery.row(id_).source)
        if path.suffix == ".dcm":
            one = pydicom.dcmread(path)
            assert np.array_equal(found.values, one.pixel_array)
            assert found.inverted == (one.PhotometricInterpretation == "MONOCHROME1")
        else:
            pixels = np.asarray(Image.open(path))
            assert np.array_equal(found.values, pixels if pixels.ndim == 2 else pixels[..., 0])
