"""Gallery: the searchable set. What ingestion, command line and dashboard call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from store import arrow, lease, maintain, mirror, saved, search, sync, table, writing
from store.check import problems
from store.errors import BadQuery, StoreDamaged, UnknownId
from store.evaluation import Evaluation
from store.filters import Where
from store.protocols import Baseline, evaluate_snapshot
from store.schema import EncoderStamp, Hit, Row, UpsertReport, Vectors

if TYPE_CHECKING:
    from store.nearness import Nearness

T = TypeVar("T")


class Gallery:
    """A LanceDB table and the FAISS snapshot that follows it.

    Make one with Gallery.open or Gallery.create. Safe to share between threads: every search
    answers from one snapshot, and ``refresh`` swaps snapshots whole. Readers see what another
    process wrote after the next ``refresh``.
    """

    def __init__(self, uri: str, handle: Any, stamp: EncoderStamp) -> None:
        self.uri = uri
        self.stamp = stamp
        self._live = handle
        self._lock = threading.RLock()
        self._snapshot: mirror.Snapshot | None = None
        self._lease: lease.Lease | None = None

    @classmethod
    def open(cls, uri: str | Path, stamp: EncoderStamp | None = None) -> Gallery:
        """Open a gallery.

        Args:
            uri: a folder, or an object-store location such as ``s3://bucket/gallery``.
            stamp: when given, the encoder that must have made it.

        Raises:
            StoreNotFound, StoreDamaged, EncoderMismatch: see their docstrings.
        """
        handle = table.open_(str(uri), stamp)
        return cls(str(uri), handle, _stamp(handle))

    @classmethod
    def create(cls, uri: str | Path, stamp: EncoderStamp) -> Gallery:
        """Make an empty gallery for one encoder, or open the one that is there."""
        return cls(str(uri), table.create(str(uri), stamp), stamp)

    # -- following the table -------------------------------------------------------------------

    def refresh(self) -> bool:
        """Follow the table: load its newest version if it moved. Cheap when nothing changed.

        Returns:
            Whether searches now answer from another version.

        Raises:
            StoreNotFound, StoreDamaged, EncoderMismatch: the table is gone, cannot be read, or
                was made again by another encoder. The snapshot that was in use stays in use.
        """
        with self._lock:
            # Opened afresh: a handle does not see that its table was dropped and made again.
            self._live = table.open_(self.uri, self.stamp)
            version = int(self._live.version)
            identity = table.uuid_of(self._live), version, table.token(self._live, version)
            before = self._snapshot
            if before is not None and identity == (before.uuid, before.version, before.token):
                return False
            if self._lease is None and table.is_local(self.uri):
                self._lease = lease.Lease(self.uri)
                self._lease.claim(version)
            self._snapshot = self._follow(before, version)
            if self._lease is not None:
                self._lease.claim(version)
            return True

    def _follow(self, before: mirror.Snapshot | None, version: int) -> mirror.Snapshot:
        handle = table.pin(self.uri, version)
        local = table.is_local(self.uri)
        if before is None and local:
            before = saved.load(self.uri, handle, self.stamp.dimension)
            if before is not None:
                saved.verify_behind(self.uri, before, self._distrust)
        after = sync.follow(before, handle, self.stamp.dimension)
        if after is not before and local:
            saved.save_behind(self.uri, after)
        return after

    def _distrust(self, snapshot: mirror.Snapshot) -> None:
        """Build anew: the saved mirror that answers came from turned out to be damaged."""
        with self._lock:
            self._snapshot = mirror.build(
                table.pin(self.uri, int(self._live.version)), self.stamp.dimension
            )

    def _current(self) -> mirror.Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            self.refresh()
            snapshot = self._snapshot
            assert snapshot is not None
        return snapshot

    def _answer(self, ask: Callable[[mirror.Snapshot], T]) -> T:
        """Ask one snapshot; when its version was cleaned away under it, the newest."""
        for last in (False, True):
            try:
                return ask(self._current())
            except (RuntimeError, OSError) as error:
                if last or "not found" not in str(error).lower():
                    raise StoreDamaged(
                        f"the gallery at {self.uri} cannot be read: {str(error)[:300]}; "
                        "run: cxr check"
                    ) from error
                self._snapshot = None
        raise AssertionError("unreachable")

    @property
    def table_version(self) -> int:
        """Version of the table that searches answer from."""
        return self._current().version

    def __len__(self) -> int:
        return self._current().count

    # -- writing -------------------------------------------------------------------------------

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        """Insert or replace rows by id in one commit; rows that say nothing new are left alone.

        Raises:
            BadRows: a repeated id, or a vector that is not finite, of unit length and of this
                gallery's dimension. Nothing is written then.
        """
        return writing.upsert(self.uri, self._live, rows, self.stamp.dimension)

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct labels and other metadata of stored rows, keeping their vectors.

        Returns:
            How many rows changed; ids that are not stored are ignored.
        """
        return writing.update_metadata(self.uri, self._live, rows, self.stamp.dimension)

    def delete(
        self,
        where: Where | None = None,
        ids: Sequence[str] | None = None,
        batch: str | None = None,
        *,
        dry_run: bool = False,
    ) -> int:
        """Remove the rows that meet all the conditions given, in one commit.

        Args:
            where: rows that pass this filter.
            ids: rows with one of these ids.
            batch: rows that this ingestion wrote last.
            dry_run: count only.

        Returns:
            How many rows are gone, or would be.

        Raises:
            BadQuery: no condition at all.
            UnknownId: one of ``ids`` is not stored. Nothing is deleted then.
        """
        if not where and ids is None and batch is None:
            raise BadQuery("delete needs a filter, ids or a batch; remove the folder to drop all")
        condition = where or Where()
        if batch is not None:
            if condition.batch:
                raise BadQuery(f"batch {batch!r} and a filter on batch were both given; give one")
            condition = replace(condition, batch=(batch,))
        if ids is not None:
            stored = self.rows(ids)
            missing = [id_ for id_ in ids if id_ not in stored]
            if missing:
                raise UnknownId(f"no row {missing[0]!r} ({len(missing)} of {len(ids)} not stored)")
        if dry_run:
            self._live.checkout_latest()
            return len(writing.matching(self._live, condition, ids))
        return writing.delete(self.uri, self._live, condition, ids)

    def optimize(self, keep: timedelta | None = None) -> None:
        """Merge small fragments and forget old versions. Writing does this by itself now and then.

        Args:
            keep: forget versions older than this, even those in use: their readers then follow
                to the newest. None forgets only what no reader on this machine uses.
        """
        maintain.run(self.uri, self._live, keep)

    # -- looking up ----------------------------------------------------------------------------

    def rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Metadata of the rows that are stored now, by id; unknown ids are left out."""
        self._live.checkout_latest()
        return {row.id: row for row in table.rows_by_id(self._live, ids)}

    def known(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        """(sha256, encoder fingerprint) of the rows that are stored now: what may be skipped."""
        return {id_: (row.sha256, self.stamp.fingerprint) for id_, row in self.rows(ids).items()}

    def row(self, id_: str) -> Row:
        """Metadata of one row. UnknownId when there is none."""
        return self._answer(lambda now: search.join(now, now.find([id_])))[0]

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Embeddings, float32 (n, d), in the order asked. UnknownId when one is missing."""
        snapshot = self._current()
        return snapshot.vectors[snapshot.find(ids)]

    def thumbnails(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        """PNG bytes by id; None where a row has no picture. UnknownId when one is missing."""
        pictures = self._answer(lambda now: table.thumbnails(now.handle, now.row_ids_of(ids)))
        return dict(zip(ids, pictures, strict=True))

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids that pass a filter, sorted."""
        return self._answer(lambda now: now.ids_of(where))

    def facets(self, where: Where | None = None) -> dict[str, dict[str, int]]:
        """How many rows carry each value of labels, split, dataset, view and sex.

        Rows without a value are not counted there.
        """
        return self._answer(lambda now: now.facets(where))

    # -- searching -----------------------------------------------------------------------------

    def search(
        self,
        vectors: npt.ArrayLike,
        k: int = 10,
        where: Where | None = None,
        exclude: Sequence[str] = (),
    ) -> list[list[Hit]]:
        """The k most similar rows to each vector, by exact cosine, ties by id.

        Args:
            vectors: float (n, d), or (d,) for one; unit rows, in this gallery's encoder's space.
            k: how many, from 1 to the number of rows.
            where: only rows that pass take part, so that k hits are k; fewer when fewer pass.
            exclude: ids that must not be found.

        Returns:
            One list of hits per vector, best first.

        Raises:
            BadQuery: k out of range; vectors of another dimension, not finite or not unit.
        """
        queries = search.check_queries(vectors, self.stamp)
        self.check_k(k)

        def ask(now: mirror.Snapshot) -> list[list[Hit]]:
            excluded = now.known_positions(exclude)
            found = search.nearest(now, queries, k, now.positions_of(where), excluded)
            return search.hits(now, found)

        return self._answer(ask)

    def search_by_id(self, id_: str, k: int = 10, where: Where | None = None) -> list[Hit]:
        """The k rows most similar to a stored one, which is never among them.

        Raises:
            UnknownId: no such row.
            BadQuery: k out of range.
        """
        self._current().find([id_])
        self.check_k(k)

        def ask(now: mirror.Snapshot) -> list[list[Hit]]:
            position = now.find([id_])
            allowed = now.positions_of(where)
            found = search.nearest(now, now.vectors[position], k, allowed, position.tolist())
            return search.hits(now, found)

        return self._answer(ask)[0]

    def check_k(self, k: int) -> None:
        """Refuse a k that cannot be answered, before anything is encoded, with BadQuery."""
        rows = len(self)
        if rows == 0:
            raise BadQuery(
                f"the gallery at {self.uri} is empty; fill it with: cxr ingest "
                f"medmnist:pneumoniamnist --store {self.uri}"
            )
        if not 1 <= k <= rows:
            raise BadQuery(f"k = {k}: expected 1 to {rows}, the number of rows in {self.uri}")

    def nearness(
        self,
        vectors: npt.ArrayLike,
        thumbnails: Sequence[bytes] | None = None,
        describe: Baseline | None = None,
    ) -> list[Nearness]:
        """Whether there is a good match at all for each image; see store.nearness."""
        from store.nearness import nearness

        return nearness(self, vectors, thumbnails, describe)

    # -- measuring -----------------------------------------------------------------------------

    def evaluate(
        self,
        protocol: str = "leave-one-out",
        k: Sequence[int] = (1, 3, 5, 10),
        *,
        split: str | None = "test",
        gallery_split: str = "train",
        dataset: str | None = None,
        baselines: Mapping[str, Baseline] | None = None,
        full_ranking: bool = True,
    ) -> Evaluation:
        """Precision@k and its company over labelled rows.

        Args:
            protocol: ``leave-one-out`` (each row of ``split`` queries the others of that split)
                or ``split`` (rows of ``split`` query those of ``gallery_split``).
            k: depths, each at least 1.
            split: of the queries; None takes all rows (leave-one-out only).
            gallery_split: of the gallery in the split protocol.
            dataset: only rows of this data set.
            baselines: name to a function from thumbnails to unit vectors, measured beside.
            full_ranking: also compute mAP, which sorts the whole gallery for every query.

        Raises:
            BadQuery: an unknown protocol, a split without labelled rows, a k beyond the gallery.
        """

        def ask(now: mirror.Snapshot) -> Evaluation:
            found = evaluate_snapshot(
                now, protocol, k, split, gallery_split, dataset, baselines or {}, full_ranking
            )
            return replace(found, store=self.describe(now))

        return self._answer(ask)

    # -- describing ----------------------------------------------------------------------------

    def describe(self, snapshot: mirror.Snapshot | None = None) -> dict[str, Any]:
        """Which store an answer came from: uri, rows, table version, encoder, fingerprint."""
        snapshot = snapshot or self._current()
        return {
            "uri": self.uri,
            "rows": snapshot.count,
            "table_version": snapshot.version,
            "encoder": self.stamp.name,
            "fingerprint": self.stamp.fingerprint,
        }

    def check(self) -> list[str]:
        """Read everything back and compare it with its checksums and with the mirror.

        Returns:
            One sentence for each thing that is wrong, with ids; none when all is sound.
        """
        self._live.checkout_latest()
        try:
            self.refresh()
        except StoreDamaged as error:
            return problems(self._live, self.stamp.dimension) or [str(error)]
        snapshot = self._current()
        return problems(snapshot.handle, self.stamp.dimension, snapshot)

    def stats(self) -> dict[str, Any]:
        """What is in the store, as the command line prints it."""
        self.refresh()
        facets = self.facets()
        fragments, size = table.size(self.uri, self._live)
        return {
            **self.describe(),
            "labels": facets["labels"],
            "splits": facets["split"],
            "datasets": facets["dataset"],
            "table_version": int(self._live.version),
            "mirror_version": self.table_version,
            "fragments": fragments,
            "bytes": size,
            "dimension": self.stamp.dimension,
        }


def _stamp(handle: Any) -> EncoderStamp:
    stamp = arrow.stamp_of(handle.schema.metadata)
    if stamp is None:
        raise StoreDamaged("the table lost its encoder stamp; restore it from a copy")
    return stamp
