"""One shard of a gallery: its own rows of a pinned version, in memory, and exact search over them.

Which rows are its own follows from their row ids alone, so that shards never have to agree on
anything, and a new version costs each of them only what changed in it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.errors import StoreDamaged
from store.mirror import build, faiss_index
from store.mirror.snapshot import Snapshot
from store.schema import Integers, Vectors
from store.search import exact
from store.table import lance
from store.table.filters import Where

#: Neighbouring row ids stay together, so that a shard reads runs of rows, not single ones.
BLOCK = 1024
#: Bytes of vectors taken from the table at once.
_PIECE_BYTES = 16 << 20

#: What tells one state of a table from all others: uuid, version, digest of the manifest.
Identity = tuple[str, int, str]
#: Row ids, float32 scores and ids of one query's neighbours in a shard, best first.
Neighbours = tuple[Integers, npt.NDArray[np.float32], list[str]]


def own(row_ids: Integers, number: int, shards: int) -> npt.NDArray[np.bool_]:
    """Which rows belong to a shard."""
    mine: npt.NDArray[np.bool_] = row_ids // BLOCK % shards == number
    return mine


class Part(Snapshot):
    """A snapshot of some rows of a version."""

    def places(self, row_ids: Integers) -> Integers:
        """Positions of those of a version's rows that are of this part."""
        sorted_ids, positions = self.by_row_id
        return positions[np.isin(sorted_ids, row_ids)]


def follow(before: Part | None, handle: Any, dimension: int, number: int, shards: int) -> Part:
    """A shard's rows of the version that a handle is pinned to.

    Args:
        before: an older part to copy from, left as it is; None reads all rows.
        handle: the table, pinned.
        dimension: of its vectors.
        number: which shard, from 0.
        shards: how many.

    Raises:
        StoreDamaged: rows are missing, or vectors are not of unit length.
    """
    now = lance.scan(handle, ["_rowid", "_row_last_updated_at_version"])
    row_ids = now["_rowid"].to_numpy().astype(np.int64)
    changed_at = now["_row_last_updated_at_version"].to_numpy().astype(np.int64)
    if len(row_ids) != handle.count_rows():
        raise _damaged(handle, f"{handle.count_rows()} rows, but a scan found {len(row_ids)}")
    mine = own(row_ids, number, shards)
    row_ids, changed_at = row_ids[mine], changed_at[mine]
    kept, wanted = _kept(before, handle, row_ids, changed_at)

    count = len(row_ids)
    index, vectors = faiss_index.empty(count, dimension)
    parts: list[pa.Table] = []
    if before is not None and len(kept):
        np.take(before.vectors, kept, axis=0, out=vectors[: len(kept)], mode="clip")
        old = [before.keys.take(pa.array(kept)), before.row_ids[kept], before.changed_at[kept]]
        parts.append(pa.table(old, names=list(build.COLUMNS[:3])))
    filled = len(kept)
    piece = max(_PIECE_BYTES // (4 * dimension), 1)
    for start in range(0, len(wanted), piece):
        with lance.panics_as_errors():
            taken = handle.take_row_ids(wanted[start : start + piece].tolist())
            found = taken.select(list(build.COLUMNS)).to_arrow()
        values = found["embedding"].combine_chunks().flatten().to_numpy()
        vectors[filled : filled + len(found)] = values.reshape(-1, dimension)
        filled += len(found)
        parts.append(pa.table([found[n].cast(_TYPES[n]) for n in _TYPES], names=list(_TYPES)))
    if filled != count:
        raise _damaged(handle, f"{count} rows of shard {number}, but only {filled} can be read")
    whole = pa.concat_tables([pa.table([[]] * 3, schema=pa.schema(_TYPES)), *parts])
    keys = pa.concat_arrays([pa.array([], pa.string()), *whole["id"].chunks])
    build.check(keys, vectors, len(kept))
    return Part(
        handle,
        index,
        vectors,
        keys,
        whole["_rowid"].to_numpy(),
        whole["_row_last_updated_at_version"].to_numpy(),
        int(handle.version),
        lance.uuid_of(handle),
        lance.token(handle, int(handle.version)) or "",
    )


_TYPES = dict(zip(build.COLUMNS[:3], (pa.string(), pa.int64(), pa.int64()), strict=True))


def _kept(
    before: Part | None, handle: Any, row_ids: Integers, changed_at: Integers
) -> tuple[Integers, Integers]:
    """Positions of ``before`` that are as they were, and the row ids that must be read."""
    if before is None or not len(before.row_ids) or not build.same_history(before, handle):
        return np.empty(0, np.int64), np.sort(row_ids)
    sorted_ids, positions = before.by_row_id
    places = np.minimum(np.searchsorted(sorted_ids, row_ids), len(sorted_ids) - 1)
    old = positions[places]
    same = (sorted_ids[places] == row_ids) & (before.changed_at[old] == changed_at)
    version = int(handle.version)
    if version != before.version and not build._plausible(before, version, changed_at, same):
        return np.empty(0, np.int64), np.sort(row_ids)
    return np.sort(old[same]), np.sort(row_ids[~same])


def _damaged(handle: Any, what: str) -> StoreDamaged:
    return StoreDamaged(f"version {handle.version} of the gallery counts {what}; run: cxr check")


class Shard:
    """The actor: parts of the versions that are in use, each of them whole before it is asked."""

    def __init__(self, uri: str, dimension: int, number: int, shards: int) -> None:
        self._uri, self._dimension = uri, dimension
        self._number, self._shards = number, shards
        self._parts: dict[Identity, Part] = {}
        self._loading = threading.Lock()

    def load(self, identity: Identity) -> dict[str, Any]:
        """Make a version ready beside those that are; searches go on meanwhile.

        Returns:
            ``rows`` and ``bytes`` of vectors held, and ``seconds`` it took.
        """
        begin = time.monotonic()
        with self._loading:
            part = self._parts.get(identity)
            if part is None:
                handle = lance.pin(self._uri, identity[1])
                if lance.uuid_of(handle) != identity[0]:
                    raise RuntimeError(f"version {identity[1]} of that table was not found")
                before = next(reversed(self._parts.values()), None)
                part = follow(before, handle, self._dimension, self._number, self._shards)
                self._parts = {**self._parts, identity: part}
        spent = time.monotonic() - begin
        return {"rows": part.count, "bytes": part.vectors.nbytes, "seconds": spent}

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()

    def versions(self) -> list[int]:
        """Which it holds."""
        return [version for _, version, _ in self._parts]

    def keep(self, identity: Identity) -> None:
        """Let go of all versions but one."""
        with self._loading:
            self._parts = {one: part for one, part in self._parts.items() if one == identity}

    def search(
        self,
        identity: Identity,
        asked: tuple[Vectors, Sequence[str]],
        k: int,
        where: Where | None,
    ) -> list[Neighbours] | None:
        """The k nearest of this shard's rows per query.

        Args:
            identity: the version that is asked.
            asked: float32 (q, d) unit rows, and ids that are not found.
            k: how many.
            where: only rows that pass are found.

        Returns:
            None when it does not hold that version.
        """
        part = self._parts.get(identity)
        if part is None:
            return None
        queries, exclude = asked
        excluded = part.known_positions(exclude)
        found = exact.nearest(part, queries, k, part.positions_of(where), excluded)
        return [
            (part.row_ids[places], scores, part.keys.take(pa.array(places)).to_pylist())
            for places, scores in found
        ]
