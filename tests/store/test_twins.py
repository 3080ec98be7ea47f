"""An id that is stored more than once: the newest row answers, and a repair keeps that one."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from store import Gallery, Row, StoreDamaged, Where
from store.cluster import shard
from store.table import lance, local, undo
from store.table import rows as arrow
from tests.store import bucket
from tests.store.bucket import Proxy, fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import DIMENSION, STAMP, make_rows, mirror_of, random_vectors, table_of
from ui.cli import app

PNG = b"\x89PNG\r\n\x1a\n"
IDS = ("a", "b'", "b''", "c")


def row(id_: str, seed: int, batch: str) -> Row:
    made = make_rows(random_vectors(1, seed), [(f"label {seed}",)], thumbnail=PNG, batch=batch)
    return replace(made[0], id=id_)


def add(gallery: Gallery, rows: list[Row]) -> None:
    """Add rows as a program does that knows nothing of ids."""
    live = table_of(gallery)
    live.checkout_latest()
    live.add(pa.concat_tables([arrow.to_arrow([one], DIMENSION, live.schema) for one in rows]))
    if lance.is_local(gallery.uri):
        local.acknowledge(lance.folder(gallery.uri), int(live.version))


def with_twins(place: object) -> Gallery:
    gallery = Gallery.create(str(place), STAMP)
    gallery.upsert([row(id_, seed, "one") for seed, id_ in enumerate(IDS)])
    add(gallery, [row("b''", 10, "two")])
    add(gallery, [row("b''", 11, "three"), row("c", 12, "")])
    return gallery


def holds(gallery: Gallery, expected: dict[str, Row]) -> None:
    """All ways to read give these rows."""
    gallery.refresh()
    assert gallery.ids() == sorted(expected) and len(gallery) == len(expected)
    found = gallery.rows(expected)
    assert {id_: (one.sha256, one.batch) for id_, one in found.items()} == {
        id_: (one.sha256, one.batch) for id_, one in expected.items()
    }
    hits = gallery.search(random_vectors(1, 99), len(expected))[0]
    assert {hit.row.id: hit.row.sha256 for hit in hits} == {
        id_: one.sha256 for id_, one in expected.items()
    }
    for id_, one in expected.items():
        assert gallery.row(id_).labels == one.labels
        assert gallery.ids(Where(label=one.labels)) == [id_]
        np.testing.assert_array_equal(gallery.vectors([id_])[0], one.embedding)
    snapshot = mirror_of(gallery)
    assert snapshot.metadata["batch"].to_pylist() == [expected[i].batch for i in snapshot.ids]
    batches = snapshot.columns(["batch"])["batch"].to_pylist()
    assert batches == snapshot.metadata["batch"].to_pylist()


NEWEST = {
    "a": row("a", 0, "one"),
    "b'": row("b'", 1, "one"),
    "b''": row("b''", 11, "three"),
    "c": row("c", 12, ""),
}


def test_it_opens_says_so_and_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with_twins(tmp_path)
    gallery = Gallery.open(tmp_path)
    with caplog.at_level(logging.WARNING):
        holds(gallery, NEWEST)
    assert "3 rows of the gallery" in caplog.text and "cxr check --repair" in caplog.text
    (problem,) = gallery.check()
    assert problem.startswith("2 ids occur more than once: ")
    assert problem.endswith("keep the newer row of each with: cxr check --repair")
    hits = gallery.search_by_id("b''", 4)
    assert sorted(hit.row.id for hit in hits) == ["a", "b'", "c"]
    gallery.upsert([row("d", 20, "four")])  # other ids are written as ever
    holds(gallery, NEWEST | {"d": row("d", 20, "four")})
    with pytest.raises(
        StoreDamaged, match=r"stored more than once, so nothing was written; .*--re"
    ):
        gallery.upsert([row("c", 30, "four")])
    with pytest.raises(StoreDamaged, match="stored more than once"):
        gallery.update_metadata([row("c", 30, "four")])
    assert gallery.delete(ids=["b''"]) == 3  # all of that name


def test_a_repair_keeps_the_newest_and_the_others_can_come_back(tmp_path: Path) -> None:
    gallery = with_twins(tmp_path)
    done = gallery.repair()
    assert (done.ids, done.removed, done.kept) == (["b''", "c"], 3, True)
    holds(gallery, NEWEST)
    assert gallery.check() == []
    assert gallery.repair().ids == []
    assert gallery.undo("three").restored == 1
    assert gallery.undo("two").restored == 1
    assert gallery.undo("repair").restored == 1
    holds(gallery, {id_: row(id_, seed, "one") for seed, id_ in enumerate(IDS)})
    assert gallery.check() == []


@pytest.mark.parametrize("turn", range(4))  # the order of files of one version must not matter
def test_several_of_one_batch(tmp_path: Path, turn: int) -> None:
    gallery = Gallery.create(tmp_path, STAMP)
    gallery.upsert([row("a", 0, "one"), row("b'", 1, "one"), row("c", 2, "one")])
    add(gallery, [row("a", 10, "two"), row("b'", 11, "one"), row("c", 12, "two")])
    add(gallery, [row("a", 20, "two"), row("b'", 21, "one"), row("c", 22, "")])
    gallery.repair()
    holds(gallery, {"a": row("a", 20, "two"), "b'": row("b'", 21, "one"), "c": row("c", 22, "")})
    assert gallery.undo("two", dry_run=True).restored == 1
    undone = gallery.undo("two")
    assert (undone.restored, undone.removed, undone.later) == (1, 0, ["c"])
    # Where no other batch took its place, undoing a batch would not bring an older row back.
    undone = gallery.undo("repair")
    assert undone.restored == 2 and undone.later == ["a"]
    holds(gallery, {"a": row("a", 0, "one"), "b'": row("b'", 1, "one"), "c": row("c", 12, "two")})
    assert gallery.undo("two").restored == 1
    holds(gallery, {"a": row("a", 0, "one"), "b'": row("b'", 1, "one"), "c": row("c", 2, "one")})
    assert gallery.check() == []


def test_the_command(tmp_path: Path) -> None:
    with_twins(tmp_path)
    run = CliRunner()
    assert run.invoke(app, ["check", "--store", str(tmp_path)]).exit_code == 4
    done = run.invoke(app, ["check", "--repair", "--store", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["repaired"] == {"ids": ["b''", "c"], "removed": 3, "kept": True}
    assert told["problems"] == []
    again = run.invoke(app, ["check", "--repair", "--store", str(tmp_path)])
    assert again.exit_code == 0 and "nothing to repair" in again.stderr


def test_in_a_bucket(server: int, proxy: Proxy) -> None:
    gallery = with_twins(bucket.make_bucket(server))
    holds(gallery, NEWEST)
    assert not gallery.repair().kept
    holds(gallery, NEWEST)
    assert gallery.check() == []


def test_a_shard_loads_it(tmp_path: Path) -> None:
    gallery = with_twins(tmp_path)
    part = shard.follow(None, table_of(gallery), DIMENSION, 0, 1)
    assert part.count == 7


@settings(max_examples=3)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(IDS), st.sampled_from(["", "x", "y'"])),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_twins(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[tuple[str, str]]]
) -> None:
    gallery = Gallery.create(tmp_path_factory.mktemp("store"), STAMP)
    count, newest, chains = 0, {}, {}
    for commit in commits:
        made = []
        for id_, batch in commit:
            count += 1
            made.append(row(id_, count, batch))
        add(gallery, made)
        newest |= {one.id: one for one in made}
        for one in made:
            chains.setdefault(one.id, []).append(one)
    again = Gallery.open(gallery.uri)
    holds(again, newest)
    twins = sorted(id_ for id_, chain in chains.items() if len(chain) > 1)
    done = again.repair()
    assert (done.ids, done.removed) == (twins, count - len(newest))
    holds(again, newest)
    assert again.check() == []
    # What went is all in the undo store.
    files = Path(again.uri, "_cxr", "replaced").rglob("*.arrow")
    kept = [one for path in files for one in undo.read_kept(path)["sha256"].to_pylist()]
    gone = [one.sha256 for chain in chains.values() for one in chain[:-1]]
    assert sorted(kept) == sorted(gone)
