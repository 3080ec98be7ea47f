"""A gallery against a Python dict, under names that are any text: a Hypothesis state machine.

Names are ids, labels, data sets, batches, sources and values of an own column. They often differ
from one that is stored by an apostrophe, a case, a space or a normal form alone.
"""

from __future__ import annotations

import hashlib
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.job.plan import prune_gone
from store import Gallery, Row, UnknownId, UsageError, Where
from tests.store.rows import STAMP, random_vectors

OWN = "ward"
ROOT = "/films"
_PIECES = (
    *("'", "''", "\\", '"', "`", "%", "_", "\n", "\r\n", "\t", " ", "\u202e", "\u05d0", "e\u0301"),
    *("\u00e9", "--", "/*", ";", "?", "$1", "\x00", "\ufeff", "a", "A", "/", "..", "x" * 1000),
    *(" 2''.png", "' OR '1'='1", "\\'", "{}", "\U0001fa7b", "=", "NULL"),
)
_pieces = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=3).map("".join)
_free = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = _pieces | _free


def _swapped_apostrophes(text: str) -> str:
    return text.replace("''", "'") if "''" in text else text.replace("'", "''")


_CHANGES = (
    lambda text: text,
    _swapped_apostrophes,
    str.upper,
    str.lower,
    lambda text: text + " ",
    str.strip,
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: text.replace("\\", "\\\\"),
    lambda text: text.replace("_", "x"),
)


@dataclass
class Kept:
    """What a batch replaced or corrected: rows as they were, and as it wrote them."""

    before: dict[str, Row] = field(default_factory=dict)
    written: dict[str, Row] = field(default_factory=dict)
    whole: bool = True


def said(row: Row) -> tuple[object, ...]:
    """All of a row that may be corrected."""
    return row.labels, row.dataset, row.source, row.extra.get(OWN)


class AnyText(RuleBasedStateMachine):
    """Insert, replace, correct, filter, delete, undo, prune, search, facets; see the module."""

    keeps_former = True

    def place(self) -> str:
        """Where a fresh gallery may be."""
        self._folder = tempfile.TemporaryDirectory()
        return f"{self._folder.name}/store"

    @initialize()
    def begin(self) -> None:
        self.gallery = Gallery.create(self.place(), STAMP)
        self.rows: dict[str, Row] = {}
        self.kept: dict[str, Kept] = {}
        self.seen: list[str] = ["normal"]
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "gallery"):
            self.gallery.close()

    # -- names and rows ---------------------------------------------------------------------------

    def name(self, data: Any) -> str:
        """A new name, or one that was used, or one that is nearly the same."""
        if data.draw(st.booleans(), label="used"):
            change = data.draw(st.sampled_from(_CHANGES))
            found = change(data.draw(st.sampled_from(self.seen))) or "x"
        else:
            found = data.draw(names)
        if found not in self.seen:
            self.seen.append(found)
        return found

    def stored(self, data: Any, most: int = 3) -> list[str]:
        chosen = st.sampled_from(sorted(self.rows))
        return data.draw(st.lists(chosen, min_size=1, max_size=most, unique=True))

    def batch(self, data: Any) -> str:
        """A name that no batch had."""
        found = self.name(data)
        while found in self.kept:
            found += "'"
        self.kept[found] = Kept()
        return found

    def row(self, data: Any, id_: str, batch: str) -> Row:
        self.count += 1
        vector = random_vectors(1, self.count)[0]
        return Row(
            id=id_,
            sha256=hashlib.sha256(vector.tobytes()).digest(),
            embedding=vector,
            labels=tuple({self.name(data) for _ in range(data.draw(st.integers(0, 2)))}),
            dataset=data.draw(st.none() | st.just(self.name(data))),
            source=f"{ROOT}/{self.name(data)}",
            extra={} if data.draw(st.booleans()) else {OWN: self.name(data)},
            batch=batch,
        )

    # -- changes ----------------------------------------------------------------------------------

    def upsert(self, batch: str, rows: Sequence[Row]) -> None:
        changed = {
            row.id: row
            for row in rows
            if row.id not in self.rows
            or (row.sha256, said(row)) != (self.rows[row.id].sha256, said(self.rows[row.id]))
        }
        report = self.gallery.upsert(rows)
        old = changed.keys() & self.rows.keys()
        assert (report.inserted, report.updated) == (len(changed) - len(old), len(old))
        for id_ in old:
            self.kept[batch].before[id_] = self.rows[id_]
            self.kept[batch].written[id_] = changed[id_]
        self.rows.update(changed)

    @rule(data=st.data(), count=st.integers(1, 3))
    def insert(self, data: Any, count: int) -> None:
        batch = self.batch(data)
        ids = dict.fromkeys(self.name(data) for _ in range(count))
        self.upsert(batch, [self.row(data, id_, batch) for id_ in ids])

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def replace(self, data: Any) -> None:
        batch = self.batch(data)
        self.upsert(batch, [self.row(data, id_, batch) for id_ in self.stored(data)])

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def correct(self, data: Any) -> None:
        batch = self.batch(data)
        wanted = [self.row(data, id_, batch) for id_ in {*self.stored(data), self.name(data)}]
        changed = [
            row for row in wanted if row.id in self.rows and said(row) != said(self.rows[row.id])
        ]
        assert self.gallery.update_metadata(wanted) == len(changed)
        for row in changed:
            before = self.rows[row.id]
            self.kept[batch].whole = False
            self.kept[batch].before[row.id], self.kept[batch].written[row.id] = before, row
            self.rows[row.id] = replace(
                before, labels=row.labels, dataset=row.dataset, source=row.source, extra=row.extra
            )

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        ids = self.stored(data)
        assert self.gallery.delete(ids=ids) == len(ids)
        for id_ in ids:
            del self.rows[id_]

    @rule(data=st.data())
    def delete_unknown(self, data: Any) -> None:
        id_ = self.name(data)
        if id_ not in self.rows:
            try:
                self.gallery.delete(ids=[id_])
            except UnknownId:
                return
            raise AssertionError(f"{id_!r} is not stored, but was deleted")

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def delete_where(self, data: Any) -> None:
        where = self.where(data)
        doomed = [id_ for id_, row in self.rows.items() if passes(row, where)]
        assert self.gallery.delete(where) == len(doomed)
        for id_ in doomed:
            del self.rows[id_]

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def undo(self, data: Any) -> None:
        batch = data.draw(st.sampled_from(sorted(self.kept)))
        kept = self.kept[batch] if self.keeps_former else Kept()
        brought = {id_ for id_, row in self.rows.items() if row.batch == batch}
        later, restored = set(), {}
        for id_, before in kept.before.items():
            now = self.rows.get(id_)
            if now and (now.sha256, now.batch, said(now)) == (
                before.sha256,
                before.batch,
                said(before),
            ):
                continue
            same = now is not None and said(now) == said(kept.written[id_])
            if now and same and (not kept.whole or now.batch == batch):
                restored[id_] = before if kept.whole else _corrected(now, before)
            else:
                later.add(id_)
        removed = brought - restored.keys() - later
        found = self.gallery.undo(batch)
        assert (found.removed, found.lost) == (len(removed), [])
        assert found.restored + found.corrected == len(restored)
        assert found.later == sorted(later)
        for id_ in removed:
            del self.rows[id_]
        self.rows.update(restored)
        if not later:
            self.kept[batch] = Kept()

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def prune(self, data: Any) -> None:
        dataset = data.draw(
            st.sampled_from(sorted(row.dataset or "" for row in self.rows.values()))
        )
        mine = {row.id: row.source for row in self.rows.values() if row.dataset == dataset}
        if not mine:
            return
        kept = data.draw(st.sets(st.sampled_from(sorted(mine.values()))))
        gone = [
            id_
            for id_, source in mine.items()
            if source not in kept and not any(source.startswith(f"{one}/") for one in kept)
        ]
        report = SimpleNamespace(gone=[], pruned=0)
        source = SimpleNamespace(name=dataset, root=Path(ROOT))
        try:
            prune_gone(self.gallery, source, kept, report, delete=True)  # type: ignore[arg-type]
        except UsageError:
            assert len(gone) == len(mine)
            return
        assert report.gone == sorted(gone) and len(gone) < len(mine)
        assert report.pruned == len(gone)
        for id_ in gone:
            del self.rows[id_]

    # -- questions --------------------------------------------------------------------------------

    def where(self, data: Any) -> Where:
        own = [OWN] if OWN in self.gallery.columns() else []
        key = data.draw(st.sampled_from(["label", "dataset", "batch", *own]))
        values = tuple({self.name(data) for _ in range(data.draw(st.integers(1, 2)))})
        if key == OWN:
            return Where(extra=tuple((OWN, value) for value in values))
        return Where(**{key: values})

    @precondition(lambda self: any(OWN in row.extra for row in self.rows.values()))
    @rule(data=st.data())
    def filter(self, data: Any) -> None:
        where = self.where(data)
        assert self.gallery.ids(where) == sorted(
            id_ for id_, row in self.rows.items() if passes(row, where)
        )

    @precondition(lambda self: len(self.rows) > 1)
    @rule(data=st.data())
    def search_by_id(self, data: Any) -> None:
        (id_,) = self.stored(data, 1)
        hits = self.gallery.search_by_id(id_, len(self.rows))
        assert sorted(hit.row.id for hit in hits) == sorted({*self.rows} - {id_})

    @rule()
    def facets(self) -> None:
        found = self.gallery.facets()
        rows = self.rows.values()
        labels = Counter(label for row in rows for label in row.labels)
        datasets = Counter(row.dataset for row in rows if row.dataset)
        assert found["labels"] == dict(labels) and list(found["labels"]) == sorted(labels)
        assert found["dataset"] == dict(datasets)
        own = Counter(row.extra[OWN] for row in rows if OWN in row.extra)
        assert found.get(OWN, {}) == dict(own)

    @invariant()
    def rows_are_those_of_the_dict(self) -> None:
        if not hasattr(self, "gallery"):
            return
        self.gallery.refresh()
        assert self.gallery.ids() == sorted(self.rows)
        found = self.gallery.rows(self.rows)
        for id_, row in self.rows.items():
            got = found[id_]
            assert (got.sha256, got.batch, said(got)) == (row.sha256, row.batch, said(row)), id_
        if self.rows:
            vectors = np.stack([row.embedding for row in self.rows.values()])  # type: ignore[misc]
            np.testing.assert_array_equal(self.gallery.vectors(list(self.rows)), vectors)


def passes(row: Row, where: Where) -> bool:
    """The meaning of the machine's filters, in plain Python."""
    return (
        (not where.label or bool({*where.label} & {*row.labels}))
        and (not where.dataset or row.dataset in where.dataset)
        and (not where.batch or row.batch in where.batch)
        and (not where.extra or (OWN, row.extra.get(OWN)) in where.extra)
    )


def _corrected(now: Row, before: Row) -> Row:
    return replace(
        now,
        labels=before.labels,
        dataset=before.dataset,
        source=before.source,
        extra=before.extra,
    )
