"""A gallery copied with other vectors: all else is as it was, and it is there whole or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from store import BadRows, EncoderStamp, Gallery, UsageError, Vectors
from tests.store import bucket
from tests.store.bucket import Proxy, fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import DIMENSION, STAMP, make_rows, random_vectors, unit

NEW = EncoderStamp("mapped", "ef" * 32, 3, "/encoders/mapped")
ROOT = Path(__file__).parents[2]


def change(vectors: Vectors) -> Vectors:
    return unit(vectors @ np.random.default_rng(0).normal(size=(DIMENSION, 3)))


def filled(uri: str | Path, count: int = 30) -> Gallery:
    gallery = Gallery.create(uri, STAMP)
    rows = make_rows(random_vectors(count))
    gallery.upsert(rows[: count // 2])
    bare = make_rows(random_vectors(count), thumbnail=None, extra={"ward": 3})
    gallery.upsert(bare[count // 2 :])
    gallery.delete(ids=["set/test/3"])
    return gallery


def same(gallery: Gallery, copy: Gallery) -> None:
    ids = gallery.ids()
    assert copy.ids() == ids and copy.check() == gallery.check() and copy.stamp == NEW
    assert copy.stamp.folder == NEW.folder
    assert np.array_equal(copy.vectors(ids), change(gallery.vectors(ids)))
    assert copy.thumbnails(ids) == gallery.thumbnails(ids)
    assert copy.columns() == gallery.columns()
    rows, others = gallery.rows(ids), copy.rows(ids)
    for id_ in ids:
        for name in rows[id_].__slots__:
            if name != "embedding":
                assert getattr(rows[id_], name) == getattr(others[id_], name), name


def test_a_copy_in_a_folder(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "old")
    version = gallery.table_version
    seen: list[tuple[int, int]] = []
    place = tmp_path / "new" / "gallery"
    copy = gallery.mapped_copy(place, NEW, change, lambda *done: seen.append(done))
    same(gallery, copy)
    assert seen[-1] == (29, 29) and gallery.table_version == version
    assert [path.name for path in place.parent.iterdir()] == ["gallery"]
    copy.upsert(make_rows(random_vectors(2, 5, 3), prefix="new/"))  # it is a gallery like any other
    assert len(Gallery.open(place, NEW)) == 31 and len(Gallery.open(tmp_path / "old")) == 29
    with pytest.raises(UsageError, match="something at"):
        gallery.mapped_copy(place, NEW, change)


def test_a_copy_in_a_bucket(server: int, proxy: Proxy, tmp_path: Path) -> None:
    gallery, there = filled(tmp_path / "old"), bucket.make_bucket(server)
    same(gallery, gallery.mapped_copy(there, NEW, change))
    with pytest.raises(UsageError, match="something at"):
        gallery.mapped_copy(there, NEW, change)


def test_an_empty_gallery_may_be_copied(tmp_path: Path) -> None:
    copy = Gallery.create(tmp_path / "old", STAMP).mapped_copy(tmp_path / "new", NEW, change)
    assert len(copy) == 0 and copy.stamp == NEW


def test_vectors_that_may_not_be_stored_leave_nothing(tmp_path: Path) -> None:
    gallery = filled(tmp_path / "old")
    with pytest.raises(BadRows, match="not all of unit length"):
        gallery.mapped_copy(tmp_path / "new", NEW, lambda vectors: 2 * change(vectors))
    assert not (tmp_path / "new").exists()
    assert [path.name for path in tmp_path.iterdir() if "new" in path.name] == []


def test_a_copy_that_is_killed_is_no_gallery(tmp_path: Path) -> None:
    filled(tmp_path / "old")
    killed = f"""
import os, signal
from store import Gallery
from tests.store.test_mapped import NEW, change
def die(vectors):
    os.kill(os.getpid(), signal.SIGKILL)
Gallery.open({str(tmp_path / "old")!r}).mapped_copy({str(tmp_path / "new")!r}, NEW, die)
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT, check=False).returncode == -9
    assert not (tmp_path / "new").exists()
    gallery = Gallery.open(tmp_path / "old")
    same(gallery, gallery.mapped_copy(tmp_path / "new", NEW, change))
