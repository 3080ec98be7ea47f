"""Is a gallery sound? Reads everything back and says what is wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from store import table
from store.arrow import CHECKSUM, NORM_TOLERANCE, checksums

#: Ids named per problem; the rest are counted.
_NAMED = 5


def problems(handle: Any, dimension: int) -> list[str]:
    """One sentence for each thing that is wrong with a table; empty when it is sound."""
    try:
        keys = table.scan(handle, ["id", "sha256", "_rowid"])
        ids = keys["id"].to_pylist()
        bad_vectors, altered = [], []
        read = 0
        for batch in table.scan_batches(handle, ["id", "embedding", CHECKSUM]):
            flat = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
            vectors = flat.reshape(-1, dimension)
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            bad = ~(np.abs(norms - 1) <= NORM_TOLERANCE)
            other = checksums(vectors) != batch.column(CHECKSUM).to_numpy()
            names = batch.column("id")
            bad_vectors += [names[int(place)].as_py() for place in np.flatnonzero(bad)]
            altered += [names[int(place)].as_py() for place in np.flatnonzero(other)]
            read += len(norms)
        pictures = table.thumbnails(handle, keys["_rowid"].to_pylist())
    except (RuntimeError, OSError, ValueError) as error:
        return [f"version {handle.version} cannot be read: {str(error)[:300]}"]
    repeated = [id_ for id_, count in Counter(ids).items() if count > 1]
    bad_pictures = [
        id_
        for id_, picture in zip(ids, pictures, strict=True)
        if picture is not None and not picture.startswith(b"\x89PNG\r\n\x1a\n")
    ]
    found = []
    if read != len(ids):
        found.append(f"{len(ids)} ids but {read} vectors")
    for what, which in (
        ("ids occur more than once", repeated),
        ("vectors are not finite and of unit length", bad_vectors),
        ("vectors are not the ones that were written", altered),
        ("thumbnails are not PNG", bad_pictures),
    ):
        if which:
            more = " ..." if len(which) > _NAMED else ""
            found.append(f"{len(which)} {what}: {', '.join(which[:_NAMED])}{more}")
    return found
