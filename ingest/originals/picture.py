"""Pictures of originals for figures and hand-outs: 8 bits, through a window, of a given size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from ingest.images.dicom.tones import Window
from ingest.images.pixels import looked_up
from ingest.originals.film import Original, OriginalUnavailable, Preset
from ingest.originals.kept import MOST_DECODERS
from ingest.originals.reading import read_original_of
from ingest.record import Pixels
from store import Row


def picture(original: Original, longest: int, preset: Preset | None = None) -> Pixels:
    """A film as it is to be seen, bright is dense.

    Args:
        original: the film.
        longest: of its sides, in pixels; a smaller film stays as it is.
        preset: to see it through; its own default when ``None``.

    Returns:
        uint8 (height, width) or (height, width, 3).
    """
    values = original.values
    index = values.view(np.uint16) if values.dtype == np.int16 else values
    table = _table(original, preset or original.presets[0])
    image = Image.fromarray(looked_up(table, np.ascontiguousarray(index)))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(image)


def pictures(
    uri: str, rows: Sequence[Row], longest: int
) -> dict[str, Pixels | OriginalUnavailable]:
    """Pictures of stored films by id, or why there is none; a few are decoded at once.

    Args:
        uri: of their gallery.
        rows: the films.
        longest: of their sides, in pixels.
    """

    def made(row: Row) -> Pixels | OriginalUnavailable:
        try:
            return picture(read_original_of(uri, row), longest)
        except OriginalUnavailable as error:
            return error

    with ThreadPoolExecutor(MOST_DECODERS, "picture") as pool:
        return dict(zip((row.id for row in rows), pool.map(made, rows), strict=True))


def _table(original: Original, preset: Preset) -> npt.NDArray[np.uint8]:
    """What becomes of each bit pattern of the film's values; uint8 (256,) or (65536,)."""
    dtype = original.values.dtype
    patterns = np.arange(1 << (8 * dtype.itemsize)).astype(dtype)  # of int16 in patterns' order
    stored = patterns.astype(np.float64)
    if preset.table is not None:
        entries = np.clip(stored - preset.first, 0, len(preset.table) - 1)
        seen = preset.table[entries.astype(np.intp)]
    else:
        assert preset.centre is not None and preset.width is not None
        values = np.asarray(stored * original.slope + original.intercept, np.float64)
        window = Window(preset.function, preset.centre, preset.width)
        seen = np.rint(window.of(values, 0, 255)).astype(np.uint8)
    return ~seen if original.inverted else seen
