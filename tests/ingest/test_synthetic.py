"""The bundled cohort: what it holds, how it was made, and that it shows nobody."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingest import ImageRecord, open_source
from ingest.sources import synthetic
from store import UsageError
from tools import make_synthetic_cohort as maker


@pytest.fixture(scope="module")
def bundled() -> dict[str, npt.NDArray[np.uint8]]:
    with np.load(synthetic.path(), allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def training(data: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    with np.load(data / "pneumoniamnist.npz", allow_pickle=False) as file:
        return file["train_images"], file["train_labels"][:, 0]


def flat(bundled: dict[str, npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    return np.concatenate([bundled[f"{s}_images"] for s in synthetic.COUNTS]).reshape(-1, 784)


def test_cohort_is_a_source() -> None:
    source = open_source("synthetic")
    assert (source.name, source.total) == ("synthetic-cohort", 600)
    assert source.note == synthetic.SYNTHETIC_NOTICE and "SYNTHETIC" in source.note
    records = [record for record in source.records if isinstance(record, ImageRecord)]
    assert len({record.id for record in records}) == 600
    assert records[-1].id == "synthetic-cohort/test/159"
    assert records[-1].dataset == "synthetic-cohort"
    assert Counter((record.split, *record.labels) for record in records) == {
        (split, label): count
        for split, counts in synthetic.COUNTS.items()
        for label, count in zip(synthetic.LABELS, counts, strict=True)
    }
    # Labels are mixed, not sorted.
    assert {record.labels for record in records[-20:]} == {("normal",), ("pneumonia",)}


def test_one_split() -> None:
    assert open_source("synthetic", splits=["val"]).total == 80


def test_the_file_says_what_it_is(bundled: dict[str, npt.NDArray[np.uint8]]) -> None:
    assert synthetic.path().stat().st_size < 600_000
    assert str(bundled["notice"]) == synthetic.SYNTHETIC_NOTICE
    assert "CC BY 4.0" in str(bundled["credit"])


def test_images_differ_and_use_the_range(bundled: dict[str, npt.NDArray[np.uint8]]) -> None:
    samples = flat(bundled)
    assert len(np.unique(samples, axis=0)) == 600
    assert samples.min() == 0 and samples.max() == 255
    assert (samples.std(axis=1) > 10).all()


def test_no_sample_is_nearer_to_a_training_image_than_these_are_to_each_other(
    bundled: dict[str, npt.NDArray[np.uint8]],
    training: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> None:
    images = training[0].reshape(-1, 784)
    distinct = np.unique(images, axis=0)
    assert len(images) - len(distinct) == 18  # exact copies, at distance 0, are no yardstick
    among = maker.nearest(distinct, distinct, itself=True)
    to_training = maker.nearest(flat(bundled), distinct)
    assert among.min() > 200
    assert to_training.min() > among.min()
    assert to_training.min() > np.quantile(among, 0.05) == maker.privacy_limit(distinct)


@pytest.mark.slow
def test_cohort_is_made_again(
    bundled: dict[str, npt.NDArray[np.uint8]],
    training: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    maker.main([str(data / "pneumoniamnist.npz"), str(tmp_path / "again.npz")])
    assert "600 samples; distance to the nearest training image: min" in capsys.readouterr().out
    with np.load(tmp_path / "again.npz", allow_pickle=False) as file:
        again = dict(file)
    assert again.keys() == bundled.keys()
    for name, array in bundled.items():
        if name.endswith("_images"):  # another machine's linear algebra may round another way
            off = np.abs(again[name].astype(int) - array)
            assert off.max() <= 1 and (off > 0).mean() < 1e-3
        else:
            np.testing.assert_array_equal(again[name], array)
    shuffled = np.random.default_rng(1).permutation(len(training[0]))
    for name, array in maker.make(training[0][shuffled], training[1][shuffled]).items():
        np.testing.assert_array_equal(array, again[name])


def test_command_needs_two_files() -> None:
    with pytest.raises(UsageError, match="usage"):
        maker.main([])


def test_samples_too_near_are_replaced() -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (40, 784), dtype=np.uint8)
    copies = training[:3].copy()
    copies[:, 0] ^= 1  # a grey level or so away
    far = rng.integers(0, 256, (4, 784), dtype=np.uint8)
    kept = maker.take(iter([np.vstack([copies, far[:2]]), far[2:]]), 4, training, 100.0)
    np.testing.assert_array_equal(kept, far)


@given(
    hnp.arrays(np.uint8, (5, 7)),
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.just(7))),
)
def test_nearest_is_what_it_says(
    images: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]
) -> None:
    direct = np.linalg.norm(images[:, None].astype(float) - others[None], axis=2)
    np.testing.assert_allclose(maker.nearest(images, others), direct.min(axis=1), atol=1e-3)
    among = np.linalg.norm(images[:, None].astype(float) - images[None], axis=2)
    np.fill_diagonal(among, np.inf)
    np.testing.assert_allclose(
        maker.nearest(images, images, itself=True), among.min(axis=1), atol=1e-3
    )
