"""What a file is that is no image, in words that help whoever passed it."""

from __future__ import annotations

import io

from store.errors import BadImage

_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP")
_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
_OTHERS = {
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
    b"II+\0": "a BigTIFF",
}


def unidentified(data: bytes, name: str) -> BadImage:
    """Why Pillow did not know what a file is."""
    kinds = [kind for start, kind in _ARCHIVES.items() if data.startswith(start)]
    if kinds or data[257:262] == b"ustar":
        kind = kinds[0] if kinds else "tar"
        return BadImage(
            "archive", f"{name} is a {kind} archive; unpack it and pass the folder inside"
        )
    for start, kind in _OTHERS.items():
        if data.startswith(start):
            return BadImage("unsupported", f"{name} is {kind} file; convert it to PNG")
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return BadImage("unsupported", f"{name} is a HEIF or AVIF file; convert it to PNG")
    if data.startswith((b"II*\0", b"MM\0*")) and (mode := _unknown_tiff_mode(data)):
        return BadImage(
            "unsupported", f"{name} is a TIFF of a kind that is not read ({mode}); convert it"
        )
    if data.startswith(_SIGNATURES):
        return BadImage(
            "truncated", f"{name} begins like an image but its header is cut short or damaged"
        )
    return BadImage(
        "not_an_image", f"{name} is not a PNG, JPEG, TIFF, JPEG 2000, WebP, BMP or DICOM image"
    )


def _unknown_tiff_mode(data: bytes) -> str | None:
    """What Pillow says of a sound TIFF with pixels that it does not know."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

    try:
        file = io.BytesIO(data)
        tags = ImageFileDirectory_v2(data[:8])
        file.seek(tags.next)
        tags.load(file)
        if any(at + size > len(data) for at, size in zip(tags[273], tags[279], strict=True)):
            return None
        TiffImageFile(io.BytesIO(data)).close()
    except SyntaxError as error:
        return str(error) if "unknown" in str(error) else None
    except Exception:
        return None
    return None
