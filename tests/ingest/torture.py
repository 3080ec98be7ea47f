"""A folder of everything that people have, whole and broken, and what must become of each file."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.ingest.films import chest, encoded, film, png, png_bomb

ROW = {"row"}
BROKEN = {"truncated", "damaged"}
#: A path as bytes, its content, and what may become of it: a row, or reasons.
Case = tuple[bytes, bytes, set[str]]


def cases(seed: int = 0) -> Iterator[Case]:
    """All files of the folder."""
    yield from _sound()
    yield from _dicom()
    yield from _odd_pixels()
    yield from _cut(np.random.default_rng(seed))
    yield from _no_images()
    yield from _names()
    yield from _large()


def make(root: Path, seed: int = 0) -> dict[bytes, set[str]]:
    """Write the folder; relative paths to what must become of them."""
    expected: dict[bytes, set[str]] = {}
    top = os.fsencode(root)
    for relative, content, allowed in cases(seed):
        path = os.path.join(top, relative)  # noqa: PTH118 - names that pathlib would decode
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(content)
        assert relative not in expected, relative
        expected[relative] = allowed
    return expected | _special(root)


def _special(root: Path) -> dict[bytes, set[str]]:
    """What is no plain file, or may not be read."""
    outside = root.with_name("outside")
    outside.mkdir()
    (outside / "secret.png").write_bytes(png(999))
    (root / "folder.png").mkdir()
    (root / "folder.png" / "inside.png").write_bytes(png(701))
    (root / "links").mkdir()
    links = {"to-a-file": outside / "secret.png", "to-a-folder": outside, "broken": root / "none"}
    links |= {"loop": root / "links" / "loop", "within": root / "sound" / "grey.png"}
    for name, target in links.items():
        (root / "links" / name).symlink_to(target)
    (root / "links" / "dots").symlink_to("../../outside/secret.png")
    os.mkfifo(root / "pipe.png")
    expected = {b"links/" + name.encode(): {"link"} for name in [*links, "dots"]}
    expected |= {b"folder.png/inside.png": ROW, b"pipe.png": {"not_a_file"}}
    if os.geteuid() != 0:  # root may read anything
        (root / "locked.png").write_bytes(png(702))
        (root / "locked.png").chmod(0)
        (root / "shut").mkdir(mode=0)
        expected |= {b"locked.png": {"unreadable"}, b"shut": {"unreadable"}}
    return expected


def _sound() -> Iterator[Case]:
    grey = Image.fromarray(chest(1))
    rgb = Image.fromarray(np.dstack([chest(2), chest(3), chest(4)]))
    alpha = Image.fromarray(np.dstack([chest(5), np.full((64, 64), 200, np.uint8)]), "LA")
    rgba = rgb.copy()
    rgba.putalpha(grey)
    deep = chest(6).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    made: dict[str, bytes] = {
        "grey.png": encoded(grey),
        "rgb.png": encoded(rgb),
        "palette.png": encoded(rgb.quantize(64)),
        "palette-alpha.png": encoded(rgb.quantize(64), transparency=3),
        "grey-alpha.png": encoded(alpha),
        "rgba.png": encoded(rgba),
        "bits-1.png": encoded(grey.convert("1")),
        "bits-16.png": encoded(Image.fromarray(deep)),
        "bits-12.png": encoded(Image.fromarray(deep // 16)),
        "interlaced-text.png": encoded(grey, pnginfo=_text()),
        "grey.jpg": encoded(grey, "JPEG"),
        "rgb.jpg": encoded(rgb, "JPEG"),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "rotated.jpg": encoded(rgb, "JPEG", exif=exif),
        "rotated.png": encoded(rgb, "PNG", exif=exif),
        "grey.tif": encoded(grey, "TIFF"),
        "rgb.tif": encoded(rgb, "TIFF"),
        "cmyk.tif": encoded(rgb.convert("CMYK"), "TIFF"),
        "palette.tif": encoded(rgb.quantize(64), "TIFF"),
        "bits-16.tif": encoded(Image.fromarray(deep), "TIFF"),
        "float.tif": encoded(Image.fromarray(deep.astype(np.float32) / 7), "TIFF"),
        "int32.tif": encoded(Image.fromarray(deep.astype(np.int32) - 9), "TIFF"),
        "bilevel-g4.tif": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "grey.webp": encoded(grey, "WEBP"),
        "lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "alpha.webp": encoded(rgba, "WEBP"),
        "grey.bmp": encoded(grey, "BMP"),
        "rgb.bmp": encoded(rgb, "BMP"),
        "tall.png": encoded(Image.fromarray(chest(8, 190)[:, :10])),
    }
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        made[f"{compression}.tif"] = encoded(grey, "TIFF", compression=compression)
    for name, content in made.items():
        yield b"sound/" + name.encode(), content, ROW
    # What a file is, its content says.
    yield b"wrong-extension/jpeg.png", made["grey.jpg"], ROW
    yield b"wrong-extension/png.jpg", made["grey.png"], ROW
    yield b"wrong-extension/png.txt", made["rgb.png"], ROW
    yield b"wrong-extension/tiff.csv", made["grey.tif"], ROW
    yield b"wrong-extension/png.dcm", encoded(Image.fromarray(chest(71))), ROW
    yield b"wrong-extension/webp", made["grey.webp"], ROW
    yield b"wrong-extension/dicom.png", film(chest(72), SOPInstanceUID="1.72"), ROW


def _text() -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Patient", "Doe^Jane")
    return info


def _dicom() -> Iterator[Case]:
    deep = chest(8).astype(np.uint16) * 16
    bits = {"BitsStored": 12, "HighBit": 11}
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    made: list[tuple[str, dict[str, Any], set[str]]] = [
        ("plain", {}, ROW),
        ("monochrome1", {"PhotometricInterpretation": "MONOCHROME1"}, ROW),
        ("windowed", {"WindowCenter": 2000, "WindowWidth": 900}, ROW),
        ("rescaled", {"RescaleSlope": 2, "RescaleIntercept": -100}, ROW),
        ("cr", {"Modality": "CR"}, ROW),
        ("rf", {"Modality": "RF"}, ROW),
        ("ct", {"Modality": "CT"}, {"wrong_modality"}),
        ("mr", {"Modality": "MR"}, {"wrong_modality"}),
        ("by-class", {"Modality": None}, ROW),
        ("dr", {"Modality": "DR"}, ROW),
        ("none", {"Modality": None, "SOPClassUID": "1.2.3", "meta": ""}, {"wrong_modality"}),
        ("hand", {"BodyPartExamined": "HAND"}, {"wrong_body_part"}),
        ("part", {"BodyPartExamined": "SOMEWHERE"}, ROW),
        ("negative", {"RescaleSlope": -1, "RescaleIntercept": 4095, **window}, ROW),
        ("padded", {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 9}, ROW),
        ("narrow", {"WindowCenter": 1, "WindowWidth": 0}, ROW),
        ("outside", {"WindowCenter": 90_000, "WindowWidth": 9}, {"no_contrast"}),
        ("function", {"VOILUTFunction": "GAMMA", **window}, ROW),
        ("beyond", {"RescaleSlope": "1e300", "RescaleIntercept": "1e300", **window}, {"any"}),
        ("burned", {"BurnedInAnnotation": "YES"}, {"burned_in"}),
        ("raw", {"PresentationIntentType": "FOR PROCESSING"}, {"for_processing"}),
        ("frames", {"NumberOfFrames": 4}, {"multi_frame"}),
        ("colour", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, {"truncated"}),
        ("palette", {"PhotometricInterpretation": "PALETTE COLOR"}, {"damaged"}),
        ("no-pixels", {"PixelData": None}, {"no_pixels"}),
        ("bomb", {"Rows": 65_000, "Columns": 65_000}, {"too_large"}),
        ("short", {"Rows": 100}, {"truncated"}),
    ]
    for number, (name, tags, allowed) in enumerate(made):
        content = film(deep, **bits, **tags, SOPInstanceUID=f"1.8.{number}")
        yield f"dicom/{name}.dcm".encode(), content, allowed
        if allowed == ROW:
            yield f"dicom/{name}".encode(), film(deep + 1, **bits, **tags), ROW
    whole = film(deep + 2, **bits, SOPInstanceUID="1.8.100")
    length = int.from_bytes(whole[140:144], "little")
    yield b"dicom/bare/meta.dcm", whole[132:], ROW
    yield b"dicom/bare/set", whole[144 + length :], ROW
    yield b"dicom/bare/cut", whole[144 + length : -90], {"truncated"}
    yield b"dicom/bare/start", whole[144 + length :][:60], {"not_an_image"}
    colours = np.dstack([(deep // 16).astype(np.uint8)] * 3)
    rgb = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    yield b"dicom/grey-rgb", film(colours, **rgb), ROW
    colours[..., 1] //= 2
    yield b"dicom/true-colour", film(colours, **rgb), {"not_grey"}
    yield b"dicom/empty.dcm", b"\0" * 128 + b"DICM", {"no_pixels"}
    yield b"DICOMDIR", b"\0" * 128 + b"DICM", {"ignored"}


def _odd_pixels() -> Iterator[Case]:
    values = chest(9).astype(np.float32)
    for name, bad in (("nan", np.nan), ("inf", np.inf)):
        holed = values.copy()
        holed[3, 3] = bad
        yield f"odd/{name}.tif".encode(), encoded(Image.fromarray(holed), "TIFF"), {"bad_values"}
    frames = [Image.fromarray(chest(number)) for number in (10, 11)]
    for kind in ("PNG", "TIFF", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        yield f"odd/animated.{kind.lower()}".encode(), data, {"multi_frame"}
    yield b"odd/animated.gif", encoded(frames[0], "GIF", save_all=True), {"unsupported"}
    yield b"odd/still.gif", encoded(frames[0], "GIF"), {"unsupported"}
    yield from _deep()
    rgb16 = _rgb16_tiff()
    yield b"odd/rgb-16.tif", rgb16, ROW
    strip = Image.fromarray(np.zeros((1, 20_000), np.uint8))
    yield b"odd/strip.png", encoded(strip), {"strip"}
    yield b"odd/strip-tall.png", encoded(strip.rotate(90, expand=True)), {"strip"}
    yield b"odd/strip-thin.jpg", encoded(strip.resize((20_000, 3)), "JPEG"), {"strip"}
    for side in (8001, 20_000, 60_000, 2**31 - 1):
        yield f"odd/bomb-{side}.png".encode(), png_bomb(side, side), {"too_large", "damaged"}
    yield b"odd/bomb-flat.png", png_bomb(2**31 - 1, 1), {"strip", "too_large", "damaged"}


def _deep() -> Iterator[Case]:
    """More than 8 bits, and what Pillow does not read: each as the grey film."""
    import imagecodecs
    import tifffile

    def tiff(values: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, values, **options)
        return file.getvalue()

    grey = chest(12).astype(np.uint16) * 16 + 5
    three, opaque = np.dstack([grey] * 3), np.full_like(grey, 65_535)
    made: dict[str, bytes] = {
        "white-is-zero.tif": tiff(65_535 - grey, photometric="miniswhite"),
        "white-is-zero-big.tif": tiff(65_535 - grey, photometric="miniswhite", byteorder=">"),
        "planar.tif": tiff(three.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        "uint32.tif": tiff(grey.astype(np.uint32), photometric="minisblack"),
        "float64.tif": tiff(grey / 3, photometric="minisblack"),
        "tiled-lzw.tif": tiff(grey, photometric="minisblack", tile=(16, 16), compression="lzw"),
        "rgb.png": imagecodecs.png_encode(three),
        "rgba.png": imagecodecs.png_encode(np.dstack([three, opaque])),
        "grey-alpha.png": imagecodecs.png_encode(np.dstack([grey, opaque])),
        "lossless.jpg": imagecodecs.jpeg8_encode(grey, lossless=True, bitspersample=16),
        "12-bit.jpg": imagecodecs.jpeg8_encode(grey, level=95, bitspersample=12),
        "film.jls": imagecodecs.jpegls_encode(grey),
        "film.jp2": imagecodecs.jpeg2k_encode(grey, level=0, reversible=True),
        "film.j2k": imagecodecs.jpeg2k_encode(chest(13), level=0, codecformat="j2k"),
    }
    for name, data in made.items():
        yield f"deep/{name}".encode(), bytes(data), ROW
        yield f"deep/cut/{name}".encode(), bytes(data)[: len(data) * 2 // 3], BROKEN
    cmyk = tiff(np.dstack([three, opaque]), photometric="separated")
    yield b"deep/cmyk.tif", cmyk, {"unsupported"}
    blank = np.full((64, 64), 77, np.uint8)
    yield b"blank/grey.png", encoded(Image.fromarray(blank)), {"no_contrast"}
    yield b"blank/deep.png", imagecodecs.png_encode(blank.astype(np.uint16) * 9), {"no_contrast"}
    blank[3, 5:20] = 0
    yield b"blank/nearly.png", encoded(Image.fromarray(blank)), {"no_contrast"}
    yield b"blank/1x1.jpg", encoded(Image.fromarray(blank[:1, :1]), "JPEG"), {"no_contrast"}
    yield b"blank/film.dcm", film(blank.astype(np.uint16), SOPInstanceUID="1.77"), {"no_contrast"}


def _rgb16_tiff() -> bytes:
    import struct

    pixels = (np.dstack([chest(1), chest(2), chest(3)]).astype("<u2") * 257).tobytes()
    tags = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 3, 8 + len(pixels)), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, 64)]
    tags += [(279, 4, 1, len(pixels))]
    start = 8 + len(pixels) + 6
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    bits = struct.pack("<HHH", 16, 16, 16)
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", start) + pixels + bits + ifd


def _cut(rng: np.random.Generator) -> Iterator[Case]:
    noise = rng.integers(0, 256, (48, 48), dtype=np.uint8)
    whole = {kind: encoded(Image.fromarray(noise), kind) for kind in ("PNG", "JPEG", "TIFF")}
    whole |= {kind: encoded(Image.fromarray(noise), kind) for kind in ("WEBP", "BMP")}
    whole["DICOM"] = film(noise.astype(np.uint16), SOPInstanceUID="1.99")
    for kind, data in whole.items():
        for number in range(14):
            length = int(rng.integers(12, len(data) - 60))
            allowed = BROKEN | {"not_an_image"}
            if kind == "DICOM":
                allowed |= {"no_pixels", "wrong_modality"}
            yield f"cut/{kind}-{number}".encode(), data[:length], allowed
        yield f"cut/{kind}-1-byte".encode(), data[:1], BROKEN | {"not_an_image"}
        yield f"cut/{kind}-empty".encode(), b"", {"empty"}
        for number in range(4):  # flipped bytes in the middle: a picture or a refusal, no crash
            spoiled = bytearray(data)
            for place in rng.integers(20, len(data), 12):
                spoiled[place] ^= 0xA5
            yield f"spoiled/{kind}-{number}".encode(), bytes(spoiled), {"any"}


def _no_images() -> Iterator[Case]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", png())
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    yield b"none/films.zip", packed.getvalue(), {"archive"}
    yield b"none/films.png", packed.getvalue(), {"archive"}
    yield b"none/films.tar", tarred.getvalue(), {"archive"}
    yield b"none/films.tar.gz", gzip.compress(tarred.getvalue()), {"archive"}
    yield b"none/bomb.gz", gzip.compress(bytes(50 << 20)), {"archive"}
    yield b"none/films.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50), {"archive"}
    yield b"none/text.png", b"this is not a film\n" * 9, {"not_an_image"}
    yield b"none/page.png", b"<html><body>404</body></html>", {"not_an_image"}
    yield b"none/zeros.jpg", bytes(5000), {"not_an_image"}
    yield b"none/script.png", b"#!/bin/sh\nrm -rf /\n", {"not_an_image"}
    yield b"none/pickle.png", b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix", {"not_an_image"}
    yield b"none/report.pdf.png", b"%PDF-1.7\n%" + bytes(100), {"unsupported"}
    yield b"none/empty.png", b"", {"empty"}
    yield b"none/empty", b"", {"empty"}
    for name in (b"readme.txt", b"labels.csv", b"meta.json", b".DS_Store", b"Thumbs.db"):
        yield b"none/" + name, b"a,b\n1,2\n", {"ignored"}
    yield b"__MACOSX/film.png", b"\0\5\x16\7", {"ignored"}
    yield b".hidden/film.png", png(), {"ignored"}


def _names() -> Iterator[Case]:
    names = [
        *("newline\nin name.png", 'quote\'s "and" more.png', "ümläut – 胸部.png", "🫁.png"),
        *("tab\there.png", "=cmd|' /C calc'!A0.png", "a;drop table.png", "x' OR '1'='1.png"),
        *("-rf.png", "~.png", "$(touch pwned).png", "%00.png", "back\\slash.png"),
        *("\u202egnp.exe.png", "e\u0301.png", "\u00e9.png", "a" * 240 + ".png", " lead.png"),
        *("trail .png", "<script>alert(1)</script>.png"[:8] + ".png", "\u2028line.png"),
        *("CON.png", "{x}.png", "[b]bold[/b].png"[:3] + ".png", "a,b.png", "#.png", "?.png"),
    ]
    for number, name in enumerate(names):
        yield b"names/" + name.encode(), png(200 + number, 16), ROW
    yield b"names/\xff\xfe latin \xe9.png", png(300, 16), ROW
    yield b"names/deep/" + b"/".join([b"d"] * 40) + b"/film.png", png(301, 16), ROW


def _large() -> Iterator[Case]:
    def striped(height: int, width: int, dtype: Any) -> Any:
        rows = np.arange(height, dtype=dtype) % 200
        return np.repeat(rows[:, None], width, axis=1)

    grey = Image.fromarray(striped(7000, 9000, np.uint8))
    yield b"large/63-megapixels.png", encoded(grey, compress_level=1), ROW
    yield b"large/63-megapixels.jpg", encoded(grey.convert("RGB"), "JPEG"), ROW
    deep = Image.fromarray(striped(6000, 8000, np.uint16))
    yield b"large/48-megapixels-16-bit.tif", encoded(deep, "TIFF"), ROW
    yield b"large/25-megapixels.dcm", film(striped(5000, 5000, np.uint16)), ROW
