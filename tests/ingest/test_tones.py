"""Which values of a film become black and white: robust, and the same for every kind of number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.images.tones import stretch, value_range
from tests.ingest.films import chest


def ends(film: npt.NDArray[Any]) -> tuple[float, float]:
    values, counts = np.unique(film, return_counts=True)
    return value_range(values, counts)


def deep(largest: int, side: int = 128, dtype: Any = np.uint16) -> npt.NDArray[Any]:
    """A film of many values from a little above 0 to ``largest``."""
    film = chest(3, side).astype(np.float64)
    film = (film - film.min()) / (film.max() - film.min())
    return np.asarray(np.rint((0.02 + 0.98 * film) * largest).astype(dtype))


@pytest.mark.parametrize("largest", [300, 1023, 1024, 4095, 4100, 5000, 20_000, 65_534])
def test_a_film_without_outliers_is_read_from_its_smallest_to_its_largest_value(largest):
    film = deep(largest)
    assert ends(film) == (film.min(), film.max())


@pytest.mark.parametrize("side", [24, 64, 128, 512])
@pytest.mark.parametrize("value", [0, 4096, 8000, 65_535])
def test_a_lone_outlier_changes_nothing(side, value):
    film = deep(3000, side) + np.uint16(1000)
    spoiled = film.copy()
    spoiled[2, 2] = value
    before, after = ends(film), ends(spoiled)
    assert np.abs(np.subtract(before, after)).max() < 0.05 * 3000


def test_dead_pixels_and_a_burned_in_marker_change_nothing():
    film = deep(3000, 512) + np.uint16(500)
    spoiled = film.copy()
    places = np.random.default_rng(0).integers(0, film.size, 40)
    spoiled.ravel()[places] = np.random.default_rng(1).integers(0, 65_536, 40)
    spoiled[10:46, 10:46] = 65_535  # half a hundredth of the film
    assert np.abs(np.subtract(ends(film), ends(spoiled))).max() < 0.05 * 3000


def test_a_bright_region_of_its_own_tones_keeps_them():
    film = deep(3000, 512)
    metal = film.copy()
    metal[200:240, 200:240] = np.linspace(3100, 3900, 1600).reshape(40, 40).astype(np.uint16)
    low, high = ends(metal)
    assert high == 3900
    shown = stretch(metal, low, high)[200:240, 200:240]
    assert len(np.unique(shown)) > 50


def test_what_is_farther_away_is_white_and_no_darker_than_the_rest():
    film = deep(3000, 256)
    film[5:20, 5:20] = 40_000
    shown = stretch(film, *ends(film))
    assert (shown[5:20, 5:20] == 255).all()
    assert shown[30:].max() >= 254 and shown.std() > 30


def test_collimator_and_direct_exposure_are_part_of_the_range():
    film = deep(3000, 256) + np.uint16(400)
    film[:60] = 0
    film[-20:] = 4095
    assert ends(film) == (0, 4095)


def test_few_values():
    film = np.repeat(np.arange(8, dtype=np.uint16) * 500, 500).reshape(40, 100)
    assert ends(film) == (0, 3500)
    assert ends(np.array([[0, 9000]], np.uint16)) == (0, 9000)
    assert ends(np.full((9, 9), 77)) == (77, 77)
    field = np.zeros((100, 100), np.uint16)
    field[:13, :13] = np.arange(169).reshape(13, 13) * 10 + 1000  # 98 % is one value
    assert ends(field) == (0, field.max())


def test_eight_bits_widened_to_sixteen_keep_the_range_of_eight():
    film = np.clip(chest(1), 20, 200)
    wide = film.astype(np.uint16) * 257
    assert ends(wide) == (0, 65_535)
    np.testing.assert_array_equal(stretch(wide, *ends(wide)), film)
    wide[3, 3] += 1
    assert ends(wide) == (wide.min(), wide.max())


@given(
    st.integers(1, 60_000),
    st.sampled_from([np.uint16, np.int32, np.uint32, np.float32]),
    st.integers(-5, 5),
)
def test_the_same_film_in_other_numbers_is_the_same_film(largest, dtype, shift):
    plain = deep(max(largest, 300), 32, np.float64)
    other = (plain + (shift * 7 if dtype in (np.int32, np.float32) else abs(shift))).astype(dtype)
    one, two = (stretch(each, *ends(each)).astype(int) for each in (plain, other))
    assert np.abs(one - two).max() <= 1


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.data())
def test_ends_are_in_order_and_among_the_values(values, data):
    there = np.unique(np.array(values, np.float64))
    counts = np.array([data.draw(st.integers(1, 10_000)) for _ in there])
    low, high = value_range(there, counts)
    assert low <= high
    assert (low in there and high in there) or (low, high) == (0, 65_535)
    if len(there) > 1 and counts.max() < 0.9 * counts.sum():
        assert low < high


def test_stretch_cuts_off_what_lies_beyond():
    values = np.array([-5.0, 0, 60, 100, 1e9])
    np.testing.assert_array_equal(stretch(values, 0, 100), [0, 0, 153, 255, 255])
    assert stretch(values, 3, 3).max() == 0
