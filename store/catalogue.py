"""What a gallery tells of its rows and of itself, without searching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from store.check import problems
from store.errors import BadQuery, StoreDamaged, UnknownId
from store.schema import Row, Vectors
from store.search.base import Answerer
from store.search.follow import Following
from store.table import custom_columns, filters, lance, rows
from store.table.duplicate_ids_repair import Repaired, repair
from store.table.filters import Where
from store.table.ranges import Range


class Catalogue(Following):
    """The part of Gallery that looks up, counts and checks."""

    def rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Metadata of the rows that are stored now, by id; unknown ids are left out."""
        self._live.checkout_latest()
        return lance.rows_by_id(self._live, ids)

    def known(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        """(sha256, encoder fingerprint) of the rows that are stored now: what may be skipped."""
        return {id_: (row.sha256, self.stamp.fingerprint) for id_, row in self.rows(ids).items()}

    def elsewhere(self, place: str, prefix: str | None) -> Iterator[tuple[str, str, bytes]]:
        """Id, source and sha256 of rows whose file is not where a folder would have it.

        Read as a stream, from the table as it is now.

        Args:
            place: the folder.
            prefix: what stands before the path below it in ids; ``None`` where ids are not made of
                paths.
        """
        self._live.checkout_latest()
        names = ["id", "source", "sha256"]
        for part in lance.scan_batches(self._live, names, filters.elsewhere(place, prefix)):
            yield from zip(*(part[name].to_pylist() for name in names), strict=True)

    def holding(self, digests: Iterable[bytes]) -> dict[bytes, list[str]]:
        """Ids of the rows that are stored now, by the sha256 of their source.

        Args:
            digests: 32 bytes each; those that no row has are left out.
        """
        self._live.checkout_latest()
        found: dict[bytes, list[str]] = {}
        for digest, id_ in lance.by_digest(self._live, digests):
            found.setdefault(digest, []).append(id_)
        return {digest: sorted(ids) for digest, ids in found.items()}

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

    def columns(self) -> dict[str, str]:
        """The user's own columns: name to ``int``, ``float``, ``bool``, ``string`` or ``date``."""
        if self._answerer is None:  # the schema is no reason to load vectors
            self._live.checkout_latest()
            return custom_columns.kinds(self._live.schema)
        return self._answer(lambda now: custom_columns.kinds(now.handle.schema))

    def facets(self, where: Where | None = None) -> dict[str, dict[str, int]]:
        """How many rows carry each value of a column, by column.

        Columns are labels, uncertain, absent, split, dataset, view and sex, and those of the
        user's own that hold strings or bools and not too many different ones. Rows without a
        value are not counted there.
        """
        return self._answer(lambda now: now.facets(where))

    def ranges(self, where: Where | None = None) -> dict[str, Range]:
        """Least and greatest value of every column of numbers or dates, among rows that pass.

        Columns are age, in years, and the user's own ints, floats and dates. Where no row has a
        value, the column is left out.
        """
        return self._answer(lambda now: now.ranges(where))

    def describe(self, now: Answerer | None = None) -> dict[str, Any]:
        """Which store an answer came from: uri, rows, table version, encoder, fingerprint.

        Also what must be said of answers that are not exact, e.g. ``approximate``.
        """
        now = now or self._now()
        return {
            "uri": self.uri,
            "rows": now.count,
            "table_version": now.version,
            "encoder": self.stamp.name,
            "fingerprint": self.stamp.fingerprint,
            **now.manner,
        }

    def check(self) -> list[str]:
        """Read everything back and compare it with its checksums and with the mirror.

        Returns:
            One sentence for each thing that is wrong, with ids; none when all is sound.
        """
        try:
            self.refresh()
        except StoreDamaged as error:
            self._live.checkout_latest()
            return problems(self._live, self.stamp.dimension) or [str(error)]
        now = self._now()
        return problems(now.handle, self.stamp.dimension, now.mirror)

    def repair(self) -> Repaired:
        """Of each id that occurs more than once keep the newest row; see store.table.duplicate_ids_repair."""
        return repair(self.uri, self._live)

    def stats(self) -> dict[str, Any]:
        """What is in the store, as the command line prints it."""
        self.refresh()
        facets = self.facets()
        fragments, size = lance.size(self.uri, self._live)
        return {
            **self.describe(),
            "labels": facets["labels"],
            "uncertain": facets["uncertain"],
            "absent": facets["absent"],
            "columns": self.columns(),
            "splits": facets["split"],
            "datasets": facets["dataset"],
            "pixel_readers": self._pixel_readers(),
            "table_version": int(self._live.version),
            "mirror_version": self.table_version,
            "fragments": fragments,
            "bytes": size,
            "dimension": self.stamp.dimension,
            "search": self._now().searching,
        }

    def _pixel_readers(self) -> dict[str, int]:
        """Rows by the version of what made their pixels; without those that had none."""
        name = rows.READER.name
        if name not in self._live.schema.names:
            first = int(self._live.count_rows())
            return {"1": first} if first else {}
        counts = rows.reader_counts(lance.scan(self._live, [name])[name])
        return {str(version): count for version, count in counts.items() if version}


def _check_ids(ids: Sequence[str]) -> None:
    if isinstance(ids, str | bytes):
        raise BadQuery(f"ids {ids!r}: expected a list of ids, not one")
    for id_ in ids:
        if not isinstance(id_, str):
            raise UnknownId(f"no row {id_!r}: ids are texts, this is of type {type(id_).__name__}")
