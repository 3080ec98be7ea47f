"""Headers as they are: without parts, with empty, misspelt and wrong elements, of other parts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from ingest import ingest, open_source, read_image
from ingest.images.dicom import read
from ingest.images.dicom.body_parts import place_of
from ingest.images.dicom.file import is_dicom
from ingest.sources.file_listing import read_image_file
from store import BadImage, Gallery, UsageError
from tests.conftest import DATA
from tests.ingest import judges
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import chest, encoded, film, write
from tests.ingest.kinds import SYNTAXES, Kind, saved
from ui.cli import app
from ui.commands import output

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
DX_RAW, CAPTURE = "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
TWELVE = {"BitsStored": 12, "HighBit": 11}
WINDOW = {"WindowCenter": 2000, "WindowWidth": 3000}
CASES = DATA.parent / "cases"


def deep(seed: int = 0, side: int = 64) -> Any:
    return chest(seed, side).astype(np.uint16) * 16 + 7


def reason(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        read_image(data)
    return caught.value.reason


def notes(data: bytes) -> tuple[str, ...]:
    found: tuple[str, ...] = read.read_film(data, "x").notes
    return found


def rewritten(
    data: bytes, raw: dict[str, bytes | None], meta: dict[str, Any] | None = None
) -> bytes:
    """A film with the bytes of some elements changed, whatever the rules say; None leaves out."""
    import pydicom
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    one = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in raw.items():
        tag = Tag(tag_for_keyword(keyword))
        if value is None:
            del one[tag]
        else:
            kind = dictionary_VR(tag)
            kind = "US" if kind == "US or SS" else kind
            one[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)
    for keyword, value in (meta or {}).items():
        if value is None:
            delattr(one.file_meta, keyword)
        else:
            setattr(one.file_meta, keyword, value)
    file = io.BytesIO()
    one.save_as(file, enforce_file_format=False)
    return file.getvalue()


# -- elements that cannot be used ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "like", "kind"),
    [
        ({"VOILUTFunction": b""}, WINDOW, "VOILUTFunction is empty"),
        ({"VOILUTFunction": b"GAMMA "}, WINDOW, "VOILUTFunction is unknown"),
        ({"WindowCenter": b"", "WindowWidth": b""}, {}, "WindowCenter is empty"),
        ({"WindowWidth": b""}, {}, "WindowWidth is empty"),
        ({"WindowWidth": b"wide"}, {}, "WindowWidth is no number"),
        ({"WindowWidth": b"0 "}, {}, "WindowWidth is too small"),
        ({"WindowWidth": b"-300"}, {}, "WindowWidth is too small"),
        ({"WindowWidth": b"1e999 "}, {}, "WindowWidth is no number"),
        ({"WindowWidth": None}, {}, "not both there"),
        ({"WindowCenter": b"2000,0"}, WINDOW, "decimal comma"),
        ({"WindowCenter": b"2000\\\\50", "WindowWidth": b"3000\\1 "}, WINDOW, None),
        ({"WindowCenter": b"50\\2000 ", "WindowWidth": b"0\\3000"}, WINDOW, "Width is too small"),
        ({"WindowCenter": b"\\2000 ", "WindowWidth": b"\\3000 "}, WINDOW, "Center is empty"),
        ({"WindowCenter": b"2000\\50 ", "WindowWidth": b"0\\0 "}, {}, "Width is too small"),
        ({"WindowCenter": b" 2000\r\n\0"}, WINDOW, None),
        ({"RescaleSlope": b"", "RescaleIntercept": b""}, WINDOW, "RescaleSlope is empty"),
        ({"RescaleSlope": b"0 ", "RescaleIntercept": b"0 "}, WINDOW, "RescaleSlope is 0"),
        ({"RescaleSlope": b"1,0 ", "RescaleIntercept": b"0 "}, WINDOW, "decimal comma"),
        ({"RescaleSlope": b"nan ", "RescaleIntercept": b"0 "}, WINDOW, "RescaleSlope is no"),
        ({"VOILUTSequence": b""}, WINDOW, "VOILUTSequence is empty"),
        ({"ModalityLUTSequence": b""}, WINDOW, "ModalityLUTSequence is empty"),
        ({"PixelPaddingValue": b""}, WINDOW, "PixelPaddingValue is empty"),
        ({"BitsStored": b"\x63\0"}, WINDOW, "BitsStored is"),
        ({"HighBit": b"\x63\0"}, WINDOW, "HighBit is"),
        ({"PixelRepresentation": b""}, WINDOW, "PixelRepresentation is"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_a_note(
    raw: dict[str, bytes], like: dict[str, Any], kind: str | None
) -> None:
    data = rewritten(film(deep(), **TWELVE, **WINDOW), raw)
    np.testing.assert_array_equal(read_image(data), read_image(film(deep(), **TWELVE, **like)))
    said = notes(data)
    assert any(kind in one for one in said) if kind else not said


def test_no_note_quotes_a_value() -> None:
    data = rewritten(film(deep(), **TWELVE, **WINDOW), {"WindowWidth": b"Doe^Jane"})
    assert notes(data) and "Doe" not in "".join(notes(data))


@pytest.mark.parametrize("keyword", ["Modality", "BodyPartExamined", "PhotometricInterpretation"])
def test_no_refusal_quotes_what_is_no_code(keyword: str) -> None:
    data = rewritten(film(deep(), **TWELVE), {keyword: b"Doe Jane KNEE "})
    with pytest.raises(BadImage) as caught:
        read_image(data)
    assert "doe" not in str(caught.value).lower() and "jane" not in str(caught.value).lower()


def test_notes_are_counted_in_the_report_and_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        data = film(deep(number), **TWELVE, **WINDOW, SOPInstanceUID=f"1.{number}")
        write(tmp_path, f"films/{number}", rewritten(data, {"VOILUTFunction": b""}))
    write(tmp_path, "films/plain", film(deep(9), **TWELVE, **WINDOW, SOPInstanceUID="1.9"))
    note = "VOILUTFunction is empty; LINEAR taken"
    for source in ("dicom", "folder"):
        gallery = Gallery.create(tmp_path / source, FakeEncoder().stamp)
        report = ingest(open_source(source, tmp_path / "films"), gallery, FakeEncoder())
        assert dict(report.notes) == {note: 3} and report.rejected == []
        for as_json in (False, True):
            output.conclude(report, str(tmp_path / source), None, as_json, pruning=False)
            told = capsys.readouterr()
            assert told.err.count(f"3 films: {note}") == 1
        assert json.loads(told.out)["notes"] == {note: 3}


# -- padding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1500, "WindowWidth": 1400}])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("padding", "tags"),
    [
        (4095, {"PixelPaddingValue": 4095}),
        (0, {"PixelPaddingValue": 0}),
        (3995, {"PixelPaddingValue": 3990, "PixelPaddingRangeLimit": 4095}),
        (5, {"PixelPaddingValue": 9, "PixelPaddingRangeLimit": 0}),
        (65_535, {"PixelPaddingValue": 65_535}),
    ],
)
def test_padding_takes_no_part_in_the_range(
    window: dict[str, Any], photometric: str, padding: int, tags: dict[str, Any]
) -> None:
    values = (chest(0, 64).astype(np.uint16) * 3 + 1200).astype(np.uint16)
    padded = values.copy()
    padded[:, :16] = padding
    of_all = {**TWELVE, **window, "PhotometricInterpretation": photometric}
    plain = read_image(film(values[:, 16:], **of_all))
    shown = read_image(film(padded, **of_all, **tags))
    np.testing.assert_array_equal(shown[:, 16:], plain)
    assert len(np.unique(shown[:, :16])) == 1


def test_padding_of_signed_values_and_padding_that_leaves_nothing() -> None:
    values = (chest(0, 64).astype(np.int16) * 3 - 300).astype(np.int16)
    padded = values.copy()
    padded[:9] = -2000
    tags = {"BitsStored": 12, "HighBit": 11}
    shown = read_image(film(padded, **tags, PixelPaddingValue=-2000))
    np.testing.assert_array_equal(shown[9:], read_image(film(values[9:], **tags)))
    whole = film(deep(), **TWELVE, PixelPaddingValue=0, PixelPaddingRangeLimit=4095)
    np.testing.assert_array_equal(read_image(whole), read_image(film(deep(), **TWELVE)))
    assert "leaves no film" in notes(whole)[0]


# -- cells -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_allocated(bits: int, signed: bool) -> None:
    plain = chest(0, 64).astype(np.int64)
    values = plain * {8: 1, 16: 16, 32: 5000}[bits]
    if signed:
        values -= int(values.max()) // 2
    if bits == 8 and signed:
        values = values // 2
    cells = values.astype(f"{'i' if signed else 'u'}{bits // 8}")
    spread = (values - values.min()) / (values.max() - values.min()) * 255
    assert np.abs(read_image(film(cells)) - spread).max() <= 0.5
    lower, upper = np.percentile(values, [10, 90])
    window = {"WindowCenter": int(lower + upper) // 2, "WindowWidth": int(upper - lower)}
    toned = np.clip((values - window["WindowCenter"]) / window["WindowWidth"] + 0.5, 0, 1) * 255
    found = read_image(film(cells, **window, VOILUTFunction="LINEAR_EXACT"))
    assert np.abs(found - toned).max() <= 1


def test_unused_bits_above_the_value_are_no_part_of_it() -> None:
    values = deep()
    noisy = values | (np.arange(values.size, dtype=np.uint16).reshape(values.shape) << 12)
    np.testing.assert_array_equal(
        read_image(film(noisy, **TWELVE)), read_image(film(values, **TWELVE))
    )


def test_a_file_that_ends_in_its_header_says_so() -> None:
    data = film(deep(), **TWELVE)
    modality = data.index(b"\x08\0\x60\0CS")
    for length in (*range(132, modality + 8), *range(modality + 10, data.index(b"MONOCHROME2"))):
        assert reason(data[:length]) in ("no_pixels", "truncated", "damaged"), length


def test_cells_that_end_early_or_hold_a_second_frame() -> None:
    data = film(deep(), **TWELVE)
    assert reason(data[:-2]) == "truncated"
    twice = film(deep(), **TWELVE, PixelData=deep().tobytes() * 2)
    assert reason(twice) == "multi_frame"
    more = film(deep(), **TWELVE, PixelData=deep().tobytes() + bytes(100))
    np.testing.assert_array_equal(read_image(more), read_image(data))


# -- parts of a file that are missing --------------------------------------------------------------


def without_preamble(data: bytes) -> bytes:
    return data[132:]


def without_meta(data: bytes) -> bytes:
    length = int.from_bytes(data[140:144], "little")
    return data[144 + length :]


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
@pytest.mark.parametrize(
    "cut", ["no preamble", "no meta", "preamble alone", "no syntax", "empty syntax"]
)
def test_a_file_without_its_first_parts(syntax: str, cut: str, tmp_path: Path) -> None:
    whole = saved(deep(), {**TWELVE, **WINDOW, "SOPInstanceUID": "1.2.7"}, {}, SYNTAXES[syntax])
    data = {
        "no preamble": without_preamble,
        "no meta": without_meta,
        "preamble alone": lambda one: one[:132] + without_meta(one),
        "no syntax": lambda one: rewritten(one, {}, {"TransferSyntaxUID": None}),
        "empty syntax": lambda one: rewritten(one, {}, {"TransferSyntaxUID": ""}),
    }[cut](whole)
    assert is_dicom(data)
    np.testing.assert_array_equal(read_image(data), read_image(whole))
    write(tmp_path, "films/a", data)
    path = (tmp_path / "films" / "a").resolve()
    assert read.identify(path, "a")["id"] == "1.2.7"
    for source in ("dicom", "folder") if cut == "no meta" else ():
        gallery = Gallery.create(tmp_path / source, FakeEncoder().stamp)
        report = ingest(open_source(source, tmp_path / "films"), gallery, FakeEncoder())
        assert (report.inserted, report.rejected) == (1, []), source


def test_cells_that_begin_at_an_odd_byte() -> None:
    whole = film(deep(), **TWELVE, **WINDOW)
    odd = whole.replace(b"\x08\0\x60\0CS\2\0DX", b"\x08\0\x60\0CS\3\0DX ")
    assert len(odd) == len(whole) + 1
    np.testing.assert_array_equal(read_image(odd), read_image(whole))


def test_without_a_syntax_compressed_pixels_are_refused_with_the_reason() -> None:
    packed = film(deep(), **TWELVE, syntax=SYNTAXES["RLE"])
    assert reason(without_meta(packed)) == "unsupported_compression"


@settings(max_examples=300)
@given(
    st.binary(max_size=400)
    | st.builds(
        lambda a, b: a + b,
        st.sampled_from(
            [b"\x08\0\x05\0", b"\x02\0\0\0UL\4\0", b"\x08\0\x16\0UI", b"\x28\0\x10\0US\2\0"]
        ),
        st.binary(max_size=300),
    )
)
def test_other_bytes_are_no_dicom(data: bytes) -> None:
    assert is_dicom(data) == (data[128:132] == b"DICM")


def test_other_files_are_no_dicom() -> None:
    from tests.ingest import torture

    for name, data, _ in torture.cases():
        if data[128:132] != b"DICM" and not name.startswith(b"dicom/bare"):
            assert not is_dicom(data), name
    for data in (
        bytes(5000),
        b"\x08\0" * 900,
        b"\x08\0\x16\0" + bytes(3000),
        without_meta(film(deep()))[:80],
    ):
        assert not is_dicom(data)
        assert reason(data) == "not_an_image"


# -- which films are taken -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "of_data", "of_file", "taken"),
    [
        (None, None, CR, True),
        (None, None, DX, True),
        (None, None, DX_RAW, True),
        (None, None, CAPTURE, True),
        ("", DX, None, True),
        ("", CR, None, True),
        ("DR", DX, DX, True),
        ("DR", None, None, True),
        (None, None, "1.2.840.10008.5.1.4.1.1.2", False),
        (None, None, None, False),
        ("CT", CR, CR, False),
        ("MR", None, DX, False),
    ],
)
def test_the_class_decides_where_no_modality_is_told(
    modality: str | None, of_data: str | None, of_file: str | None, taken: bool
) -> None:
    raw = {
        "Modality": None if modality is None else modality.encode(),
        "SOPClassUID": None if of_data is None else of_data.encode(),
        "SOPInstanceUID": None,
    }
    data = rewritten(film(deep(), **TWELVE), raw, {"MediaStorageSOPClassUID": of_file})
    if taken:
        np.testing.assert_array_equal(read_image(data), read_image(film(deep(), **TWELVE)))
    else:
        assert reason(data) == "wrong_modality"


def test_raw_detector_data() -> None:
    raw = {"SOPClassUID": DX_RAW.encode(), "PresentationIntentType": b"FOR PROCESSING"}
    assert reason(rewritten(film(deep()), raw)) == "for_processing"
    published = rewritten(film(deep()), {"SOPClassUID": DX_RAW.encode()})
    assert "FOR PROCESSING" in notes(published)[0]


def vindr(root: Path) -> Path:
    """Films with the header that VinDr-CXR is published with, and their table."""
    rows = ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"]
    for number, class_ in enumerate((CR, DX, DX_RAW, CAPTURE)):
        name = f"{number:032x}"
        bare = dict.fromkeys(("Modality", "SOPClassUID", "SOPInstanceUID"))
        meta = {"MediaStorageSOPClassUID": class_, "MediaStorageSOPInstanceUID": name}
        data = rewritten(film(deep(number), **TWELVE, **WINDOW, PatientAge="061Y"), bare, meta)
        write(root, f"train/{name}.dicom", data)
        rows.append(f"{name},Cardiomegaly,3,R8,1,1,9,9")
    write(root, "train.csv", "\n".join(rows))
    return root


def test_films_with_the_published_header_of_vindr(tmp_path: Path) -> None:
    root = vindr(tmp_path / "vindr")
    gallery = Gallery.create(tmp_path / "one", FakeEncoder().stamp)
    report = ingest(open_source("vindr", root), gallery, FakeEncoder())
    assert (report.inserted, report.rejected) == (4, [])
    gallery.refresh()
    row = gallery.row(f"vindr-cxr/train/{0:032x}.dicom")
    assert (row.labels, row.age) == (("Cardiomegaly",), 61.0) or row.labels == ("cardiomegaly",)
    other = Gallery.create(tmp_path / "two", FakeEncoder().stamp)
    by_path = ingest(open_source("dicom", root), other, FakeEncoder())
    assert (by_path.inserted, by_path.rejected) == (4, [])
    other.refresh()
    assert other.row(f"vindr/train/{1:032x}.dicom").age == 61.0
    assert any("SOPInstanceUID" in note and count == 4 for note, count in by_path.notes.items())
    again = ingest(open_source("dicom", root), other, FakeEncoder())
    assert (again.unchanged, again.encoded) == (4, 0)


# -- body parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["SKULL", "KNEE", "SPINE", "EXTREMITY", "ARM", "LEG", "NECK"])
def test_another_body_part_is_refused(part: str) -> None:
    data = film(deep(), **TWELVE, BodyPartExamined=part)
    assert reason(data) == "wrong_body_part"
    assert read_image(data, "any").shape == (64, 64)


def test_another_body_part_can_be_overruled(tmp_path: Path) -> None:
    data = film(deep(), **TWELVE, BodyPartExamined="KNEE")
    with pytest.raises(BadImage, match="--body-part any"):
        read_image(data)
    write(tmp_path, "films/a.dcm", data)
    for source in ("dicom", "folder"):
        gallery = Gallery.create(tmp_path / source, FakeEncoder().stamp)
        place = tmp_path / "films"
        refused = ingest(open_source(source, place), gallery, FakeEncoder(), keep_going=True)
        assert refused.reasons == {"wrong_body_part": 1}
        taken = ingest(open_source(source, place, body_part="any"), gallery, FakeEncoder())
        assert (taken.inserted, taken.rejected) == (1, [])
    with pytest.raises(UsageError, match="must be chest or any, got 'knee'"):
        open_source("dicom", tmp_path, body_part="knee")


def test_a_query_of_another_part_is_taken_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path, "a.dcm", film(deep(), **TWELVE, BodyPartExamined="KNEE"))
    np.testing.assert_array_equal(
        read_image(path, "any"), read_image(film(deep(), **TWELVE, BodyPartExamined="CHEST"))
    )
    store = tmp_path / "store"
    Gallery.create(store, FakeEncoder().stamp)
    asked = ["search", "--store", str(store), "--image", str(path), "--body-part", "knee"]
    done = CliRunner().invoke(app, asked)
    assert "body part must be chest or any, got 'knee'" in str(done.exception) + done.output


def test_vindr_takes_any_body_part_when_asked(tmp_path: Path) -> None:
    root = vindr(tmp_path / "vindr")
    for path in (root / "train").iterdir():
        path.write_bytes(rewritten(path.read_bytes(), {"BodyPartExamined": b"SKULL "}))
    gallery = Gallery.create(tmp_path / "one", FakeEncoder().stamp)
    report = ingest(open_source("vindr", root, body_part="any"), gallery, FakeEncoder())
    assert report.inserted == 4


@pytest.mark.parametrize(
    "part",
    [
        *("", " ", "CHEST", "chest", "Chest PA", "THORAX", "Thorax ap", "TORAX", "TÓRAX", "TORACE"),
        *("THORACIC", "CHESTABDOMEN", "CHEST_ABDOMEN", "NECKCHEST", "LUNG", "LUNGS", "POUMON"),
        *("POUMONS", "RIBS", "RIB", "HEART", "PORT CHEST", "BRUSTKORB", "KLATKA PIERSIOWA"),
        *("W CHEST,PA", "POLMONI", "PULMÕES", "PŁUCA", "WHOLEBODY"),
    ],
)
def test_words_for_the_chest(part: str) -> None:
    assert place_of(part) == "chest"


@pytest.mark.parametrize(
    "part",
    [
        *("RIGHT KNEE", "KNEES", "L_KNEE", "SHOULDER", "ABDOMEN", "ABDOMEN AP", "LSPINE", "TSPINE"),
        *("THORACIC SPINE", "T-SPINE", "C SPINE", "LOWER LIMB", "UPPER_EXTREMITY", "EXTREMITIES"),
        *("FEET", "FOOT", "TOES", "HAND", "HEAD", "CLAVICLE", "PELVIS", "HIP", "HIPS", "SKULLBASE"),
    ],
)
def test_words_for_other_parts(part: str) -> None:
    assert place_of(part) == "elsewhere"


def test_unknown_parts_pass_with_a_note() -> None:
    for part in ("BODY 7", "UNKNOWN", "PORTABLE", "STANDARD", "CHARM", "LEGACY", "胸部", "7"):
        assert place_of(part) == "unknown", part
    data = film(deep(), **TWELVE, BodyPartExamined="DOE JANE")
    assert "BodyPartExamined" in notes(data)[0] and "DOE" not in notes(data)[0]


def test_all_common_regions_of_the_standard_are_known() -> None:
    """CID 4031 as pydicom ships it: every region but those with the chest in them is refused."""
    import re

    from pydicom.sr.codedict import codes

    names = [" ".join(re.findall("[A-Z][a-z]+", name)) for name in codes.cid4031.dir()]
    assert len(names) > 30
    found = {name: place_of(name) for name in names}
    assert {name for name, place in found.items() if place == "unknown"} == set()
    chests = {name for name, place in found.items() if place == "chest"}
    assert all(re.search("Chest|Rib|Lung|Heart|Bronch|Mediast|Body", n) for n in chests), chests


# -- grey films in colours -------------------------------------------------------------------------


def captured(pixels: Any, **tags: Any) -> bytes:
    more = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return film(pixels, **{**more, "SOPClassUID": CAPTURE, "Modality": "OT", **tags})


def test_a_grey_film_as_rgb_is_the_film_as_png() -> None:
    grey = chest(1, 64)
    rgb = np.dstack([grey] * 3)
    as_png = read_image(encoded(Image.fromarray(rgb)))
    np.testing.assert_array_equal(as_png, grey)
    np.testing.assert_array_equal(read_image(captured(rgb)), grey)
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    tags = {"Rows": 64, "Columns": 64, "PlanarConfiguration": 1}
    np.testing.assert_array_equal(read_image(captured(planes, **tags)), grey)
    ybr = np.dstack([grey, np.full_like(grey, 128), np.full_like(grey, 128)])
    found = read_image(captured(ybr, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(found.astype(int) - grey).max() <= 1


def test_compressed_with_loss_it_is_still_grey() -> None:
    grey = chest(1, 64)
    colour = np.dstack([grey] * 3).astype(int)
    colour[..., 2] += np.random.default_rng(0).integers(-3, 4, grey.shape)
    found = read_image(captured(np.clip(colour, 0, 255).astype(np.uint8)))
    assert found.ndim == 2 and np.abs(found.astype(int) - grey).max() <= 1


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_a_grey_film_as_a_colour_jpeg(photometric: str) -> None:
    import pydicom
    from pydicom.encaps import encapsulate

    jpeg = encoded(Image.fromarray(np.dstack([chest(1, 64)] * 3)), "JPEG", quality=90)
    one = pydicom.dcmread(io.BytesIO(captured(np.dstack([chest(1, 64)] * 3))))
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    one.PhotometricInterpretation = photometric
    one.add_new("PixelData", "OB", encapsulate([jpeg]))
    one["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    one.save_as(file, enforce_file_format=True)
    found = read_image(file.getvalue()).astype(int)
    assert found.ndim == 2 and np.abs(found - read_image(jpeg)).max() <= 1


def test_a_true_colour_capture_is_refused() -> None:
    colour = np.dstack([chest(1, 64), chest(2, 64) // 2, chest(3, 64)])
    assert reason(captured(colour)) == "not_grey"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("packed", [True, False])
def test_a_grey_palette_is_the_film_as_png(bits: int, packed: bool) -> None:
    """Entries of 16 bits are scaled; 8-bit ones lie in words or in bytes."""
    grey = chest(1, 64)
    order = np.random.default_rng(0).permutation(256)  # a palette is in any order
    index = np.argsort(order)[grey].astype(np.uint8)
    entries = order * (257 if bits == 16 else 1)
    raw = entries.astype("<u2" if bits == 16 or not packed else "u1").tobytes()
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", "SamplesPerPixel": 1}
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tags[f"{name}PaletteColorLookupTableData"] = raw
    np.testing.assert_array_equal(read_image(captured(index, **tags)), grey)
    tags["RedPaletteColorLookupTableData"] = raw[::-1]
    assert reason(captured(index, **tags)) == "not_grey"
    del tags["BluePaletteColorLookupTableData"]
    assert reason(captured(index, **tags)) == "damaged"


# -- the same numbers, whatever holds them ---------------------------------------------------------


@pytest.mark.parametrize(
    "largest", [300, 511, 1000, 1023, 1024, 2000, 4095, 4096, 4100, 5000, 20_000, 40_000, 65_535]
)
def test_png_and_dicom_of_the_same_numbers_are_the_same_film(largest: int) -> None:
    film_ = chest(2, 96).astype(np.float64)
    values = np.rint((film_ - film_.min()) / np.ptp(film_) * largest).astype(np.uint16)
    spoiled = values.copy()
    spoiled[0, 0] = 65_535
    for numbers in (values, spoiled, values // 2 + 100):
        as_png = read_image(encoded(Image.fromarray(numbers)))
        np.testing.assert_array_equal(read_image(film(numbers)), as_png)
        signed = (numbers.astype(np.int32) - 32_768).astype(np.int16)
        np.testing.assert_array_equal(read_image(film(signed)), as_png)
        inverse = film(65_535 - numbers, PhotometricInterpretation="MONOCHROME1")
        assert np.abs(read_image(inverse).astype(int) - as_png).max() <= 1
        rescaled = film(numbers, RescaleSlope=-2, RescaleIntercept=9)
        assert np.abs(255 - read_image(rescaled).astype(int) - as_png).max() <= 1


def test_a_dicom_film_in_a_folder_is_read_with_its_notes() -> None:
    data = rewritten(film(deep(), **TWELVE, **WINDOW), {"VOILUTFunction": b""})
    pixels, said = read_image_file(data, "x")
    np.testing.assert_array_equal(pixels, read_image(data))
    assert said["notes"] == notes(data)


@pytest.mark.parametrize("kind", [Kind("LINEAR", -1), Kind("SIGMOID", -2, "MONOCHROME1")])
def test_a_negative_slope_is_the_right_way_round(kind: Kind) -> None:
    stored = kind.values(0, 96)
    bright = -stored if kind.photometric == "MONOCHROME2" else stored
    assert np.corrcoef(read_image(kind.made()).ravel(), bright.ravel())[0, 1] > 0.9


@pytest.mark.skipif(not (CASES / "dicom").is_dir(), reason="no ../shared/cases")
@pytest.mark.skipif(judges.DCM2PNM is None, reason="dcm2pnm (Debian's dcmtk) is not here")
def test_the_shared_cases() -> None:
    for path in sorted((CASES / "dicom").iterdir()):
        data, name = path.read_bytes(), path.stem
        options = ["-f", "-ti"] if name.startswith("no_preamble") else []
        kind = "+Wl" if name.startswith("vlut") else "+Wi" if "window" in name else "+Wm"
        options += [kind] if kind == "+Wm" else [kind, "1"]
        found = judges.correlation(read_image(data), judges.by_dcmtk(data, *options, "+G"))
        assert found > 0.999, name
    for path in sorted((CASES / "vindr-header" / "train").iterdir()):
        assert read_image(path).std() > 50, path.name
