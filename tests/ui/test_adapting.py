"""``cxr adapt`` as people use it: exit codes, JSON, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from store import EncoderStamp, Gallery, Row
from tests.ui.running import Cxr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Vectors of three splits in which a class shows faintly, and a coin toss beside it."""
    random = np.random.default_rng(0)
    gallery = Gallery.create(tmp_path / "store", EncoderStamp("gone", "ab" * 32, 16))
    rows = []
    for split, count in {"train": 160, "val": 80, "test": 60}.items():
        vectors = random.normal(size=(count, 16)) * np.geomspace(6, 0.3, 16)
        classes = np.arange(count) % 2
        vectors[:, -1] += 2 * classes
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows += [
            Row(
                id=f"{split}/{i}",
                sha256=random.bytes(32),
                embedding=vectors[i].astype(np.float32),
                labels=(("normal", "pneumonia")[classes[i]],),
                split=split,
                extra={"toss": bool(random.random() < 0.5)},
            )
            for i in range(count)
        ]
    gallery.upsert(rows)
    return tmp_path / "store"


def test_an_encoder_is_made_and_its_gallery_with_it(cxr: Cxr, store: Path, tmp_path: Path) -> None:
    out, into = tmp_path / "knows", tmp_path / "adapted"
    done = cxr(
        *("adapt", str(out), "--store", str(store), "--into", str(into)), "--linear", "--json"
    )
    assert done.code == 0, done.err
    found = done.document
    assert found["accepted"] and found["folder"] == str(out)
    assert {one["protocol"] for one in found["figures"]} == {"split", "leave-one-out"}
    assert found["into"]["rows"] == 300 and found["into"]["encoder"] == "knows"
    assert "sentences are not measured" in done.err
    assert found["no_text"].startswith("its base was not here")
    # the base is not on this machine: searching by id works, the rest says what is missing
    assert cxr("search", "--store", str(into), "--id", "test/0").code == 0
    refused = cxr("search", "--store", str(into), "--text", "clear lungs")
    assert refused.code == 1 and "is a map on encoder gone" in refused.err
    again = cxr("adapt", str(out), "--store", str(store), "--into", str(tmp_path / "second"))
    assert again.code == 0 and "used as it is" in again.err
    elsewhere = cxr(
        *("adapt", str(tmp_path / "late"), "--store", str(store)), "--into", str(into), "--linear"
    )
    assert elsewhere.code == 2 and "something at" in elsewhere.err
    assert not (tmp_path / "late").exists()  # said before anything is learnt
    taken = cxr("adapt", str(out), "--store", str(store))
    assert taken.code == 2 and "holds an adapted encoder already" in taken.err


def test_labels_that_do_not_help_are_refused(cxr: Cxr, store: Path, tmp_path: Path) -> None:
    done = cxr(
        *("adapt", str(tmp_path / "out"), "--store", str(store), "--linear"),
        *("--by", "toss", "--json"),
    )
    assert done.code == 1 and "these labels do not help this encoder" in done.err
    assert done.document["accepted"] is False
    assert "80 films may be too few to be sure: with --val none, folds judge, about 160" in done.err
    folds = cxr(
        *("adapt", str(tmp_path / "out"), "--store", str(store), "--linear"),
        *("--by", "toss", "--val", "none"),
    )
    assert folds.code == 1 and "--val" not in folds.err  # what it named did not help, either
    assert not (tmp_path / "out").exists()
    wrong = cxr("adapt", str(tmp_path / "out"), "--store", str(store), "--val", "dev")
    assert wrong.code == 2 and "no split 'dev' in this gallery" in wrong.err
