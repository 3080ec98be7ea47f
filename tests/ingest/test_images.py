"""Image files of every kind, good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ingest.images import pixels as pixel_arithmetic
from ingest.images.decode import decode, read_image
from ingest.images.pixels import MAX_PIXELS, thumbnail
from store import BadImage

# Decoders grumble about the damaged files that these tests feed them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refused(source: str | Path | bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        read_image(source)
    return caught.value


# -- formats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossless_formats(kind: str, options: dict[str, Any], mode: str, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(RAMP).convert(mode), kind, **options)
    path = tmp_path / "no-extension"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        np.testing.assert_array_equal(read_image(source), RAMP)  # grey in RGB is grey


def test_jpeg() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    pixels = read_image(encoded(Image.fromarray(smooth), "JPEG", quality=95))
    assert pixels.shape == (64, 64)
    assert np.abs(pixels.astype(int) - smooth).max() <= 3


def test_colour_stays_colour() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(rgb), "PNG")), rgb)


@settings(max_examples=30)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_any_grey_png_comes_back(pixels: npt.NDArray[np.uint8]) -> None:
    data = encoded(Image.fromarray(pixels), "PNG")
    np.testing.assert_array_equal(decode(data, "noise"), pixels)
    np.testing.assert_array_equal(decode(thumbnail(pixels), "noise"), pixels)


@pytest.mark.parametrize(("bits", "kind"), [(10, "PNG"), (12, "PNG"), (16, "PNG"), (12, "TIFF")])
def test_deep_grey_is_scaled_not_clipped(bits: int, kind: str) -> None:
    deep = np.linspace(0, 2**bits - 1, 400).astype(np.uint16).reshape(20, 20)
    pixels = read_image(encoded(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(pixels, np.rint(deep * (255 / (2**bits - 1))))
    assert (pixels == 255).mean() < 0.01  # Pillow's own conversion gives nearly all of them 255


def test_sixteen_bit_copy_of_an_8_bit_film_is_the_same_film() -> None:
    deep = RAMP.astype(np.uint16) * 257
    deep[0, 0] = 65535
    expected = RAMP.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(deep), "PNG")), expected)


def test_float_and_signed_tiff_are_scaled_by_their_range() -> None:
    values = np.linspace(-3, 5, 256).reshape(16, 16)
    for array in (values.astype(np.float32), (values * 1000).astype(np.int32)):
        pixels = read_image(encoded(Image.fromarray(array), "TIFF"))
        np.testing.assert_allclose(pixels.ravel(), np.arange(256), atol=1)
    flat = encoded(Image.fromarray(np.full((3, 3), 7.5, np.float32)), "TIFF")
    assert decode(flat, "flat").max() == 0
    assert refused(flat).reason == "no_contrast"
    values[2, 2] = np.nan
    assert (
        refused(encoded(Image.fromarray(values.astype(np.float32)), "TIFF")).reason == "bad_values"
    )


def test_palette_alpha_bitmap_and_cmyk() -> None:
    grey = Image.fromarray(RAMP)
    palette = grey.quantize(256)
    assert palette.mode == "P"
    assert np.abs(read_image(encoded(palette, "PNG")).astype(int) - RAMP).max() <= 1

    alpha = np.dstack([RAMP, np.where(RAMP > 100, 255, 0).astype(np.uint8)])
    pixels = read_image(encoded(Image.fromarray(alpha, "LA"), "PNG"))
    np.testing.assert_array_equal(pixels, np.where(RAMP > 100, RAMP, 0))  # over black

    see_through = grey.quantize(256)
    see_through.info["transparency"] = see_through.getpixel((0, 0))
    assert read_image(encoded(see_through, "PNG", transparency=0)).shape == RAMP.shape

    bitmap = read_image(encoded(Image.fromarray(RAMP > 100), "PNG"))
    np.testing.assert_array_equal(bitmap, np.where(RAMP > 100, 255, 0))

    red = Image.new("RGB", (8, 8), (200, 0, 0)).convert("CMYK")
    pixels = read_image(encoded(red, "JPEG", quality=95))
    assert pixels.shape == (8, 8, 3) and np.abs(pixels[0, 0].astype(int) - (200, 0, 0)).max() < 8


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    data = encoded(Image.fromarray(RAMP), "PNG", exif=exif)
    np.testing.assert_array_equal(read_image(data), np.rot90(RAMP, -1))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "1", "P"])
def test_large_images_are_halved(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_arithmetic, "LARGE_PIXELS", 100)
    values = np.add.outer(np.arange(40), np.arange(20)).astype(np.uint8) * 4
    if mode == "I;16":
        data = encoded(Image.fromarray(values.astype(np.uint16) * 257), "PNG")
    else:
        data = encoded(Image.fromarray(values).convert(mode), "PNG")
    pixels = read_image(data)
    assert pixels.shape[:2] == (10, 5)
    if mode in ("L", "RGB"):
        blocks = values.reshape(10, 4, 5, 4).mean(axis=(1, 3))
        assert np.abs(pixels - blocks).max() <= 1


# -- refusals --------------------------------------------------------------------------------------


def test_a_text_file_named_png(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_text("this is not a film\n" * 20)
    error = refused(path)
    assert error.reason == "not_an_image"
    assert str(path) in str(error) and "PNG, JPEG, TIFF" in str(error)


def test_missing_folder_empty_unreadable(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.png").reason == "missing"
    assert refused(tmp_path).reason == "not_a_file"
    assert refused("a\0b").reason == "unreadable"
    assert refused(b"").reason == "empty"
    (tmp_path / "empty.png").touch()
    assert refused(tmp_path / "empty.png").reason == "empty"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
@settings(max_examples=25)
@given(drawn=st.data())
def test_truncated_never_loses_pixels_unnoticed(kind: str, drawn: st.DataObject) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    whole = read_image(data)
    length = drawn.draw(st.integers(1, len(data) - 1))
    try:
        pixels = read_image(data[:length])
    except BadImage as error:
        assert error.reason in ("truncated", "damaged", "not_an_image")
        if 700 < length < len(data) - 100 and kind in ("PNG", "JPEG"):
            assert error.reason == "truncated"
    else:  # only checksums and end markers were lost
        assert len(data) - length < 32
        np.testing.assert_array_equal(pixels, whole)


@settings(max_examples=100)
@given(drawn=st.data())
def test_damage_is_an_image_or_a_refusal(drawn: st.DataObject) -> None:
    kind = drawn.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP"]))
    data = bytearray(encoded(Image.fromarray(RAMP), kind))
    for _ in range(drawn.draw(st.integers(1, 4))):
        data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
    try:
        pixels = read_image(bytes(data))
    except BadImage:
        return
    assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3)


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


@pytest.mark.parametrize("side", [8001, 20_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_large_is_refused_by_its_header(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    )
    assert side * side > MAX_PIXELS
    error = refused(bomb)
    assert error.reason == "too_large" and "64 million" in str(error)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_pillows_own_warning_as_an_error() -> None:
    test_too_large_is_refused_by_its_header(10_000)


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_several_images_in_one_file(kind: str) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert refused(data).reason == "multi_frame"


# -- thumbnails ------------------------------------------------------------------------------------


def test_thumbnail_is_small_plain_and_the_same_every_time() -> None:
    film = np.random.default_rng(0).integers(0, 256, (300, 600), dtype=np.uint8)
    picture = thumbnail(film)
    assert picture == thumbnail(film.copy())
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (256, 128))
        assert image.info == {}
    exact = film[:256, :256]
    np.testing.assert_array_equal(read_image(thumbnail(exact)), exact)
    rgb = np.random.default_rng(0).integers(0, 256, (20, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(thumbnail(rgb)), rgb)
    with Image.open(io.BytesIO(thumbnail(np.zeros((1, 5000), np.uint8)))) as image:
        assert image.size == (256, 1)


# -- DICOM -----------------------------------------------------------------------------------------


def film(values: npt.NDArray[Any], **tags: Any) -> bytes:
    """An uncompressed DX film of some stored values."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("film", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = values.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


DEEP = np.linspace(0, 4095, 200).astype(np.uint16).reshape(10, 20)


def test_dicom_film_without_windows_is_scaled_by_its_range() -> None:
    np.testing.assert_array_equal(read_image(film(DEEP + 500)), np.rint(DEEP * (255 / 4095)))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"BitsStored": 12, "HighBit": 11},
        {"RescaleSlope": 2, "RescaleIntercept": -1024},
        {"PresentationLUTShape": "INVERSE"},  # the same inversion said twice is still one
    ],
)
def test_monochrome_twins_give_the_same_pixels(tags: dict[str, Any]) -> None:
    plain = film(
        DEEP,
        **{
            **tags,
            **({"PresentationLUTShape": "IDENTITY"} if "PresentationLUTShape" in tags else {}),
        },
    )
    inverse = film(4095 - DEEP, PhotometricInterpretation="MONOCHROME1", **tags)
    np.testing.assert_array_equal(read_image(plain), read_image(inverse))


def test_rescale_then_window() -> None:
    # Window 0..1000 in rescaled units, which is 512..1012 as stored.
    window = {
        "RescaleSlope": 2,
        "RescaleIntercept": -1024,
        "WindowCenter": 500,
        "WindowWidth": 1000,
    }
    pixels = read_image(film(DEEP, **window)).astype(int)
    rescaled = DEEP.astype(float) * 2 - 1024
    np.testing.assert_allclose(pixels, np.clip(rescaled / 1000, 0, 1) * 255, atol=1.5)


def test_windowed_twins() -> None:
    plain = film(DEEP, WindowCenter=1500, WindowWidth=1000)
    # Stored values are mirrored, so the window that shows the same tissue is mirrored too.
    inverse = film(
        4095 - DEEP,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=4096 - 1500,
        WindowWidth=1000,
    )
    difference = read_image(plain).astype(int) - read_image(inverse)
    assert np.abs(difference).max() <= 1


def test_signed_values() -> None:
    pixels = read_image(film(DEEP.astype(np.int16) - 2000))
    np.testing.assert_array_equal(pixels, np.rint(DEEP * (255 / 4095)))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "CT"}, "wrong_modality"),
        ({"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "wrong_modality"),
        ({"NumberOfFrames": 2}, "multi_frame"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "truncated"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "HSV"}, "not_grey"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "damaged"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"PixelData": None}, "no_pixels"),
        ({"Rows": 9000, "Columns": 9000}, "too_large"),
        ({"Rows": 30, "Columns": 20}, "truncated"),
    ],
)
def test_dicom_refusals(tags: dict[str, Any], reason: str) -> None:
    error = refused(film(DEEP, **tags))
    assert error.reason == reason, str(error)


def test_truncated_dicom() -> None:
    data = film(np.zeros((100, 100), np.uint16))
    for length in (len(data) - 7, len(data) // 2, 140):
        assert refused(data[:length]).reason in (
            "truncated",
            "damaged",
            "wrong_modality",
            "no_pixels",
        )


def test_compression_that_nothing_undoes() -> None:
    data = film(DEEP).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    assert refused(data).reason in ("unsupported_compression", "damaged")


# -- the real thing --------------------------------------------------------------------------------


def test_real_films(data: Path) -> None:
    folder = data / "radiographs"
    for name in ("00000001_000.png", "00027426_000.png"):
        assert read_image(folder / name).shape == (512, 512)
    assert read_image(folder / "16747_3_1.jpg").shape[:2] == (885, 1036)


def test_real_dicom_and_its_inverted_copy(data: Path) -> None:
    # The copy has the same stored values and says MONOCHROME1: it is the negative of the film.
    film_ = read_image(
        data / "radiographs" / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
    )
    negative = read_image(data / "radiographs" / "Fake_MONOHR1.dcm")
    assert film_.shape == (1024, 1024)
    assert film_[900:, 300:700].mean() > film_[300:600, 200:350].mean()  # belly brighter than lung
    np.testing.assert_allclose(film_.astype(int) + negative, 255, atol=1)
