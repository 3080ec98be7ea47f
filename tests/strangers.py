"""Images that are not chest films, from packages that are installed anyway."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "horse.png",
    "coins.png",
    "clock_motion.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "page.png",
    "text.png",
    "color.png",
)
TEXTURES = ("brick.png", "grass.png", "gravel.png")
#: Eyes, cells, stained tissue, a head phantom.
MEDICAL = ("retina.jpg", "microaneurysms.png", "cell.png", "ihc.png", "phantom.png")
#: CT, MR, ultrasound, dose, of heads, livers and bodies.
DICOM = (
    "CT_small",
    "MR_small",
    "J2K_pixelrep_mismatch",
    "examples_jpeg2k",
    "examples_overlay",
    "examples_palette",
    "examples_rgb_color",
    "examples_ybr_color",
    "693_J2KI",
    "JPEG2000",
    "liver_1frame",
    "rtdose_1frame",
)


def strangers(seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """(kind, uint8 image) of some 850 images: whole ones, and squares cut out of them."""
    random = np.random.default_rng(seed)
    return [
        *_digits(),
        *_faces(),
        *_pictures("photograph", PHOTOGRAPHS, random, 12, 60),
        *_sample_photographs(random),
        *_pictures("texture", TEXTURES, random, 25, 40),
        *_pictures("other medical", MEDICAL, random, 8, 60),
        *_dicom(random),
        *_noise(random),
    ]


def _digits() -> Iterator[tuple[str, np.ndarray]]:
    from sklearn.datasets import load_digits

    for digit in load_digits().images[::6]:
        yield "digit", _full_range(np.kron(digit, np.ones((4, 4))))


def _faces() -> Iterator[tuple[str, np.ndarray]]:
    from skimage import data

    for face in data.lfw_subset()[:100]:
        yield "face", _full_range(face)


def _sample_photographs(random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    from sklearn.datasets import load_sample_images

    for image in load_sample_images().images:
        yield "photograph", image
        yield from (("photograph", square) for square in _squares(image, 20, random, 100))


def _pictures(
    kind: str, names: tuple[str, ...], random: np.random.Generator, count: int, least: int
) -> Iterator[tuple[str, np.ndarray]]:
    from PIL import Image
    from skimage import data

    for name in names:
        with Image.open(Path(data.__file__).parent / name) as file:
            image = np.asarray(file.convert("RGB"))
        yield kind, image
        yield from ((kind, square) for square in _squares(image, count, random, least))


def _dicom(random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    for name in DICOM:
        pixels = pydicom.dcmread(folder / f"{name}.dcm", force=True).pixel_array
        while pixels.ndim > 2 and not (pixels.ndim == 3 and pixels.shape[-1] == 3):
            pixels = pixels[0]
        image = _full_range(pixels)
        yield "other modality", image
        yield from (("other modality", square) for square in _squares(image, 6, random, 40))


def _noise(random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    from scipy.ndimage import gaussian_filter

    for _ in range(40):
        yield "noise", random.integers(0, 256, (28, 28), dtype=np.uint8)
        blurred = gaussian_filter(random.normal(size=(64, 64)), random.uniform(1, 8))
        yield "noise", _full_range(blurred)
    for level in (0, 64, 128, 255):
        yield "flat", np.full((28, 28), level, np.uint8)


def _squares(
    image: np.ndarray, count: int, random: np.random.Generator, least: int
) -> Iterator[np.ndarray]:
    height, width = image.shape[:2]
    for _ in range(count):
        side = int(random.integers(min(least, height, width), min(height, width) + 1))
        top = int(random.integers(0, height - side + 1))
        left = int(random.integers(0, width - side + 1))
        yield image[top : top + side, left : left + side]


def _full_range(values: np.ndarray) -> np.ndarray:
    low, high = float(np.min(values)), float(np.max(values))
    scaled = (np.asarray(values, np.float64) - low) / max(high - low, 1e-9)
    return (255 * scaled).round().astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """An image as the store keeps it."""
    from ingest.images.pixels import thumbnail

    return thumbnail(np.ascontiguousarray(image))


def from_png(data: bytes) -> np.ndarray:
    """The pixels of a PNG."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))
