"""DICOM films and image files that tests make."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def film(values: npt.NDArray[Any], *, syntax: str | None = None, **tags: Any) -> bytes:
    """A DX film of some stored values; a tag of None is left out.

    Args:
        syntax: UID of a transfer syntax to compress to, by what is installed.
        tags: elements by keyword; ``meta`` is the storage class in the file meta information.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    uid = tags.pop("SOPInstanceUID", "1.2.3.4")
    class_ = tags.pop("meta", DigitalXRayImageStorageForPresentation)
    meta.MediaStorageSOPClassUID = class_
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("film", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid
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
    if syntax is not None:
        dataset.compress(syntax)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=bool(class_))
    return file.getvalue()


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chest(seed: int = 0, side: int = 64) -> npt.NDArray[np.uint8]:
    """Two dark lungs in a bright chest, with noise: smooth enough for lossy formats."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    lungs = np.exp(-(((np.abs(x) - 0.45) / 0.3) ** 2) - (y / 0.7) ** 2)
    noise = np.random.default_rng(seed).normal(0, 4, (side, side))
    return np.clip(210 - 150 * lungs + 20 * y + noise, 0, 255).astype(np.uint8)


def png(seed: int = 0, side: int = 64) -> bytes:
    return encoded(Image.fromarray(chest(seed, side)))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG whose header says that it is huge."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", b""), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write(root: Path, relative: str, data: bytes | str) -> Path:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
        path.write_text(data)
    else:
        path.write_bytes(data)
    return path
