"""The mirror follows the table, also when another process wrote; one answer, one version."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from store import EncoderMismatch, Gallery, StoreNotFound, Where
from tests.store.rows import (
    OTHER,
    STAMP,
    make_rows,
    mirror_of,
    random_vectors,
    small_gallery,
    table_of,
)

WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from store import Gallery
    from tests.store.rows import make_rows, random_vectors
    gallery = Gallery.open(sys.argv[1])
    stop = Path(sys.argv[1], "..", "stop")
    generation = 0
    while generation == 0 or not stop.exists():
        gallery.upsert(make_rows(random_vectors(40, seed=generation), [(f"g{generation}",)] * 40))
        print(f"g{generation}", flush=True)
        generation += 1
    """
)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return small_gallery(tmp_path / "store")


def write_elsewhere(gallery: Gallery) -> subprocess.Popen[str]:
    """A process that writes one generation after another until the file ``stop`` is there."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, gallery.uri], stdout=subprocess.PIPE, text=True
    )


def test_a_search_during_an_ingestion_elsewhere_answers_from_one_version(
    gallery: Gallery,
) -> None:
    assert not gallery.refresh()
    version = gallery.table_version
    writer = write_elsewhere(gallery)
    query = random_vectors(1, seed=5)
    seen: set[str] = set()
    assert writer.stdout is not None
    assert writer.stdout.readline() == "g0\n"
    assert len(gallery) == 20  # a snapshot stays as it is
    try:
        while len(seen) < 5:
            assert writer.poll() is None, "the writer ended by itself"
            gallery.refresh()
            generations = {hit.row.labels[0] for hit in gallery.search(query, 20)[0]}
            assert len(generations) == 1, generations
            seen |= generations
    finally:
        Path(gallery.uri, "..", "stop").touch()
    last = writer.communicate()[0].split()[-1]
    assert writer.returncode == 0
    gallery.refresh()
    assert len(gallery) == 40 and gallery.table_version > version
    assert not gallery.refresh()
    assert {hit.row.labels[0] for hit in gallery.search(query, 20)[0]} == {last}


def test_threads_share_a_gallery_while_it_is_refreshed(gallery: Gallery) -> None:
    failures: list[BaseException] = []
    ended = threading.Event()

    def read() -> None:
        query = random_vectors(1, seed=3)
        try:
            while not ended.is_set():
                hits = gallery.search(query, 5)[0]
                scores = [hit.score for hit in hits]
                assert scores == sorted(scores, reverse=True)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for generation in range(5):
        gallery.upsert(make_rows(random_vectors(30, seed=generation), prefix="more/test/"))
        gallery.refresh()
    ended.set()
    for reader in readers:
        reader.join()
    assert not failures, failures


def test_optimize_keeps_answers(gallery: Gallery) -> None:
    for generation in range(5):
        gallery.upsert(
            make_rows(random_vectors(10, seed=generation), prefix=f"g{generation}/test/")
        )
    gallery.refresh()
    query = random_vectors(3, seed=8)
    before = gallery.search(query, 10)
    reader = Gallery.open(gallery.uri)
    gallery.optimize()
    gallery.refresh()
    after = gallery.search(query, 10)
    assert [[(h.row.id, h.score) for h in row] for row in before] == [
        [(h.row.id, h.score) for h in row] for row in after
    ]
    assert gallery.stats()["fragments"] == 1
    assert len(reader.search(query, 10)[0]) == 10


def test_a_version_cleaned_away_under_a_reader_is_followed(gallery: Gallery) -> None:
    reader = Gallery.open(gallery.uri)
    assert len(reader) == 20
    gallery.upsert(make_rows(random_vectors(20, seed=7)))
    gallery.optimize(keep=timedelta(0))
    hits = reader.search(random_vectors(1), 5)[0]
    assert len(hits) == 5


def test_dropped_and_made_again_by_the_same_encoder(gallery: Gallery) -> None:
    shutil.rmtree(gallery.uri)
    with pytest.raises(StoreNotFound):
        gallery.refresh()
    again = Gallery.create(gallery.uri, STAMP)
    again.upsert(make_rows(random_vectors(3, seed=1), prefix="new/test/"))
    assert gallery.refresh()
    assert gallery.ids() == ["new/test/0", "new/test/1", "new/test/2"]


def test_made_again_by_another_encoder_is_refused(gallery: Gallery) -> None:
    shutil.rmtree(gallery.uri)
    Gallery.create(gallery.uri, OTHER)
    with pytest.raises(EncoderMismatch, match=r"other \(cdcd.*tiny \(abab"):
        gallery.refresh()


def test_the_snapshot_equals_the_table(gallery: Gallery) -> None:
    gallery.upsert(make_rows(random_vectors(35, seed=2)))
    gallery.refresh()
    snapshot = mirror_of(gallery)
    assert snapshot is not None
    stored = {
        row["id"]: row["embedding"]
        for row in table_of(gallery).search().select(["id", "embedding"]).limit(None).to_list()
    }
    assert stored.keys() == set(snapshot.ids)
    np.testing.assert_array_equal(
        snapshot.vectors, np.asarray([stored[id_] for id_ in snapshot.ids], np.float32)
    )
    assert snapshot.index.ntotal == 35
    np.testing.assert_array_equal(snapshot.index.reconstruct(7), snapshot.vectors[7])
    assert type(snapshot.index).__name__ == "IndexFlatIP"
    assert snapshot.metadata["split"].to_pylist() == ["test"] * 35


def test_every_call_survives_a_version_cleaned_away(gallery: Gallery) -> None:
    calls = {
        "row": lambda reader: reader.row("set/test/3").id,
        "thumbnails": lambda reader: list(reader.thumbnails(["set/test/3"])),
        "ids": lambda reader: reader.ids(Where(label=("normal",)))[:1],
        "facets": lambda reader: reader.facets()["labels"],
        "search_by_id": lambda reader: len(reader.search_by_id("set/test/3", 4)),
        "evaluate": lambda reader: reader.evaluate(k=[1]).queries,
    }
    readers = {name: Gallery.open(gallery.uri) for name in calls}
    assert all(len(reader) == 20 for reader in readers.values())
    gallery.upsert(make_rows(random_vectors(20, seed=7)))
    gallery.optimize(keep=timedelta(0))
    for name, call in calls.items():
        assert call(readers[name]), name
        assert readers[name].table_version > 3, name
