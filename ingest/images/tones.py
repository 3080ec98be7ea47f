"""Range of a film's values: the ends that become black and white.

For every film that says nothing about it itself: 16-bit PNG and TIFF, and DICOM without a window or
look-up table. It is the smallest to the largest value, as dcm2pnm's ``+Wm`` takes it and
MIMIC-CXR-JPG did, but without what lies off from the rest: a single hot or dead pixel, or the white
of a marker that was burned in, would leave the chest nearly black. Fixed percentiles (nnU-Net's 0.5
and 99.5, scikit-image's 2 and 98) would do that as well, and would cut the top off every clip,
tooth and pacemaker that is whole. So an end is Tukey's whisker ("Exploratory Data Analysis", 1977):
the outermost value that there is within a fence, and the fence is far away in the measure of the
film's own spread. A film without outliers goes from its smallest to its largest value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: A fence stands off from the quantile of this part of the pixels, by this multiple of the spread;
#: an end has to be inside of all of them. Of a few pixels (fifty in a film of 512 x 512) none
#: is far from the others unless it is damaged. A marker has up to a hundredth of the pixels; metal
#: and direct exposure go on where tissue ends.
_FENCES = ((1 / 5000, 0.05), (1 / 50, 0.5))
#: The spread is that between the quantiles of this part at either end.
_ENDS = 1 / 50
#: From this many pixels on, one of them may be an outlier.
_LONE = 500
#: Factor of 8 bits that a program widened to 16: 255 becomes 65,535.
_WIDENED = 257


def value_range(values: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """The values that are to be 0 and 255; those beyond are cut off.

    What is 8 bits widened to 16, every value a multiple of 257, keeps the range of 8 bits, and is
    the same film as in an 8-bit file.

    Args:
        values: those that occur, ascending, each once; finite, of any type.
        counts: how many pixels have each, int64, of the same length.

    Returns:
        The low and the high value, both among ``values`` but for widened 8 bits; equal only where
        there is one value.
    """
    exact = np.asarray(values, np.float64)
    if _is_widened(exact):
        return 0.0, 255.0 * _WIDENED
    upwards = np.cumsum(counts)
    total = int(upwards[-1])

    def quantiles(part: float) -> tuple[float, float]:
        beyond = int(total * part)
        if beyond == 0 and total >= _LONE:
            beyond = 1
        last = np.searchsorted(upwards, total - beyond)
        return float(exact[np.searchsorted(upwards, beyond, "right")]), float(exact[last])

    low, high = quantiles(_ENDS)
    fences: tuple[tuple[float, float], ...] = _FENCES
    if low == high:  # nearly all of it is one value, as around a small field
        low, high = quantiles(_FENCES[0][0])
        fences = _FENCES[:1]
    spread = high - low
    if spread == 0:
        return float(exact[0]), float(exact[-1])
    lowest, highest = -np.inf, np.inf
    for part, distance in fences:
        low, high = quantiles(part)
        lowest = max(lowest, low - distance * spread)
        highest = min(highest, high + distance * spread)
    first = int(np.searchsorted(exact, lowest))
    last = int(np.searchsorted(exact, highest, "right")) - 1
    return float(exact[first]), float(exact[last])


def _is_widened(values: npt.NDArray[np.float64]) -> bool:
    if len(values) < 2 or values[0] < 0 or values[-1] > 255 * _WIDENED:
        return False
    return not np.mod(values, _WIDENED).any()


def stretch(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Map low..high to 0..255, rounded, what lies beyond to the ends.

    All black when there is no range.
    """
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = (np.asarray(values, np.float64) - low) * (255.0 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
