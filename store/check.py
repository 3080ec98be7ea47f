"""Integrity check of a gallery: reads everything back and lists the problems."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from store.errors import counted
from store.table import duplicate_ids, lance
from store.table.repair import not_found_by_id, pictures
from store.table.rows import CHECKSUM, NORM_TOLERANCE, checksums

if TYPE_CHECKING:
    from store.mirror.snapshot import Snapshot

#: Ids named per problem; the rest are counted.
_NAMED = 5
_NEWER = "; keep the newer row of each with: cxr check --repair"
_AGAIN = "; remove them with: cxr delete --for-good --id ID, then ingest them again"


def problems(handle: Any, snapshot: Snapshot | None = None) -> list[str]:
    """One sentence for each thing that is wrong with a table; empty when it is sound.

    Args:
        handle: the table.
        snapshot: a mirror of the same version, compared with the table.
    """
    try:
        keys = lance.scan(handle, ["id", "sha256", "_rowid", lance.CHANGED_AT])
        ids = keys["id"].to_pylist()
        row_ids, changed_at = (
            keys[name].to_numpy().astype(np.int64) for name in ("_rowid", lance.CHANGED_AT)
        )
        older = row_ids[duplicate_ids.older(keys["id"].combine_chunks(), row_ids, changed_at)]
        bad_vectors, altered, differing = [], [], []
        read = 0
        for batch in lance.scan_batches(handle, ["id", "_rowid", "embedding", CHECKSUM]):
            vectors = lance.vectors(batch)
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            bad = ~(np.abs(norms - 1) <= NORM_TOLERANCE)
            other = checksums(vectors) != batch.column(CHECKSUM).to_numpy()
            names = batch.column("id")
            bad_vectors += [names[int(place)].as_py() for place in np.flatnonzero(bad)]
            altered += [names[int(place)].as_py() for place in np.flatnonzero(other)]
            if snapshot is not None:
                here = batch.column("_rowid").to_numpy().astype(np.int64)
                wrong = np.asarray(snapshot.differing(here, vectors), np.int64)
                wrong = wrong[~np.isin(here[wrong], older)]  # those are not in the mirror
                differing += [names[int(place)].as_py() for place in wrong]
            read += len(norms)
        bad_pictures = [
            id_
            for id_, picture in zip(ids, pictures(handle, row_ids.tolist()), strict=True)
            if picture is not None and not picture.startswith(b"\x89PNG\r\n\x1a\n")
        ]
        lost = not_found_by_id(handle, ids)
    except lance.ReadFault as error:
        return [f"version {handle.version} cannot be read: {str(error)[:300]}"]
    found = []
    if read != len(ids):
        found.append(f"{counted(len(ids), 'id')} but {read} vectors")
    if snapshot is not None and snapshot.count != len(ids) - len(older):
        found.append(f"{counted(len(ids), 'row')} in the table but {snapshot.count} in the mirror")
    repeated = [id_ for id_, count in Counter(ids).items() if count > 1]
    for what, which, remedy in (
        ("ids occur more than once", repeated, _NEWER),
        ("vectors are not finite and of unit length", bad_vectors, _AGAIN),
        ("vectors are not the ones that were written", altered, _AGAIN),
        ("vectors of the mirror differ from the table", differing, "; delete the saved mirror"),
        ("ids are stored but not found by lookup", lost, "; run: cxr optimize"),
        ("thumbnails are not PNG", bad_pictures, _AGAIN),
    ):
        if which:
            more = " ..." if len(which) > _NAMED else ""
            found.append(f"{len(which)} {what}: {', '.join(which[:_NAMED])}{more}{remedy}")
    return found
