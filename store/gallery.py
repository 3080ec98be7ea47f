"""Gallery: a table of films and the index that follows it; open, write, search, look up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from store import notebook
from store.errors import BadQuery, StoreDamaged, UnknownId, UsageError
from store.files import location
from store.mapped_copy import copy_mapped
from store.mirror.snapshot import Snapshot
from store.notebook import Hits
from store.outcomes import OUTCOMES
from store.schema import (
    COLUMNS,
    FINDINGS,
    Baseline,
    EncoderStamp,
    Hit,
    Progress,
    Row,
    UpsertReport,
    Vectors,
)
from store.search import exact
from store.search.base import EXACT, INDEXES, LANCE, Backend, Searcher, Sharding
from store.search.follow import Follower
from store.search.fusion import RRF, Fusion, check_fusion
from store.search.relevance_feedback import Weights, rocchio
from store.search.same_patient import OwnFilms, own_films
from store.table import (
    custom_columns,
    filters,
    lance,
    maintenance,
    opening,
    rows,
    write,
)
from store.table.column_stats import Range
from store.table.duplicate_ids import Repaired, repair
from store.table.filters import Where
from store.table.undo import Undone

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

    from store.curation.curation import Curation
    from store.curation.kept import Kept
    from store.evaluation.labelled import SamePatient
    from store.evaluation.metrics import Evaluation
    from store.evaluation.per_query import ByQuery
    from store.search.out_of_distribution import Nearness
    from store.search.words import WordHit

#: Columns whose counts have another name in the statistics.
_STATS = {"split": "splits", "dataset": "datasets"}
#: Ids that are named where a text could mean several.
_SOME = 5
#: Films that a notebook shows of a gallery.
_PICTURES = 8
T = TypeVar("T")


class Gallery(Follower):
    """Gallery of films: a LanceDB table and the FAISS snapshot that follows it.

    Make one with Gallery.open or Gallery.create. Safe to share between threads: every search
    asks one snapshot; ``refresh`` swaps them whole, and shows what another process wrote.

    Writing, searching, looking up and evaluating are methods; lists and pictures made of a whole
    gallery (audit, maps, comparisons) are functions in ``store.analysis`` that take a Gallery.
    """

    @classmethod
    def open(
        cls,
        uri: str | Path,
        stamp: EncoderStamp | None = None,
        *,
        index: str = EXACT,
        shards: int = 0,
        ray: str = "local",
        on_lost: Literal["wait", "partial"] = "wait",
    ) -> Gallery:
        """Open a gallery.

        Args:
            uri: a folder, ``~`` being the home folder, or an object-store location such as
                ``s3://bucket/gallery``.
            stamp: when given, the encoder that must have made it.
            index: ``exact`` (all vectors in memory) or ``lance`` (LanceDB's index); see choose.
            shards: parts of the mirror on a cluster; 0 keeps it whole, in this process.
            ray: the cluster; see store.search.base.Sharding.
            on_lost: ``wait`` for a lost shard, or answer without it: ``partial``.

        Raises:
            StoreNotFound, StoreDamaged, EncoderMismatch: see their docstrings.
        """
        place = location(uri)
        handle = opening.open_(place, stamp)
        made_by = _stamp(handle)
        sharding = Sharding(shards, ray, on_lost) if shards else None
        return cls(place, handle, made_by, choose(place, made_by, index, sharding))

    @classmethod
    def create(cls, uri: str | Path, stamp: EncoderStamp) -> Gallery:
        """Make an empty gallery for one encoder, or open the one that is there.

        One that has no rows is made again where it was another encoder's.
        """
        place = location(uri)
        return cls(place, opening.create(place, stamp), stamp, choose(place, stamp))

    def remove_if_empty(self) -> bool:
        """Remove a gallery without rows, such as one whose first ingestion failed.

        Returns:
            Whether it is gone; a gallery with rows stays.
        """
        return opening.remove_empty(self.uri)

    # -- writing -------------------------------------------------------------------------------

    def upsert(self, rows: Sequence[Row]) -> UpsertReport:
        """Insert or replace rows by id in one commit; rows that say nothing new are left alone.

        What a row does not speak of (``Row.told``) keeps its stored value.

        Raises:
            BadRows: a repeated id, or a vector that is not finite, of unit length and of this
                gallery's dimension. Nothing is written then.
        """
        return write.upsert(self.uri, self._live, rows, self.stamp.dimension)

    def update_metadata(self, rows: Sequence[Row]) -> int:
        """Correct labels and other metadata of stored rows, keeping their vectors.

        What a row does not speak of (``Row.told``) keeps its stored value.

        Returns:
            How many rows changed; ids that are not stored are ignored.
        """
        return write.update_metadata(self.uri, self._live, rows)

    def set_readers(self, readers: Mapping[str, int]) -> None:
        """Note by which version of the pixel reader stored rows are right, and change nothing else.

        Args:
            readers: id to version; ids that are not stored are ignored.
        """
        write.set_readers(self.uri, self._live, readers)

    def make_room(self, columns: Mapping[str, str]) -> None:
        """Add columns of the user's own, so that a disagreement shows before anything is encoded.

        Args:
            columns: name to ``int``, ``float``, ``bool``, ``string`` or ``date``. An int column
                becomes a float one when floats come.

        Raises:
            BadRows: a column of this name has another type.
        """
        write.make_room(self.uri, self._live, columns)

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

        They may come in again with their source; what is to stay out: see Curation.delete. A data
        set or a batch that is deleted whole takes its films set aside with it.
        """
        gone = write.delete(self.uri, self._live, where, ids, batch, dry_run)
        whole = None if ids is not None else whole_of(where, batch)
        if whole is not None and not dry_run:
            self.curation().forget(where=whole)
        return gone

    def matching(
        self, where: Where | None = None, ids: Sequence[str] | None = None, batch: str | None = None
    ) -> list[str]:
        """The ids that ``delete`` would remove under these conditions, ascending."""
        condition = where or Where()
        if batch is not None:
            condition = replace(condition, batch=(batch,))
        return write.matching(self.table, condition, ids)

    def undo(self, batch: str, *, dry_run: bool = False) -> Undone:
        """Take back what an ingestion did: remove the rows it brought, restore those it changed.

        Rows that were changed again or deleted since stay as they are and are named; films that it
        brought and that are set aside are forgotten. Galleries on object stores keep no former
        rows: there, rows that it replaced are removed.

        Args:
            batch: name of the ingestion.
            dry_run: count only.
        """
        undone = write.undo_batch(self.uri, self._live, batch, self.stamp.dimension, dry_run)
        mine = Where(batch=(batch,))
        return replace(undone, forgotten=self.curation().forget(where=mine, dry_run=dry_run))

    def curation(self, who: str | None = None) -> Curation:
        """Tags, notes, corrected labels, films set aside, each with undo and history.

        Args:
            who: the name under which changes are noted; None: the system's name of the user.
        """
        from store.curation.curation import Curation

        return Curation(self.uri, self._live, who)

    def kept(self) -> Kept:
        """What people decided of films, which the next run of a source does not take back."""
        return self.curation().kept()

    def optimize(self, keep: timedelta | None = None) -> None:
        """Merge small fragments and forget old versions. Writing does this by itself now and then.

        Args:
            keep: forget versions older than this, even those in use: their readers then follow
                to the newest. None forgets only what no reader on this machine uses.
        """
        maintenance.run(self.uri, self._live, keep)
        self.curation().optimize()

    def settle(self) -> None:
        """Tidy after the last of many writes, where it is due: the index of words sooner."""
        maintenance.when_due(self.uri, self._live, ended=True)

    def mapped_copy(
        self,
        uri: str | Path,
        stamp: EncoderStamp,
        change: Callable[[Vectors], Vectors],
        progress: Progress | None = None,
    ) -> Gallery:
        """Make another gallery of the same rows with other vectors; this one stays as it is.

        Ids, metadata, thumbnails and curation are kept. The copy appears whole or not at all;
        memory is that of a few thousand rows.

        Args:
            uri: its place; nothing may be there.
            stamp: the encoder of the new vectors.
            change: float32 (n, d) unit rows to those of the new gallery.
            progress: called with rows done and in all.

        Raises:
            UsageError: there is something at ``uri``.
            BadRows: ``change`` gave vectors that are not of unit length and the stamp's dimension.
        """
        source = lance.pin(self.uri, int(self.table.version))
        copy_mapped(source, location(uri), stamp, change, progress, self.curation().copier(change))
        return Gallery.open(uri, stamp)

    def build_index(
        self,
        partitions: int | None = None,
        recall: float | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Build LanceDB's vector index, for ``Gallery.open(uri, index="lance")``.

        Args:
            partitions: of the vectors; None: one per 4,096 rows, at least 16.
            recall: recall@10 that it should reach over a sample of stored rows, in (0, 1]; None:
                0.95. Where no setting reaches it, the recall noted is below.
            progress: called with one line about each step.

        Returns:
            Measurements that come with every answer; see store.search.lance_index.IndexNote.

        Raises:
            UsageError: too few rows, or numbers out of range.
        """
        from store.search import lance_index

        note = lance_index.build(
            self.uri,
            self._live,
            self.stamp.dimension,
            partitions,
            lance_index.RECALL if recall is None else recall,
            progress,
        )
        return asdict(note)

    def drop_index(self) -> bool:
        """Remove LanceDB's vector index. Whether there was one."""
        from store.search import lance_index

        return lance_index.drop(self.uri, self._live)

    # -- searching -----------------------------------------------------------------------------

    def search(
        self,
        vectors: npt.ArrayLike,
        k: int = 10,
        where: Where | None = None,
        exclude: Sequence[str] = (),
    ) -> list[Hits[Hit]]:
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
        queries = exact.check_queries(vectors, self.stamp)
        self.check_k(k)
        left_out = _ids_left_out(exclude)
        found = self._answer(lambda now: now.search(queries, int(k), where, left_out))
        return [Hits(hits, self.thumbnails) for hits in found]

    def search_words(
        self,
        words: str,
        k: int = 10,
        where: Where | None = None,
        exclude: Sequence[str] = (),
        *,
        vectors: npt.ArrayLike | None = None,
        fusion: Fusion = RRF,
        negated: bool = False,
    ) -> Hits[WordHit]:
        """The k films whose reports match words best, by BM25; or words and vectors together.

        A word that a report says is absent is not found: "no effusion" is no hit for ``effusion``.
        It is one for ``no effusion``, a query that is itself negated.

        Args:
            words: any of them is enough, more are better; words between quotes must stand so.
            k: how many, from 1 to the number of rows.
            where: only rows that pass take part.
            exclude: ids that must not be found.
            vectors: of a picture or a sentence, as ``search`` takes them; of several, a film
                counts by the one nearest to it. Films without a report are found by these alone.
            fusion: ``rrf``, reciprocal rank fusion of the first 1,000 films of either half, or the
                weight of the words from 0 to 1.
            negated: find words in reports that say they are absent, too.

        Returns:
            Hits, best first, equal scores by id; fewer than k when fewer match.

        Raises:
            BadQuery: k out of range, no word, a weight that is none, vectors that ``search``
                refuses, or no film has a report.
        """
        from store.search.words import search
        from store.words.query import parse

        query, how = parse(words, negated), check_fusion(fusion)
        beside = None if vectors is None else exact.check_queries(vectors, self.stamp)
        self.check_k(k)
        left_out = _ids_left_out(exclude)
        found = self._answer(
            lambda now: search(now, self.uri, query, int(k), where, left_out, beside, how)
        )
        return Hits(found, self.thumbnails)

    def count_words(
        self,
        words: str,
        where: Where | None = None,
        exclude: Sequence[str] = (),
        *,
        negated: bool = False,
        most: int = 1000,
    ) -> int:
        """How many films ``search_words`` finds by words alone; ``most`` where there are more."""
        from store.search.words import count
        from store.words.query import parse

        query, left_out = parse(words, negated), _ids_left_out(exclude)
        return self._answer(lambda now: count(now, self.uri, query, most, where, left_out))

    def has_reports(self) -> bool:
        """Whether any film has a report, so that words can be searched."""
        from store.search.words import has_reports

        return self._answer(has_reports)

    def search_by_id(
        self,
        id_: str,
        k: int = 10,
        where: Where | None = None,
        *,
        other_patients: bool = False,
    ) -> Hits[Hit]:
        """The k rows most similar to a stored one, which is never among them.

        Args:
            id_: of the stored row.
            k: how many.
            where: only rows that pass take part.
            other_patients: no row of its patient either, or of its study where only that is known;
                see own_films.

        Raises:
            UnknownId: no such row.
            BadQuery: k out of range.
        """
        self.vectors([id_])
        self.check_k(k)

        def ask(now: Searcher) -> list[list[Hit]]:
            own = own_films(now, [id_]).ids if other_patients else ()
            return now.search(now.vectors_of([id_]), int(k), where, [id_, *own])

        return Hits(self._answer(ask)[0], self.thumbnails)

    def own_films(self, ids: Sequence[str]) -> OwnFilms:
        """Films of the same patients as some stored ones, or of their studies; for ``exclude``.

        Of a study where only that is known. Names count within a data set.

        Raises:
            UnknownId: one of ``ids`` is not stored.
        """
        _check_ids(ids)
        return self._answer(lambda now: own_films(now, ids))

    def knows_patients(self) -> bool:
        """Whether any row says whose it is: its patient, or its study."""

        def ask(now: Searcher) -> bool:
            columns = [name for name in ("patient", "study") if name in now.handle.schema.names]
            return any(now.handle.count_rows(filters.has_text(name)) for name in columns)

        return self._answer(ask)

    def check_k(self, k: int) -> None:
        """Refuse a k that cannot be answered, before anything is encoded, with BadQuery."""
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise BadQuery(f"k = {k!r}: expected a whole number")
        rows = len(self)
        if rows == 0:
            raise BadQuery(
                f"the gallery at {self.uri} is empty; fill it with: cxr ingest folder "
                f"PATH-TO-YOUR-FILMS --store {self.uri}"
            )
        if not 1 <= k <= rows:
            raise BadQuery(f"k = {k}: expected 1 to {rows}, the number of rows in {self.uri}")

    def nearness(
        self,
        vectors: npt.ArrayLike,
        thumbnails: Sequence[bytes] | None = None,
        describe: Baseline | None = None,
    ) -> list[Nearness]:
        """Nearness of images, beside that of the gallery's rows: is there a good match at all?

        What it needs is worked out once per version of the table and kept beside a local gallery;
        only the pictures of new or changed rows are read again.

        Args:
            vectors: float (n, d), or (d,) for one; unit rows of the gallery's encoder.
            thumbnails: PNG of each image; None compares vectors alone.
            describe: thumbnails to float32 (n, m) unit rows, e.g. ``ingest.pixel_vectors``.

        Raises:
            BadQuery: vectors of another dimension, not finite or not unit.
        """
        from store.search.out_of_distribution import nearness

        queries = exact.check_queries(vectors, self.stamp)
        return self._answer(lambda now: nearness(now, self.uri, queries, thumbnails, describe))

    def read_mirror(self, what: str, ask: Callable[[Snapshot], T]) -> T:
        """Ask one version for something that needs all its vectors in memory.

        Args:
            what: needs them, e.g. ``a map``; for the error.
            ask: called with the snapshot.

        Raises:
            BadQuery: this gallery was opened to answer without them.
        """

        def asked(now: Searcher) -> T:
            if not isinstance(now, Snapshot):
                raise BadQuery(
                    f"{what} needs all vectors of {self.uri} in memory; open it with --index "
                    "exact, without --shards"
                )
            return ask(now)

        return self._answer(asked)

    @property
    def in_memory(self) -> bool:
        """Whether all vectors are in memory, so that ``read_mirror`` can be asked."""
        return isinstance(self.searcher, Snapshot)

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
        progress: Progress | None = None,
        same_patient: SamePatient = "exclude",
        relevance: str = "any",
    ) -> Evaluation:
        """Precision@k and its company over labelled rows, those in which nothing was found too.

        Where vectors are not in memory (``index="lance"``), queries are searched one by one,
        without mAP and without baselines other than chance.

        Args:
            protocol: ``leave-one-out`` (each row of ``split`` queries the others of that split)
                or ``split`` (rows of ``split`` query those of ``gallery_split``).
            k: depths, each at least 1.
            split: of the queries; None takes all rows (leave-one-out only).
            gallery_split: of the gallery in the split protocol.
            dataset: only rows of this data set.
            baselines: name to a function from thumbnails to unit vectors, measured beside.
            full_ranking: also compute mAP and R-precision, which sort the whole gallery for every
                query.
            progress: called with queries done and in all.
            same_patient: ``exclude`` films of the query's own patient from its ranking (of its
                study, where only that is known), or ``count`` them as any other.
            relevance: which films are relevant to a query: ``any`` (they share a finding), ``all``
                (they have every finding of the query), ``jaccard`` (graded by the findings that
                both have) or ``finding=NAME`` (both have it, or neither).

        Raises:
            BadQuery: an unknown protocol or relevance, a split without labelled rows, a k beyond
                the gallery.
            NothingToMeasure: chance is 1: every row is relevant to every query; or all films are of
                one patient.
        """
        from store.evaluation.protocols import evaluate_version

        asked = (protocol, k, split, gallery_split, dataset, baselines or {})

        def ask(now: Searcher) -> Evaluation:
            found = evaluate_version(now, *asked, full_ranking, progress, same_patient, relevance)
            return replace(found, store=self.describe(now))

        return self._answer(ask)

    def by_query(
        self,
        protocol: str = "leave-one-out",
        k: Sequence[int] = (1, 3, 5, 10),
        *,
        split: str | None = "test",
        gallery_split: str = "train",
        dataset: str | None = None,
        progress: Progress | None = None,
        same_patient: SamePatient = "exclude",
        relevance: str = "any",
    ) -> ByQuery:
        """Per-query table of ``evaluate``; the arguments are the same.

        Raises:
            BadQuery: as ``evaluate``, or vectors are not in memory.
        """
        from store.evaluation.per_query import by_query
        from store.evaluation.protocols import sides

        def ask(now: Snapshot) -> ByQuery:
            rows = sides(now, protocol, split, gallery_split, dataset, relevance)
            return by_query(*rows, k, progress, relevance, same_patient)

        return self.read_mirror("this study", ask)

    # -- looking up ----------------------------------------------------------------------------

    def rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Metadata of the rows that are stored now, by id; unknown ids are left out.

        Of a pinned reader, those of its version, as with all that follows.
        """
        wanted = list(ids)
        return self._look_up(lambda table: lance.rows_by_id(table, wanted))

    def elsewhere(self, place: str | None, prefix: str | None) -> Iterator[tuple[str, str, bytes]]:
        """Id, source and sha256 of rows whose file is not where a folder would have it.

        Read as a stream, from the table as it is now.

        Args:
            place: the folder; ``None`` for all rows that had pixels.
            prefix: what stands before the path below it in ids; ``None`` where ids are not made of
                paths.
        """
        names = ["id", "source", "sha256"]
        for part in lance.scan_batches(self.table, names, filters.elsewhere(place, prefix)):
            yield from zip(*(part[name].to_pylist() for name in names), strict=True)

    def holding(self, digests: Iterable[bytes]) -> dict[bytes, list[str]]:
        """Ids of the rows that are stored now, by the sha256 of their source.

        Args:
            digests: 32 bytes each; digests without a row are left out.
        """
        wanted = list(digests)
        found: dict[bytes, list[str]] = {}
        for digest, id_ in self._look_up(lambda table: list(lance.by_digest(table, wanted))):
            found.setdefault(digest, []).append(id_)
        return {digest: sorted(ids) for digest, ids in found.items()}

    def whole_id(self, end: str) -> str:
        """The stored id that is this text, or else the only one that ends with it.

        ``17`` means ``set/test/17`` rather than ``set/test/117``.

        Raises:
            UnknownId: no stored id ends so.
            BadQuery: several do, of which some are named.
        """
        _check_ids([end])
        found = self._look_up(lambda table: lance.ids_at(table, end))
        if not found:
            self.vectors([end])  # which says so, and how ids look here
            return end
        if len(found) > 1:
            more = f" and {len(found) - _SOME:,} more" if len(found) > _SOME else ""
            raise BadQuery(
                f"{end!r} could be {', '.join(found[:_SOME])}{more}; give more of the id"
            )
        return found[0]

    def row(self, id_: str) -> Row:
        """Metadata of one row. UnknownId when there is none."""
        _check_ids([id_])
        return self._answer(lambda now: now.rows_of([id_]))[0]

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """Embeddings, float32 (n, d), in the order asked. UnknownId when one is missing."""
        _check_ids(ids)
        return self._answer(lambda now: now.vectors_of(ids))

    def thumbnails(self, ids: Sequence[str]) -> dict[str, bytes | None]:
        """PNG bytes by id; None where a row has no picture. UnknownId when one is missing."""
        _check_ids(ids)
        pictures = self._answer(lambda now: lance.thumbnails(now.handle, now.row_ids_of(ids)))
        return dict(zip(ids, pictures, strict=True))

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids that pass a filter, sorted."""
        return self._answer(lambda now: now.ids_of(where))

    def read_columns(self, names: Sequence[str], where: Where | None = None) -> pa.Table:
        """Columns of the table, for rows that pass a filter, in any order.

        Of a table that lacks a column, the others.
        """

        def ask(now: Searcher) -> pa.Table:
            schema = now.handle.schema
            condition = where.to_filter(schema) if where else None
            return lance.scan(now.handle, [one for one in names if one in schema.names], condition)

        return self._answer(ask)

    def count(self, where: Where) -> int:
        """Number of rows that pass a filter, counted by LanceDB: no metadata is read for it."""

        def ask(now: Searcher) -> int:
            return int(now.handle.count_rows(where.to_filter(now.handle.schema)))

        return self._answer(ask)

    def count_larger(self, side: int) -> int:
        """Number of films whose shorter side has more than this many pixels."""
        condition = filters.larger(side)
        return self._answer(lambda now: int(now.handle.count_rows(condition)))

    def count_reports(self) -> int:
        """Number of films with the text of a report."""

        def ask(now: Searcher) -> int:
            return int(now.handle.count_rows(filters.reported(True, now.handle.schema)))

        return self._answer(ask)

    def columns(self) -> dict[str, str]:
        """The user's own columns: name to ``int``, ``float``, ``bool``, ``string`` or ``date``."""
        if self._searcher is None:  # the schema is no reason to load vectors
            return custom_columns.kinds(self.table.schema)
        return self._answer(lambda now: custom_columns.kinds(now.handle.schema))

    def facets(self, where: Where | None = None) -> dict[str, dict[str, int]]:
        """Counts of rows by value, by column.

        Columns are labels, uncertain, absent, split, dataset, view and sex, and those of the
        user's own that hold strings or bools and not too many different ones. Rows without a
        value are not counted there. ``outcome`` counts what the findings of a row come to; see
        store.outcomes.
        """
        return self._answer(lambda now: now.facets(where))

    def ranges(self, where: Where | None = None) -> dict[str, Range]:
        """Least and greatest value of every column of numbers or dates, among rows that pass.

        Columns are age, in years, and the user's own ints, floats and dates. Where no row has a
        value, the column is left out.
        """
        return self._answer(lambda now: now.ranges(where))

    def to_arrow(self, where: Where | None = None, *, vectors: bool = False) -> pa.Table:
        """Arrow table of the rows that pass, by id: all metadata, without thumbnails.

        Args:
            where: only rows that pass.
            vectors: also the embeddings, as lists of d float32.
        """
        from store.words.index import COLUMN

        def ask(table: Any) -> pa.Table:
            left_out = {"thumbnail", rows.CHECKSUM, COLUMN, *(() if vectors else ("embedding",))}
            columns = [name for name in table.schema.names if name not in left_out]
            condition = where.to_filter(table.schema) if where else None
            found = lance.scan(table, columns, condition)
            outcomes = rows.findings_of(found.select(rows.findings_columns(found.schema)))
            return found.append_column("outcome", outcomes["outcome"]).sort_by("id")

        return self._look_up(ask)

    def to_pandas(self, where: Where | None = None, *, vectors: bool = False) -> pandas.DataFrame:
        """The same as a pandas data frame."""
        return notebook.pandas_of(self.to_arrow(where, vectors=vectors))

    def to_polars(self, where: Where | None = None, *, vectors: bool = False) -> polars.DataFrame:
        """The same as a polars data frame."""
        return notebook.polars_of(self.to_arrow(where, vectors=vectors))

    def _repr_html_(self) -> str:
        here = self.pinned()
        ids = here.ids()
        some = ids[:: max(1, len(ids) // _PICTURES)][:_PICTURES]
        labels = here.facets()["labels"]
        counted = ", ".join(f"{name} {count:,}" for name, count in labels.items())
        head = f"Gallery of {len(ids):,} films, encoder {self.stamp}. {counted}"
        return notebook.films_html(head, list(here.rows(some).values()), here.thumbnails(some))

    def describe(self, now: Searcher | None = None) -> dict[str, Any]:
        """Identity of the store behind an answer: uri, rows, table version, encoder, fingerprint.

        Also the caveats of answers that are not exact, e.g. ``approximate``.
        """
        now = now or self.searcher
        return {
            "uri": self.uri,
            "rows": now.count,
            "table_version": now.version,
            "encoder": self.stamp.name,
            "fingerprint": self.stamp.fingerprint,
            **now.caveats,
        }

    def check(self) -> list[str]:
        """Read everything back and compare it with its checksums and with the mirror.

        Returns:
            One sentence for each thing that is wrong, with ids; none when all is sound.
        """
        from store.check import problems

        try:
            if not self._pinned:
                self.refresh()
        except StoreDamaged as error:
            return problems(self.table) or [str(error)]
        now = self.searcher
        mirror = now if isinstance(now, Snapshot) else None
        return [*problems(now.handle, mirror), *self.curation().problems()]

    def repair(self) -> Repaired:
        """Of each id that occurs more than once keep the newest row.

        Changes of curation that were cut off are finished.
        """
        self.curation().settle()
        return repair(self.uri, self._live)

    def stats(self) -> dict[str, Any]:
        """Statistics of the store, as the command line prints them."""
        if not self._pinned:
            self.refresh()
        facets = self.facets()
        outcomes = facets.get("outcome", {})  # or a column of the user's own
        counted = [
            name
            for name, column in COLUMNS.items()
            if column.counted and name not in FINDINGS and "stats" not in column.absent_from
        ]
        table = self.table
        fragments, size = lance.size(self.uri, table)
        return {
            **self.describe(),
            **{name: facets[name] for name in FINDINGS},
            "outcome": {name: outcomes[name] for name in OUTCOMES if name in outcomes},
            "columns": self.columns(),
            **{_STATS.get(name, name): facets[name] for name in counted},
            "reports": self.count_reports(),
            "pixel_readers": _pixel_readers(table),
            "table_version": int(table.version),
            "mirror_version": self.table_version,
            "fragments": fragments,
            "bytes": size,
            "dimension": self.stamp.dimension,
            "search": self.searcher.index_facts,
        }


def whole_of(where: Where | None, batch: str | None) -> Where | None:
    """The filter of a data set or a batch that is meant whole; None where less is."""
    found = where or Where()
    if batch is not None:
        return Where(batch=(batch,)) if not found else None
    alone = found in (Where(dataset=found.dataset), Where(batch=found.batch))
    return found if alone else None


def _pixel_readers(table: Any) -> dict[str, int]:
    """Rows by the version of the pixel reader; rows without pixels are left out."""
    name = rows.READER.name
    if name not in table.schema.names:
        first = int(table.count_rows())
        return {"1": first} if first else {}
    counts = rows.reader_counts(lance.scan(table, [name])[name])
    return {str(version): count for version, count in counts.items() if version}


def _ids_left_out(exclude: Sequence[str]) -> list[str]:
    if isinstance(exclude, str | bytes):
        raise BadQuery(f"exclude {exclude!r}: expected a list of ids, not one")
    return [id_ for id_ in exclude if isinstance(id_, str)]  # no row has another kind of id


def _check_ids(ids: Sequence[str]) -> None:
    if isinstance(ids, str | bytes):
        raise BadQuery(f"ids {ids!r}: expected a list of ids, not one")
    for id_ in ids:
        if not isinstance(id_, str):
            raise UnknownId(f"no row {id_!r}: ids are texts, this is of type {type(id_).__name__}")


def _stamp(handle: Any) -> EncoderStamp:
    stamp = rows.stamp_of(handle.schema.metadata)
    if stamp is None:
        raise StoreDamaged("the table lost its encoder stamp; restore it from a copy")
    return stamp


def choose(
    uri: str, stamp: EncoderStamp, index: str = EXACT, sharding: Sharding | None = None
) -> Backend:
    """The backend that answers a gallery's queries.

    Args:
        uri: of the gallery.
        stamp: its encoder.
        index: ``exact``: all vectors in memory; ``lance``: LanceDB's index, see
        store.search.lance_index.

        sharding: keep the vectors in shards on a cluster, not in this process; exact too.

    Raises:
        UsageError: an unknown index; shards of an index that has none; Ray is not installed.
        ClusterUnavailable: nothing answers at the address.
    """
    if sharding is not None:
        if index != EXACT:
            raise UsageError(f"index {index!r} has no shards; leave out --shards, or --index")
        from store.cluster.sharded import ShardedBackend

        return ShardedBackend(uri, stamp.dimension, sharding)
    if index == EXACT:
        from store.search.exact import ExactBackend

        return ExactBackend(uri, stamp.dimension)
    if index == LANCE:
        from store.search.lance_index import LanceBackend

        return LanceBackend(uri)
    raise UsageError(f"index {index!r}: expected {' or '.join(INDEXES)}")


def refined_search(
    gallery: Gallery,
    query: npt.ArrayLike | str | None,
    k: int = 10,
    *,
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    weights: Weights | None = None,
    where: Where | None = None,
    other_patients: bool = False,
    exclude: Sequence[str] = (),
) -> Hits[Hit]:
    """The k films most similar to a query and to some stored films, and unlike others.

    The films that are part of the query are never among its hits.

    Args:
        gallery: what to search.
        query: a unit vector of the gallery's encoder, float (d,); several, float (n, d), where a
            film counts by the one that is nearest to it; the id of a stored film; or None.
        k: how many, from 1 to the number of rows.
        like: ids of films to be like.
        unlike: ids of films to be unlike.
        weights: the usual ones when None; without ``like`` and ``unlike`` they play no part.
        where: only rows that pass take part.
        other_patients: no film either of the patients of the query and of the films to be like,
            where these are stored; see Gallery.own_films.
        exclude: ids that must not be found either.

    Returns:
        Hits, best first; fewer than k when fewer pass.

    Raises:
        UnknownId: one of the films is not stored.
        BadQuery: k out of range, nothing to be like, parts that cancel each other out, or films to
            be like or unlike beside several vectors.
    """
    if not like and not unlike and isinstance(query, str) and not exclude:
        return gallery.search_by_id(query, k, where, other_patients=other_patients)
    vectors, left_out = combined_query(
        gallery, query, like=like, unlike=unlike, weights=weights, other_patients=other_patients
    )
    found = gallery.search(vectors, k, where, [*left_out, *_ids_left_out(exclude)])
    return found[0] if len(found) == 1 else Hits(_by_best(found, k), gallery.thumbnails)


def combined_query(
    gallery: Gallery,
    query: npt.ArrayLike | str | None,
    *,
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    weights: Weights | None = None,
    other_patients: bool = False,
) -> tuple[npt.NDArray[Any], list[str]]:
    """The vector of a query and of films to be like and unlike; see refined_search.

    Returns:
        Float (d,), or (n, d) as they were given; and the ids of stored films that are part of the
        query, and of their patients where others are wanted: these must not be found.
    """
    if query is not None and not isinstance(query, str) and np.ndim(query) > 1:
        vectors = np.asarray(query)
        if len(vectors) > 1:
            if like or unlike:
                raise BadQuery(
                    "films to be like or unlike go with one query vector, not with several"
                )
            return vectors, []
        query = vectors[0]
    if not like and not unlike and query is None:
        raise BadQuery("nothing to search for: give a query, or a film to be like")
    if not like and not unlike and not isinstance(query, str):
        return np.asarray(query), []
    own = [query] if isinstance(query, str) else []
    vector = gallery.vectors(own)[0] if isinstance(query, str) else query
    towards, away = list(dict.fromkeys(like)), list(dict.fromkeys(unlike))
    apart = gallery.own_films([*own, *towards]).ids if other_patients else ()
    left_out = [*own, *towards, *away, *apart]
    if not towards and not away and vector is not None:
        return np.asarray(vector), left_out
    return rocchio(vector, gallery.vectors(towards), gallery.vectors(away), weights), left_out


def _by_best(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """The k best hits of several vectors, each film once with its highest score; ties by id.

    Exact: a film among the k best of all is among the k best of the vector nearest to it.
    """
    best: dict[str, Hit] = {}
    for hit in (hit for found in lists for hit in found):
        if hit.row.id not in best or hit.score > best[hit.row.id].score:
            best[hit.row.id] = hit
    ranked = sorted(best.values(), key=lambda hit: (-hit.score, hit.row.id))[:k]
    return [replace(hit, rank=rank) for rank, hit in enumerate(ranked, start=1)]
