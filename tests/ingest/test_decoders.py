"""Films of more than 8 bits, and the kinds that Pillow does not read: as their grey twin."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
import tifffile
from PIL import Image

from ingest import read_image
from ingest.encoders import load_encoder
from ingest.images.decode import decode
from store import BadImage
from tests.ingest.films import chest, encoded, png_chunk
from tests.ingest.films import film as dcm

Deep = npt.NDArray[np.uint16]


def deep(largest: int = 4090, side: int = 96) -> Deep:
    """A film of values from somewhat above 0 to ``largest``, of any depth."""
    film = chest(4, side).astype(np.float64)
    film = (film - film.min()) / (film.max() - film.min())
    return np.asarray(np.rint((0.01 + 0.99 * film) * largest), np.uint16)


def tiff(values: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "minisblack", **options})
    return file.getvalue()


def png(samples: npt.NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(samples))


def seen(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The values from the smallest to the largest, in another library's arithmetic."""
    return np.asarray(cv2.normalize(values.astype(np.float64), None, 0, 255, cv2.NORM_MINMAX))


def same(data: bytes, values: npt.NDArray[Any], most: float = 0.51) -> None:
    found = read_image(data)
    assert found.dtype == np.uint8 and found.shape == values.shape
    assert np.abs(found - seen(values)).max() <= most


def refused(data: bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        read_image(data)
    return caught.value


GREY = deep()
THREE = np.dstack([GREY] * 3)
OPAQUE = np.full_like(GREY, 65_535)
KINDS: dict[str, bytes] = {
    "grey PNG": png(GREY),
    "RGB PNG": png(THREE),
    "RGBA PNG": png(np.dstack([THREE, OPAQUE])),
    "grey + alpha PNG": png(np.dstack([GREY, OPAQUE])),
    "grey TIFF": tiff(GREY),
    "grey TIFF, big-endian": tiff(GREY, byteorder=">"),
    "grey TIFF, deflated with predictor": tiff(GREY, compression="zlib", predictor=True),
    "grey TIFF, LZW": tiff(GREY, compression="lzw"),
    "grey TIFF, tiled": tiff(GREY, tile=(32, 32)),
    "WhiteIsZero": tiff(65_535 - GREY, photometric="miniswhite"),
    "WhiteIsZero, big-endian": tiff(65_535 - GREY, photometric="miniswhite", byteorder=">"),
    "BigTIFF": tiff(GREY, bigtiff=True),
    "BigTIFF, big-endian": tiff(GREY, bigtiff=True, byteorder=">"),
    "BigTIFF, LZW": tiff(GREY, bigtiff=True, compression="lzw", rowsperstrip=7),
    "BigTIFF, WhiteIsZero": tiff(65_535 - GREY, bigtiff=True, photometric="miniswhite"),
    "RGB TIFF": tiff(THREE, photometric="rgb"),
    "RGB TIFF, planar": tiff(np.moveaxis(THREE, -1, 0), photometric="rgb", planarconfig="separate"),
    "RGBA TIFF": tiff(np.dstack([THREE, OPAQUE]), photometric="rgb", extrasamples=[2]),
    "grey + alpha TIFF": tiff(
        np.dstack([GREY, OPAQUE]), planarconfig="contig", extrasamples=["unassalpha"]
    ),
    "uint32 TIFF": tiff(GREY.astype(np.uint32)),
    "uint32 TIFF of large values": tiff(GREY.astype(np.uint32) * 1_000_000),
    "int16 TIFF": tiff(GREY.astype(np.int16) - 2000),
    "int16 WhiteIsZero": tiff(2000 - GREY.astype(np.int16), photometric="miniswhite"),
    "float32 TIFF": tiff(GREY.astype(np.float32) / 7 - 100),
    "float64 TIFF": tiff(GREY.astype(np.float64)),
    **{
        f"TIFF, {packing}{', ' + order if order else ''}, {name}": tiff(
            values, compression=packing, byteorder=order or None, **options
        )
        for packing in ("zlib", "lzw", "packbits")
        for order in ("", ">")
        for name, values, options in (
            ("strips", GREY, {"rowsperstrip": 7}),
            ("tiles", GREY, {"tile": (64, 32)}),
            ("RGB", THREE, {"photometric": "rgb", "rowsperstrip": 9}),
            (
                "planes",
                np.moveaxis(THREE, -1, 0),
                {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 10},
            ),
            ("uint32", GREY.astype(np.uint32), {}),
            ("float32", GREY.astype(np.float32), {}),
        )
    },
    "TIFF, differences, big-endian": tiff(
        GREY, compression="lzw", predictor=2, byteorder=">", rowsperstrip=5
    ),
    "TIFF, differences of RGB": tiff(THREE, compression="zlib", predictor=2, photometric="rgb"),
    "TIFF, differences, int32": tiff(
        GREY.astype(np.int32) * 9 - 5000, compression="zlib", predictor=2, tile=(32, 32)
    ),
    "TIFF, float differences": tiff(
        GREY.astype(np.float32) / 3, compression="zlib", predictor=3, rowsperstrip=20
    ),
    "TIFF, float differences, big-endian": tiff(
        GREY.astype(np.float64) / 3, compression="lzw", predictor=3, byteorder=">"
    ),
    "TIFF, 12 bits packed": tiff(GREY, bitspersample=12),
    "TIFF, 12 bits packed, strips": tiff(GREY[:, :95], bitspersample=12, rowsperstrip=11),
    "lossless JPEG, 12 bits": imagecodecs.jpeg8_encode(GREY, lossless=True, bitspersample=12),
    "lossless JPEG, 16 bits": imagecodecs.jpeg8_encode(GREY, lossless=True, bitspersample=16),
    "lossless JPEG, by another encoder": imagecodecs.ljpeg_encode(GREY, bitspersample=12),
    "JPEG-LS": imagecodecs.jpegls_encode(GREY),
    "JPEG 2000": imagecodecs.jpeg2k_encode(GREY, level=0, reversible=True, bitspersample=12),
    "JPEG 2000, bare": imagecodecs.jpeg2k_encode(
        GREY, level=0, reversible=True, bitspersample=12, codecformat="j2k"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_as_the_grey_film(kind: str) -> None:
    same(KINDS[kind], GREY[:, :95] if kind == "TIFF, 12 bits packed, strips" else GREY)


def test_a_12_bit_jpeg_loses_a_little() -> None:
    same(imagecodecs.jpeg8_encode(GREY, level=97, bitspersample=12), GREY, most=3)


def test_8_bits_stay_as_they_are_in_every_kind() -> None:
    film = np.clip(chest(1), 30, 180)
    for data in (
        imagecodecs.jpegls_encode(film),
        imagecodecs.jpeg2k_encode(film, level=0, reversible=True),
        imagecodecs.jpeg8_encode(film, lossless=True),
        tiff(film),
        tiff(255 - film, photometric="miniswhite"),
        png(film.astype(np.uint16) * 257),
        tiff(film.astype(np.uint16) * 257),
    ):
        np.testing.assert_array_equal(read_image(data), film)


def test_colour_of_16_bits_keeps_its_colours() -> None:
    rgb = np.dstack([deep(3000), deep(4000), deep(2000)])
    for data in (png(rgb), tiff(rgb, photometric="rgb")):
        found = read_image(data)
        assert found.shape == rgb.shape
        assert np.abs(found - seen(rgb)).max() <= 0.51


def test_transparency_is_laid_over_black() -> None:
    alpha = np.where(GREY > 2000, 65_535, 0).astype(np.uint16)
    expected = np.where(GREY > 2000, GREY, 0)
    for data in (png(np.dstack([GREY, alpha])), png(np.dstack([THREE, alpha]))):
        same(data, expected)


@pytest.mark.parametrize("largest", [300, 1023, 1025, 4096, 4100, 5000, 16_400, 20_000, 65_534])
def test_the_same_film_whatever_its_largest_value(largest: int, tmp_path: Path) -> None:
    values = deep(largest)
    path = tmp_path / "film.png"
    path.write_bytes(png(values))
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    same(path.read_bytes(), itk)
    same(tiff(values), cv2.imdecode(np.frombuffer(tiff(values), np.uint8), cv2.IMREAD_UNCHANGED))


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(device="cpu")


LARGEST = (300, 500, 999, 1023, 1025, 4000, 4095, 4096, 4100, 5000, 16_383, 20_000, 40_000, 65_535)


def test_png_and_dicom_of_the_same_numbers_are_one_film(encoder) -> None:
    images = []
    for largest in LARGEST:
        values = deep(largest)
        for spoiled in (None, 4096, 65_535):  # a lone pixel beside the film
            if spoiled is not None:
                values[7, 7] = spoiled
            images += [read_image(png(values)), read_image(tiff(values)), read_image(dcm(values))]
    vectors = encoder.encode_images(images)
    assert (vectors @ vectors.T).min() > 0.98
    for one, two, three in zip(images[::3], images[1::3], images[2::3], strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_orientation_of_deep_files_is_applied() -> None:
    upright = read_image(KINDS["grey PNG"])
    exif = Image.Exif()
    for number, expected in {
        1: upright,
        2: upright[:, ::-1],
        3: np.rot90(upright, 2),
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, -1),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright),
    }.items():
        exif[0x0112] = number
        chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        for where in (33, -12):  # before the pixels and after them
            data = KINDS["grey PNG"]
            data = data[:where] + chunk + data[where:]
            np.testing.assert_array_equal(read_image(data), expected)
        turned = tiff(GREY, extratags=[(274, 3, 1, number, True)])
        np.testing.assert_array_equal(read_image(turned), expected)


# -- refusals --------------------------------------------------------------------------------------


def test_kinds_that_are_not_read_say_so() -> None:
    cmyk = tiff(np.dstack([THREE, OPAQUE]), photometric="separated")
    ycbcr = tiff(THREE, photometric="ycbcr")
    other = tiff(GREY, compression="zstd")
    for data, word in ((cmyk, "SEPARATED"), (ycbcr, "YCBCR"), (other, "ZSTD")):
        error = refused(data)
        assert error.reason == "unsupported"
        assert word in str(error) and "convert it" in str(error)
    arithmetic = bytearray(encoded(Image.fromarray(chest(1)), "JPEG"))
    arithmetic[arithmetic.index(b"\xff\xc0") + 1] = 0xC9
    error = refused(bytes(arithmetic))
    assert error.reason == "unsupported" and "arithmetic" in str(error)
    assert refused(tiff(np.stack([GREY, GREY]))).reason == "multi_frame"
    big = refused(tiff(chest(4, 96), bigtiff=True, byteorder=">"))
    assert big.reason == "unsupported" and "BigTIFF" in str(big)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_short_is_refused(kind: str) -> None:
    data = KINDS[kind]
    for length in (len(data) // 4, len(data) // 2, len(data) - 200):
        try:
            found = read_image(data[:length])
        except BadImage as error:
            assert error.reason in ("truncated", "damaged", "unsupported"), str(error)
        else:  # what a decoder of layers makes of fewer of them, never silently half a film
            assert "TIFF" in kind and np.array_equal(found, read_image(data))


@pytest.mark.parametrize("side", [9000, 60_000])
def test_too_large_is_refused_by_its_header(side: int) -> None:
    header = side.to_bytes(4, "big") * 2
    png_header = bytearray(KINDS["RGB PNG"])
    png_header[16:24] = header
    jpeg = bytearray(KINDS["lossless JPEG, 12 bits"])
    at = jpeg.index(b"\xff\xc3") + 5
    jpeg[at : at + 4] = side.to_bytes(2, "big") * 2
    ls = bytearray(KINDS["JPEG-LS"])
    at = ls.index(b"\xff\xf7") + 5
    ls[at : at + 4] = side.to_bytes(2, "big") * 2
    j2k = bytearray(KINDS["JPEG 2000, bare"])
    j2k[8:16] = header
    for data in (png_header, jpeg, ls, j2k):
        error = refused(bytes(data))
        assert error.reason == "too_large", str(error)


@pytest.mark.parametrize("kind", ["8 bits", "RGB", "16 bits", "JPEG-LS"])
def test_a_film_that_shows_nothing_is_refused(kind: str) -> None:
    def made(film: npt.NDArray[np.uint8]) -> bytes:
        if kind == "16 bits":
            return png(film.astype(np.uint16) * 11)
        if kind == "JPEG-LS":
            return bytes(imagecodecs.jpegls_encode(film))
        return encoded(Image.fromarray(film if kind == "8 bits" else np.dstack([film] * 3)))

    flat = np.full((100, 100), 70, np.uint8)
    speck = flat.copy()
    speck[40:49, 40:50] = np.arange(90).reshape(9, 10)  # nine of a thousand
    field = flat.copy()
    field[40:52, 40:52] = chest(1, 12)
    for film in (flat, speck):
        error = refused(made(film))
        assert error.reason == "no_contrast" and "99" in str(error)
        assert decode(made(film), "film").shape == (100, 100)
    assert read_image(made(field)).shape == (100, 100)


# -- the real thing --------------------------------------------------------------------------------


def test_cases(data: Path) -> None:
    folder = data.parent / "cases" / "images"
    if not folder.is_dir():
        pytest.skip("no ../shared/cases here")
    right = read_image(folder / "grey16_12bit.png").astype(float)
    for name in ("rgb16_12bit.png", "min_is_white_16.tif", "planar_rgb_16.tif"):
        found = read_image(folder / name)
        assert np.corrcoef(found.ravel(), right.ravel())[0, 1] > 0.999, name
