"""DICOM trees: what a header may tell, what is refused, and the same film is the same vector."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate

from ingest import ingest, open_source, read_image
from ingest.encoders.baselines import pixel_vectors
from ingest.images.decode import decode
from ingest.images.dicom import read
from ingest.images.pixels import thumbnail
from ingest.images.pseudonym import pseudonym, salt_file
from ingest.metadata import parse_age
from store import BadImage, Gallery, UsageError
from store.table import lance
from tests.ingest import fuzz
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import chest, encoded, film, write

LOSSLESS = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
}
BY_GDCM = {
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG lossless, process 14": "1.2.840.10008.1.2.4.57",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG extended": "1.2.840.10008.1.2.4.51",
    "implicit": "1.2.840.10008.1.2",
    "big endian": "1.2.840.10008.1.2.2",
}
SECRET = "Doe^Jane 19700101 MRN-4711 St. Elsewhere"


def deep(seed: int = 0, side: int = 256) -> Any:
    return chest(seed, side).astype(np.uint16) * 16 + 7


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", FakeEncoder().stamp)


def reason(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        read_image(data)
    assert "Doe" not in str(caught.value)
    return caught.value.reason


# -- the same film is the same vector --------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 3000}])
def test_true_twins_give_the_same_pixels(bits: int, window: dict[str, Any]) -> None:
    top = (1 << bits) - 1
    values = deep() * 16 if bits == 16 else deep() if bits == 12 else chest(0, 256)
    tags: dict[str, Any] = {"BitsStored": bits, "HighBit": bits - 1}
    mirrored = dict(window)
    if window:
        mirrored["WindowCenter"] = top + 1 - window["WindowCenter"]
    inverse = (top - values).astype(values.dtype)
    negative = {**tags, **mirrored, "PhotometricInterpretation": "MONOCHROME1"}
    one = decode(film(values, **tags, **window), "film")  # also where the window leaves one tone
    two = decode(film(inverse, **negative), "film")
    if not window:
        np.testing.assert_array_equal(one, two)
    # With a window, the standard puts its edges half a level off; never more than one of 255.
    assert np.abs(one.astype(int) - two).max() <= 1


def test_a_12_bit_film_and_its_8_bit_export_agree() -> None:
    values = deep()
    shown = read_image(film(values, BitsStored=12, HighBit=11))
    low, high = values.min(), values.max()
    export = np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)
    again = read_image(encoded(Image.fromarray(export)))
    one, two = pixel_vectors([thumbnail(shown), thumbnail(again)])
    assert float(one @ two) > 0.999
    half = read_image(encoded(Image.fromarray(values)))  # the 16-bit PNG of the same values
    assert float(one @ pixel_vectors([thumbnail(half)])[0]) > 0.999


def test_twins_and_exports_with_the_bundled_encoder() -> None:
    from ingest.encoders import load_encoder
    from store import EncoderUnavailable

    try:
        encoder = load_encoder()
    except EncoderUnavailable as error:
        pytest.skip(str(error))
    tags, values = {"BitsStored": 12, "HighBit": 11}, deep()
    plain = read_image(film(values, **tags))
    inverse = film(4095 - values, PhotometricInterpretation="MONOCHROME1", **tags)
    low, high = values.min(), values.max()
    export = np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)
    half = encoded(Image.fromarray(values))
    images = [plain, read_image(inverse), export, read_image(half)]
    one, twin, png8, png16 = encoder.encode_images(images)
    np.testing.assert_array_equal(one, twin)
    assert float(one @ png8) >= 0.999
    assert float(one @ png16) >= 0.98  # the same values, stretched by depth instead of by range


def test_the_table_of_values_gives_what_pydicom_gives() -> None:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    rng = np.random.default_rng(3)
    for kind in (np.uint8, np.int16, np.uint16):
        info = np.iinfo(kind)
        values = rng.integers(info.min, info.max, (40, 50), dtype=kind, endpoint=True)
        tags = {"RescaleSlope": 1.5, "RescaleIntercept": -100, "WindowCenter": 300}
        data = film(values, **tags, WindowWidth=20_000)
        import io

        import pydicom

        one = pydicom.dcmread(io.BytesIO(data))
        whole = np.asarray(apply_voi_lut(apply_modality_lut(one.pixel_array, one), one), float)
        expected = np.rint((whole - whole.min()) * (255 / (whole.max() - whole.min())))
        np.testing.assert_array_equal(read_image(data), expected)


@pytest.mark.parametrize("name", LOSSLESS)
def test_compressed_films_are_the_same_films(name: str) -> None:
    pytest.importorskip("openjpeg")
    pytest.importorskip("jpeg_ls")
    tags = {"BitsStored": 12, "HighBit": 11}
    plain = read_image(film(deep(), **tags))
    np.testing.assert_array_equal(read_image(film(deep(), syntax=LOSSLESS[name], **tags)), plain)


def packed(values: Any, codestream: bytes, syntax: str, **tags: Any) -> bytes:
    """A film whose pixels are a codestream that was made elsewhere."""
    one = pydicom.dcmread(io.BytesIO(film(values, BitsStored=12, HighBit=11, **tags)))
    one.file_meta.TransferSyntaxUID = syntax
    one.add_new("PixelData", "OB", encapsulate([codestream]))
    one["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    one.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_jpeg_of_12_bits_is_read_without_another_decoder(photometric: str) -> None:
    values = deep()
    jpeg = bytes(imagecodecs.jpeg8_encode(values, level=98, bitspersample=12))
    window = {"WindowCenter": 2000, "WindowWidth": 3000, "PhotometricInterpretation": photometric}
    found = read_image(packed(values, jpeg, BY_GDCM["JPEG extended"], **window))
    plain = read_image(film(values, BitsStored=12, HighBit=11, **window))
    assert np.abs(found.astype(int) - plain).max() <= 3
    assert reason(packed(values[:-9], jpeg, BY_GDCM["JPEG extended"])) == "damaged"
    cut = jpeg[: len(jpeg) // 2]
    assert reason(packed(values, cut, BY_GDCM["JPEG extended"])) in ("truncated", "damaged")


def test_jpeg_ls_of_signed_values_without_their_high_bits() -> None:
    """Bits above the value are no part of it, and dcmcjpls of dcmtk packs them as they are."""
    pytest.importorskip("jpeg_ls")
    values = deep().astype(np.int16) - 2048
    cells = (values & 0xFFF).astype(np.uint16)
    plain = read_image(film(values, BitsStored=12, HighBit=11))
    data = packed(values, bytes(imagecodecs.jpegls_encode(cells)), LOSSLESS["JPEG-LS"])
    np.testing.assert_array_equal(read_image(data), plain)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_compressed_film_that_is_cut_short(name: str) -> None:
    data = film(deep(), syntax=LOSSLESS[name], BitsStored=12, HighBit=11)
    for share in (0.3, 0.6, 0.9):
        assert reason(data[: int(len(data) * share)]) == "truncated"


@pytest.mark.parametrize("name", BY_GDCM)
def test_syntaxes_that_gdcm_writes(name: str, tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    values = chest(0, 64) if "baseline" in name else deep(0, 64)
    tags = {} if values.itemsize == 1 else {"BitsStored": 12, "HighBit": 11}
    source, target = write(tmp_path, "a", film(values, **tags)), tmp_path / "b"
    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(source))
    assert reader.Read()
    text = BY_GDCM[name]
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(text)))
    change.SetInput(reader.GetImage())
    if not change.Change():
        pytest.skip("this build of gdcm does not write it")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    if "extended" in name:  # gdcm writes 16 bits into it, which ITU T.81 does not know (Table B.2)
        assert reason(target.read_bytes()) == "unsupported_compression"
        return
    lossy = "baseline" in name
    difference = read_image(target).astype(int) - read_image(source)
    assert np.abs(difference).max() <= (12 if lossy else 0)


# -- what a header may tell ------------------------------------------------------------------------


def test_header(tmp_path: Path, gallery: Gallery) -> None:
    root = tmp_path / "export"
    tags = {"PatientID": "MRN-4711", "PatientAge": "058Y", "PatientSex": "F", "ViewPosition": "PA"}
    hidden = {
        "PatientName": SECRET,
        "PatientBirthDate": "19700101",
        "InstitutionName": SECRET,
        "StudyDescription": SECRET,
        "AccessionNumber": "4711",
    }
    write(root, "STUDY1/IM0001", film(deep(1), SOPInstanceUID="1.2.1", **tags, **hidden))
    side = {"PatientID": "MRN-4711", "ViewPosition": "LL", "PatientAge": "018M"}
    write(root, "STUDY1/IM0002.dcm", film(deep(2), SOPInstanceUID="1.2.2", **side, **hidden))
    bare = {"StudyInstanceUID": "1.9", "PatientAge": SECRET[:4], "PatientSex": "X", **hidden}
    write(root, "x/IM0003", film(deep(3), SOPInstanceUID="1.2.3", ImageLaterality="L", **bare))
    write(root, "DICOMDIR", b"\0" * 128 + b"DICM")
    report = ingest(open_source("dicom", root), gallery, FakeEncoder())
    gallery.refresh()
    assert (report.inserted, report.rejected) == (3, [])
    one, two, three = (gallery.row(f"1.2.{number}") for number in (1, 2, 3))
    assert (one.view, one.sex, one.age, one.dataset) == ("PA", "F", 58.0, "export")
    assert (two.view, two.sex, two.age) == ("LATERAL", None, 1.5)
    assert (three.view, three.sex, three.age) == ("LATERAL", None, None)
    assert one.patient == two.patient == pseudonym("patient", "MRN-4711")
    assert three.patient == three.study == pseudonym("study", "1.9")
    assert one.study is two.study is None
    assert salt_file().stat().st_mode & 0o77 == 0 and len(salt_file().read_bytes()) == 32
    store = tmp_path / "store"
    content = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    for word in ("Doe", "Elsewhere", "MRN-4711", "19700101"):
        assert word.encode() not in content, word


def test_again_and_moved(tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingest.job import file_memory

    monkeypatch.setattr(file_memory, "SETTLED_NS", 0)
    root = tmp_path / "d"
    for number in range(4):
        write(root, f"a/{number}", film(deep(number, 32), SOPInstanceUID=f"1.{number}"))
    assert ingest(open_source("dicom", root), gallery, FakeEncoder()).inserted == 4
    # Not even headers are read.
    monkeypatch.setattr(read, "identify", lambda *_: pytest.fail("a header was read"))
    again = ingest(open_source("dicom", root), gallery, FakeEncoder())
    assert (again.unchanged, again.hashed, again.encoded) == (4, 0, 0)
    monkeypatch.undo()
    monkeypatch.setattr(file_memory, "SETTLED_NS", 0)
    (root / "a").rename(root / "b")
    moved = ingest(open_source("dicom", root), gallery, FakeEncoder(), prune="list")
    assert (moved.updated, moved.hashed, moved.encoded, moved.gone) == (4, 4, 0, [])
    write(root, "b/2", film(deep(99, 32), SOPInstanceUID="1.2", PatientAge="030Y"))
    changed = ingest(open_source("dicom", root), gallery, FakeEncoder())
    gallery.refresh()
    assert (changed.updated, changed.unchanged, changed.encoded) == (1, 3, 1)
    assert gallery.row("1.2").age == 30.0
    write(root, "b/2", film(deep(98, 32), SOPInstanceUID="1.2"))  # the age is gone again
    ingest(open_source("dicom", root), gallery, FakeEncoder())
    gallery.refresh()
    assert gallery.row("1.2").age is None


def test_the_study_of_rows_from_before_is_read_from_their_headers(
    tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.job import file_memory

    monkeypatch.setattr(file_memory, "SETTLED_NS", 0)
    root = tmp_path / "d"
    for number in range(3):
        tags = {"PatientID": f"P{number}", "StudyInstanceUID": f"1.9.{number % 2}"}
        write(root, f"{number}", film(deep(number, 32), SOPInstanceUID=f"1.{number}", **tags))
    assert ingest(open_source("dicom", root), gallery, FakeEncoder()).inserted == 3
    gallery.refresh()
    studies = {id_: row.study for id_, row in gallery.rows(gallery.ids()).items()}
    assert studies["1.0"] == studies["1.2"] == pseudonym("study", "1.9.0") != studies["1.1"]
    lance.open_version(gallery.uri).drop_columns(["study", "labelled"])
    older = Gallery.open(gallery.uri)
    again = ingest(open_source("dicom", root), older, FakeEncoder())
    assert (again.encoded, again.hashed, again.changed) == (0, 0, {"study": 3})
    older.refresh()
    assert {id_: row.study for id_, row in older.rows(older.ids()).items()} == studies
    monkeypatch.setattr(read, "identify", lambda *_: pytest.fail("a header was read"))
    assert ingest(open_source("dicom", root), older, FakeEncoder()).unchanged == 3


def test_salts_differ_and_are_shared_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for number in (1, 2, 1):
        monkeypatch.setenv("CXR_SALT_FILE", str(tmp_path / f"salt{number}"))
        names.add(pseudonym("patient", "1"))
    assert len(names) == 2
    assert pseudonym("patient", "1") != pseudonym("study", "1")
    write(tmp_path, "short", b"abc")
    monkeypatch.setenv("CXR_SALT_FILE", str(tmp_path / "short"))
    with pytest.raises(UsageError, match="has 3 bytes, expected 16 or more"):
        open_source("dicom", tmp_path)


def test_nothing_of_a_header_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tags = {"PatientID": SECRET * 3, "PatientAge": "Doe1", "Modality": "Doe,Jane"}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = film(deep(0, 16), **tags)
        caplog.clear()
        said.clear()
        with caplog.at_level(logging.DEBUG):
            assert reason(data) == "wrong_modality"
            assert reason(data.replace(b"Doe,Jane", b"DX\0\0\0\0\0\0")[:-100]) == "truncated"
    assert "Doe" not in caplog.text + "".join(str(one.message) for one in said)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        *[("058Y", 58.0), ("58", 58.0), ("013M", 1.083), ("002W", 0.038), ("009D", 0.025)],
        *[("414Y", None), ("", None), ("Y", None), ("-5", None), ("old", None), ("120Y", 120.0)],
    ],
)
def test_ages(text: str, years: float | None) -> None:
    assert parse_age(text) == years


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned_in"),
        ({"Modality": "CT"}, "wrong_modality"),
        ({"Modality": "MG"}, "wrong_modality"),
        ({"Modality": "OT"}, "wrong_modality"),
        ({"BodyPartExamined": "RIGHT KNEE"}, "wrong_body_part"),
        ({"NumberOfFrames": 30}, "multi_frame"),
        ({"Rows": 60_000, "Columns": 60_000}, "too_large"),
        ({"Rows": 2, "Columns": 50_000}, "strip"),
        ({"Rows": None}, "no_pixels"),
    ],
)
def test_refusals(tags: dict[str, Any], expected: str) -> None:
    assert reason(film(deep(0, 16), **tags)) == expected


def test_secondary_capture_and_fluoroscopy_are_films() -> None:
    data = film(deep(0, 16), Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    assert read_image(data).shape == (16, 16)
    assert read_image(film(deep(0, 16), Modality="RF")).shape == (16, 16)
    assert read_image(film(deep(0, 16), BurnedInAnnotation="NO")).shape == (16, 16)


def test_a_deflated_bomb_is_not_inflated() -> None:
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    plain = film(deep(0, 16))
    start = plain.index(b"1.2.840.10008.1.2.1\0")
    meta = plain[:start] + b"1.2.840.10008.1.2.1.99" + plain[start + 20 :]
    length = plain.index(b"\x02\0\x10\0UI") + 6
    meta = meta[:length] + (22).to_bytes(2, "little") + meta[length + 2 :]
    group = int.from_bytes(plain[140:144], "little")
    meta = meta[:140] + (group + 2).to_bytes(4, "little") + meta[144:]
    end = 144 + group + 2
    assert DeflatedExplicitVRLittleEndian.is_deflated

    def deflated(content: bytes) -> bytes:
        packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        return meta[:end] + packer.compress(content) + packer.flush()

    np.testing.assert_array_equal(read_image(deflated(meta[end:])), read_image(plain))
    bomb = deflated(meta[end:] + bytes(300 << 20))
    assert len(bomb) < 1 << 20
    assert reason(bomb) == "too_large"


def test_a_codestream_of_another_size_is_not_decoded() -> None:
    pytest.importorskip("openjpeg")
    data = film(deep(0, 64), syntax=LOSSLESS["JPEG 2000"], BitsStored=12, HighBit=11)
    place = data.index(b"\xff\x4f\xff\x51") + 8
    bomb = data[:place] + (60_000).to_bytes(4, "big") * 2 + data[place + 8 :]
    assert reason(bomb) == "damaged"


@settings(max_examples=40)
@given(drawn=st.data())
def test_damage_is_an_image_or_a_refusal(drawn: st.DataObject) -> None:
    data = bytearray(film(deep(0, 16), BitsStored=12, HighBit=11, PatientID=SECRET[:20]))
    for _ in range(drawn.draw(st.integers(1, 4))):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    length = drawn.draw(st.integers(0, len(data)))
    try:
        pixels = read_image(bytes(data[:length]))
    except BadImage as error:
        assert "Doe" not in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 2


@pytest.mark.parametrize("tag", ["PatientID", "PatientAge", "ViewPosition", "StudyInstanceUID"])
def test_a_header_whose_element_cannot_be_parsed_is_damaged(tmp_path: Path, tag: str) -> None:
    from pydicom.datadict import tag_for_keyword

    place = next(i for i, one in enumerate(fuzz.ELEMENTS) if one[0] == tag_for_keyword(tag))
    # A sequence of one byte: known only when the element is asked for.
    data = fuzz.header({place: (b"SQ", b"0")}, True, b"1.2.840.10008.1.2.1")
    for ask in (
        lambda: read.identify(write(tmp_path, "x", data).resolve(), "x"),
        lambda: read.read_film(data, "x"),
    ):
        with pytest.raises(BadImage) as caught:
            ask()
        assert caught.value.reason == "damaged"
