"""Outcome of looking at a film: the same in rows, filters, counts and every kind of search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from store import OUTCOMES, BadFilter, BadRows, Gallery, Row, outcome, parse_where
from store.cluster.shard import follow
from store.search.table_reader import TableReader
from store.table import custom_columns, lance
from store.table.filters import passes
from store.table.rows import findings_of
from tests.store.rows import DIMENSION, STAMP, make_rows, mirror_of, random_vectors

NAMES = st.sampled_from(
    ["No Finding", "no_findings", " NO  finding ", "No Finding\x1fNo Finding", "", "edema"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
NAMED = st.lists(NAMES, max_size=2, unique=True).map(tuple)
FILMS = st.lists(
    st.fixed_dictionaries(
        {"labels": NAMED, "uncertain": NAMED, "absent": NAMED, "labelled": st.booleans()}
    ),
    min_size=1,
    max_size=12,
)
EMPTY = {"labels": (), "uncertain": (), "absent": (), "labelled": False}
#: One film of each kind.
KINDS = [
    {**EMPTY, "labels": ("edema",), "uncertain": ("mass",)},
    {**EMPTY, "labels": ("No Finding",)},
    {**EMPTY, "labelled": True},
    {**EMPTY, "absent": ("edema",)},
    {**EMPTY, "uncertain": ("edema",)},
    {**EMPTY, "uncertain": ("edema",), "absent": ("mass",)},
    EMPTY,
]
OF_KINDS = ["found", *["no finding"] * 3, *["uncertain only"] * 2, "not labelled"]


def gallery_of(folder: Path, films: list[dict]) -> Gallery:
    gallery = Gallery.create(folder, STAMP)
    rows = make_rows(random_vectors(len(films)))
    gallery.upsert([replace(row, **film) for row, film in zip(rows, films, strict=True)])
    return gallery


def told_the_same(gallery: Gallery) -> None:
    """Every way to an outcome comes to what the rows say."""
    rows = gallery.rows(gallery.ids())
    expected = {}
    for id_, row in rows.items():
        looked = row.labelled or bool(row.absent)
        expected[id_] = outcome(row.labels, looked, row.uncertain)
        assert row.outcome == expected[id_]
        assert row.labelled == (expected[id_] != "not labelled")
    counts = {name: [*expected.values()].count(name) for name in OUTCOMES}
    counts = {name: count for name, count in counts.items() if count}
    mirror = mirror_of(gallery)
    streamed = TableReader(lance.pin(gallery.uri, mirror.version), "")
    for reader in (mirror, streamed):
        assert reader.facets(None)["outcome"] == counts
    found = findings_of(mirror.metadata)
    assert dict(zip(mirror.ids, found["outcome"].to_pylist(), strict=True)) == expected
    for name in ("labels", "uncertain", "absent"):
        stored = {id_: list(getattr(row, name)) for id_, row in rows.items()}
        assert dict(zip(mirror.ids, found[name].to_pylist(), strict=True)) == stored
    query = next(iter(gallery.vectors(gallery.ids())))
    for name in OUTCOMES:
        where = parse_where([f"outcome={name}"])
        ids = sorted(id_ for id_, one in expected.items() if one == name)
        assert gallery.ids(where) == streamed.ids_of(where) == ids
        assert sorted(hit.row.id for hit in gallery.search(query, len(rows), where)[0]) == ids
        assert sorted(id_ for id_, row in rows.items() if passes(row, where)) == ids
        assert gallery.facets(where)["outcome"] == ({name: len(ids)} if ids else {})
    for text in ("true", "false"):
        where = parse_where([f"labelled={text}"])
        ids = sorted(id_ for id_, row in rows.items() if row.labelled == (text == "true"))
        assert gallery.ids(where) == ids
        assert sorted(id_ for id_, row in rows.items() if passes(row, where)) == ids


@settings(max_examples=5)
@example(KINDS)
@given(FILMS)
def test_every_way_to_an_outcome_comes_to_the_same(tmp_path_factory, films) -> None:
    gallery = gallery_of(tmp_path_factory.mktemp("store"), films)
    told_the_same(gallery)
    for number, film in enumerate(films):
        assert gallery.row(f"set/test/{number}").labelled or not film["labelled"]


@settings(max_examples=2)
@example(KINDS)
@given(FILMS)
def test_and_in_galleries_from_before(tmp_path_factory, films) -> None:
    films = [{**film, "labelled": False} for film in films]
    gallery = gallery_of(tmp_path_factory.mktemp("store"), films)
    lance.open_version(gallery.uri).drop_columns(["labelled", "study"])
    told_the_same(Gallery.open(gallery.uri))
    # Written again it has the columns, with nulls in the rows from before.
    older = Gallery.open(gallery.uri)
    older.upsert(make_rows(random_vectors(2, 9), [(), ("a",)], prefix="new/", labelled=True))
    assert {"labelled", "study"} <= {*lance.open_version(gallery.uri).schema.names}
    older.refresh()
    told_the_same(older)


def test_kinds_of_films(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", KINDS)
    told_the_same(gallery)
    handle = mirror_of(gallery).handle
    shards = [follow(None, handle, DIMENSION, number, 2) for number in range(2)]
    for name in OUTCOMES:
        where = parse_where([f"outcome={name}"])
        assert sorted(id_ for one in shards for id_ in one.ids_of(where)) == gallery.ids(where)
    rows = gallery.rows(gallery.ids())
    assert [rows[f"set/test/{i}"].outcome for i in range(len(KINDS))] == OF_KINDS
    assert gallery.stats()["outcome"] == {
        "found": 1, "no finding": 3, "uncertain only": 2, "not labelled": 1,
    }  # fmt: skip
    assert gallery.ids(parse_where(["label=No Finding"])) == ["set/test/1"]
    assert len(gallery.ids(parse_where(["outcome=found", "outcome=Not Labelled"]))) == 2
    for wrong in ("outcome=none", "labelled=perhaps"):
        with pytest.raises(BadFilter, match="expected"):
            gallery.ids(parse_where([wrong]))
    with pytest.raises(BadRows, match="neither True nor False"):
        gallery.upsert([replace(make_rows(random_vectors(1))[0], labelled="yes")])


def test_a_row_with_findings_is_labelled_by_itself(tmp_path: Path) -> None:
    films = [{"labels": ("x",)}, {"labels": (), "absent": ("x",)}, {"labels": ()}]
    gallery = gallery_of(tmp_path / "g", films)
    made = make_rows(random_vectors(3))
    made = [replace(row, **film) for row, film in zip(made, films, strict=True)]
    assert [row.outcome for row in made] == ["found", "no finding", "not labelled"]
    stored = [gallery.row(row.id) for row in made]
    assert [row.labelled for row in stored] == [True, True, False]
    assert gallery.upsert(made).unchanged == 3
    assert replace(made[0], labels=()).outcome == "not labelled"
    assert Row("a", b"", labelled=True).outcome == "no finding"


@pytest.mark.usefixtures("few_ask")
def test_by_an_index_of_lancedb(tmp_path: Path) -> None:
    films = KINDS * 40
    gallery = gallery_of(tmp_path / "g", films)
    gallery.build_index()
    searched = Gallery.open(gallery.uri, index="lance")
    query = gallery.vectors(["set/test/0"])[0]
    for name in OUTCOMES:
        where = parse_where([f"outcome={name}"])
        wanted = {f"set/test/{i}" for i in range(len(films)) if OF_KINDS[i % 7] == name}
        for one in (gallery, searched):
            assert {hit.row.id for hit in one.search(query, 280, where)[0]} == wanted
            assert one.count(where) == len(wanted)


def test_findings_and_labelled_are_spoken_of_together(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", KINDS[:1])
    row = gallery.row("set/test/0")
    silent = Row(row.id, row.sha256, told=frozenset({"view"}), view="PA")
    assert gallery.update_metadata([silent]) == 1
    gallery.refresh()
    assert gallery.row(row.id).outcome == "found"
    told = frozenset({"labels", "uncertain", "absent"})
    for labelled, expected in ((True, "no finding"), (False, "not labelled")):
        assert gallery.update_metadata([Row(row.id, row.sha256, labelled=labelled, told=told)]) == 1
        gallery.refresh()
        assert gallery.row(row.id).outcome == expected
        assert gallery.row(row.id).view == "PA"


def test_a_column_of_the_users_own_keeps_its_name(tmp_path: Path) -> None:
    """Galleries from before may have own columns that are called as later ones of ours."""
    gallery = gallery_of(tmp_path / "g", KINDS[:1])
    table = lance.open_version(gallery.uri)
    table.drop_columns(["labelled", "study"])
    custom_columns.make_room(table, {"study": "int", "labelled": "string", "outcome": "string"})
    older = Gallery.open(gallery.uri)
    [row] = make_rows(random_vectors(1))
    own = {"study": 3, "labelled": "by hand", "outcome": "home"}
    assert older.update_metadata([replace(row, extra=own)]) == 1
    older.refresh()
    assert older.row(row.id).extra == own
    assert older.row(row.id).study is None
    assert older.facets()["labelled"] == {"by hand": 1}
    assert older.facets()["outcome"] == {"home": 1}
    for condition in ("study=3", "study=2..", "labelled=by hand", "outcome=home"):
        assert older.ids(parse_where([condition], older.columns())) == [row.id]
    # A reader that tells ours fills the user's study, and does not touch the user's labelled.
    new = make_rows(random_vectors(2, 5), [(), ()], prefix="new/", labelled=True)
    new = [replace(one, study=text) for one, text in zip(new, ("12", None), strict=True)]
    assert older.upsert(new).inserted == 2
    assert older.upsert(new).unchanged == 2
    older.refresh()
    assert older.row("new/0").extra == {"study": 12}
    assert older.row("new/1").extra == {}
    with pytest.raises(BadRows, match=r"'study' of this gallery is your own and holds .* int"):
        older.upsert([replace(new[0], study="1.2.3")])
    assert findings_of(mirror_of(older).metadata)["outcome"].to_pylist() == [
        "found", "not labelled", "not labelled",
    ]  # fmt: skip


def test_where_the_column_is_ours_own_values_are_for_it(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "g", [EMPTY, EMPTY])
    gallery.make_room({"study": "int", "ward": "int"})
    rows = make_rows(random_vectors(2), [(), ()])
    extra = {"study": 3, "labelled": True, "ward": 1}
    told = frozenset({"view"})
    assert gallery.update_metadata([replace(rows[0], extra=extra, told=told)]) == 1
    gallery.refresh()
    row = gallery.row(rows[0].id)
    assert (row.study, row.outcome, row.extra) == ("3", "no finding", {"ward": 1})
    assert gallery.ids(parse_where(["study=3"])) == [row.id]
    assert gallery.columns() == {"ward": "int"}
