"""Writing: what is refused, what is a no-op, what survives."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import (
    BadRows,
    EncoderMismatch,
    Gallery,
    StoreDamaged,
    StoreNotFound,
    UnknownId,
    UsageError,
)
from tests.store.rows import DIMENSION, OTHER, STAMP, make_rows, random_vectors, table_of, unit


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "store", STAMP)


def test_upsert_inserts_then_updates_then_leaves_alone(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(6))
    first = gallery.upsert(rows)
    assert (first.inserted, first.updated, first.unchanged) == (6, 0, 0)

    again = gallery.upsert(rows)
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 6)
    assert again.table_version == first.table_version  # no commit for nothing

    changed = replace(rows[0], sha256=b"x" * 32, embedding=unit(np.ones(DIMENSION)))
    third = gallery.upsert([changed, *rows[1:]])
    assert (third.inserted, third.updated, third.unchanged) == (0, 1, 5)
    gallery.refresh()
    np.testing.assert_array_equal(gallery.vectors([changed.id])[0], changed.embedding)
    assert len(gallery) == 6


def test_a_corrected_label_alone_is_an_update(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(3))
    gallery.upsert(rows)
    report = gallery.upsert([replace(rows[0], labels=("oedema",)), *rows[1:]])
    assert (report.updated, report.unchanged) == (1, 2)


def test_update_metadata_keeps_vector_and_picture(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(3))
    gallery.upsert(rows)
    corrected = replace(rows[1], embedding=None, labels=("a", "b"), split="val", age=7.0)
    assert gallery.update_metadata([corrected, replace(corrected, id="unknown")]) == 1
    assert gallery.update_metadata([corrected]) == 0
    gallery.refresh()
    found = gallery.row(rows[1].id)
    assert (found.labels, found.split, found.age) == (("a", "b"), "val", 7.0)
    assert found.sha256 == rows[1].sha256
    np.testing.assert_array_equal(gallery.vectors([found.id])[0], rows[1].embedding)
    assert gallery.thumbnails([found.id]) == {found.id: b"png"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda rows: [*rows, rows[0]], "occurs twice"),
        (lambda rows: [replace(rows[0], id="")], "empty id"),
        (lambda rows: [replace(rows[0], embedding=None)], "no embedding"),
        (lambda rows: [replace(rows[0], embedding=rows[0].embedding * 2)], "norm 2"),
        (lambda rows: [replace(rows[0], embedding=rows[0].embedding * np.nan)], "norm nan"),
        (lambda rows: [replace(rows[0], embedding=rows[0].embedding * np.inf)], "unit length"),
        (lambda rows: [replace(rows[0], embedding=np.zeros(DIMENSION, np.float32))], "norm 0"),
        (lambda rows: [replace(rows[0], embedding=rows[0].embedding[:-1])], r"shape \(7,\)"),
        (lambda rows: [replace(rows[0], sha256=b"short")], "5 bytes, expected 32"),
        (lambda rows: [replace(rows[0], age=float("nan"))], "age nan .* None where it is unknown"),
    ],
)
def test_bad_rows_are_refused_whole(gallery: Gallery, damage, message: str) -> None:
    rows = make_rows(random_vectors(4))
    with pytest.raises(BadRows, match=message):
        gallery.upsert(damage(rows))
    gallery.refresh()
    assert len(gallery) == 0


@settings(max_examples=10)
@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable()),
            st.lists(st.text(max_size=12), max_size=3),
            st.none() | st.text(max_size=12),
            st.none() | st.floats(0, 120),
            st.binary(max_size=60),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_rows_come_back_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, given_rows
) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    rows = [
        replace(row, id=id_, labels=tuple(labels), view=view, age=age, thumbnail=picture)
        for row, (id_, labels, view, age, picture) in zip(
            make_rows(random_vectors(len(given_rows))), given_rows, strict=True
        )
    ]
    gallery.upsert(rows)
    for row in rows:
        found = gallery.row(row.id)
        assert (found.id, found.labels, found.view, found.age, found.sha256) == (
            row.id,
            row.labels,
            row.view,
            row.age,
            row.sha256,
        )
        assert gallery.thumbnails([row.id])[row.id] == row.thumbnail


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="cxr ingest"):
        Gallery.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        Gallery.create(tmp_path / "file", STAMP)


def test_another_encoder_is_named_with_ours(gallery: Gallery) -> None:
    gallery.upsert(make_rows(random_vectors(2)))
    for open_ in (Gallery.open, Gallery.create):
        with pytest.raises(EncoderMismatch, match=r"tiny \(abab.*other \(cdcd"):
            open_(gallery.uri, OTHER)
    assert Gallery.open(gallery.uri, STAMP).stamp == STAMP
    assert len(Gallery.open(gallery.uri)) == 2


def test_a_table_of_someone_else_is_refused(tmp_path: Path) -> None:
    import lancedb

    lancedb.connect(tmp_path).create_table("gallery", [{"id": "a"}])
    with pytest.raises(StoreDamaged, match="no stamp"):
        Gallery.open(tmp_path)


def test_damaged_data_is_said_and_an_open_gallery_goes_on(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(50))
    gallery.upsert(rows)
    gallery.refresh()
    before = gallery.search(rows[0].embedding, 3)
    for path in Path(gallery.uri, "gallery.lance", "data").rglob("*.lance"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreDamaged):
        len(Gallery.open(gallery.uri))
    assert not gallery.refresh()  # the version did not move: the snapshot stays
    assert before[0][0].row.id == rows[0].id


def test_rows_by_what_they_hold_and_where_from(gallery: Gallery) -> None:
    rows = [
        replace(
            row, source=f"/a/'films/{n}.png" if n < 4 else f"/b/films/{n}.png", width=9, height=9
        )
        for n, row in enumerate(make_rows(random_vectors(6), prefix="it's/"))
    ]
    rows[3] = replace(rows[3], sha256=rows[2].sha256)
    rows = [replace(row, id=f"it's/{n}.png") for n, row in enumerate(rows)]
    rows[0] = replace(rows[0], width=0, source="e.npy#0")
    gallery.upsert(rows)
    asked = (rows[2].sha256, rows[5].sha256, b"\0" * 32, rows[2].sha256)
    assert gallery.holding(asked) == {
        rows[2].sha256: ["it's/2.png", "it's/3.png"],
        rows[5].sha256: ["it's/5.png"],
    }
    assert gallery.holding([]) == {}
    far = [(row.id, row.source, row.sha256) for row in rows[4:]]
    assert sorted(gallery.elsewhere("/a/'films", "it's/")) == far
    assert sorted(gallery.elsewhere("/a/'films/", None)) == far
    assert len(list(gallery.elsewhere("/a", "it's/"))) == 5  # not at that depth
    assert list(gallery.elsewhere("/a", "other/")) == []


@pytest.mark.parametrize("told", [{"labels"}, {"labels", "uncertain", "absent", "age"}, set()])
def test_a_row_that_is_silent_keeps_what_is_stored(gallery: Gallery, told: set[str]) -> None:
    [row] = make_rows(random_vectors(1), age=3.0, view="PA", uncertain=("x",), extra={"ward": 1})
    gallery.upsert([replace(row, told=frozenset())])  # new: there is nothing to keep
    silent = replace(row, labels=("new",), age=None, view=None, uncertain=(), extra={"bed": "b"})
    silent = replace(silent, embedding=random_vectors(1, 9)[0], sha256=bytes(32))
    report = gallery.upsert([replace(silent, told=frozenset(told))])
    stored = gallery.rows([row.id])[row.id]
    assert stored.labels == (("new",) if "labels" in told else row.labels)
    assert stored.uncertain == (() if "uncertain" in told else ("x",))
    assert (stored.age, stored.view) == (None if "age" in told else 3.0, "PA")
    assert (dict(stored.extra), stored.told) == ({"ward": 1, "bed": "b"}, None)
    wanted = {"image", "bed", *told} - {"absent"}
    assert report.changed == dict.fromkeys(wanted, 1)
    blank = replace(row, extra={"ward": None}, told=frozenset({"view"}), view="AP")
    assert gallery.update_metadata([blank]) == 1
    assert gallery.update_metadata([blank]) == 0
    stored = gallery.rows([row.id])[row.id]
    assert (stored.view, dict(stored.extra)) == ("AP", {"bed": "b"})


def test_unknown_ids(gallery: Gallery) -> None:
    gallery.upsert(make_rows(random_vectors(2)))
    for ask in (
        lambda: gallery.row("x"),
        lambda: gallery.vectors(["x"]),
        lambda: gallery.thumbnails(["x"]),
        lambda: gallery.search_by_id("x", 1),
    ):
        with pytest.raises(UnknownId, match=r"no row 'x'.*ids look like 'set/test/0'"):
            ask()
    assert gallery.rows(["x", "set/test/1"]).keys() == {"set/test/1"}


def test_check_finds_what_is_wrong(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(3), thumbnail=None)
    gallery.upsert(rows)
    assert gallery.check() == []
    table = table_of(gallery)
    table.add(  # behind the gallery's back: add() knows no primary key
        table.search()
        .select([c for c in table.schema.names if c != "thumbnail"])
        .limit(1)
        .to_arrow()
    )
    assert any("more than once: set/test/0" in problem for problem in gallery.check())
    assert (len(gallery), gallery.repair().removed) == (3, 1)
    assert gallery.check() == []


def test_two_processes_inserting_the_same_ids_leave_one_row_each(gallery: Gallery) -> None:
    script = textwrap.dedent(
        """
        import sys
        from store import Gallery
        from tests.store.rows import make_rows, random_vectors
        gallery = Gallery.open(sys.argv[1])
        for row in make_rows(random_vectors(8)):
            gallery.upsert([row])
        """
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, gallery.uri], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for writer in writers:
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors.decode()
    gallery.refresh()
    assert len(gallery) == 8


def damage_first_vector(gallery: Gallery, vector: np.ndarray) -> None:
    """Flip the lowest bit of one float of a stored vector, on disk."""
    raw = vector.astype("<f4").tobytes()
    for path in Path(gallery.uri, "gallery.lance", "data").rglob("*.lance"):
        found = path.read_bytes()
        if raw in found:
            altered = bytes([raw[0] ^ 1]) + raw[1:]
            path.write_bytes(found.replace(raw, altered))
            return
    raise AssertionError("the vector is not in the data files as it is")


def test_a_vector_that_went_bad_on_disk_is_named(gallery: Gallery) -> None:
    rows = make_rows(random_vectors(30), thumbnail=None)
    gallery.upsert(rows)
    damage_first_vector(gallery, rows[17].embedding)
    problems = Gallery.open(gallery.uri).check()
    assert any("not the ones that were written: set/test/17" in one for one in problems)


def test_another_schema_version_is_named(gallery: Gallery) -> None:
    import lancedb

    from store.table import rows

    schema = rows.table_schema(STAMP)
    old = {**schema.metadata, b"cxr.schema_version": b"1"}
    lancedb.connect(gallery.uri).create_table(
        "gallery", schema=schema.with_metadata(old), mode="overwrite"
    )
    with pytest.raises(StoreDamaged, match=r"schema version 1, this program reads 6.*ingest it"):
        Gallery.open(gallery.uri)


def test_the_loser_of_a_race_to_create_opens_what_the_winner_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.table import lance

    connect = lance.connect

    class Slow:
        def __init__(self, uri: str, caches: object = None) -> None:
            self.database = connect(uri, caches)

        def create_table(self, *given: object, **named: object) -> None:
            self.database.create_table(*given, **named)
            raise RuntimeError("lance error: Retryable commit conflict for version 2: preempted")

        def open_table(self, name: str, **named: object) -> object:
            return self.database.open_table(name, **named)

    monkeypatch.setattr(lance, "connect", Slow)
    assert len(Gallery.create(tmp_path / "store", STAMP)) == 0
