"""Upkeep of the tables of curation: their check, and their copy beside a copied gallery."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from store.curation import log, places
from store.curation.tables import Desk
from store.errors import CxrError
from store.files import CHANGES, SELECTIONS, SET_ASIDE
from store.schema import Vectors
from store.table import lance, write
from store.table.rows import CHECKSUM, checksums

_NAMED = 5
_FINISH = "; finish it with: cxr check --repair"


def problems(desk: Desk) -> list[str]:
    """One sentence for each thing that is wrong; none when all is sound."""
    found: list[str] = []
    try:
        found += [
            f"the change {one.id} ({one.kind} of {one.films:,} films by {one.who}) was cut off"
            f"{_FINISH}"
            for one in log.unfinished(desk)
        ]
        if both := places.in_both(desk):
            more = " ..." if len(both) > _NAMED else ""
            found.append(
                f"{len(both)} films are in the gallery and set aside: "
                f"{', '.join(both[:_NAMED])}{more}{_FINISH}"
            )
        if altered := _altered(desk):
            more = " ..." if len(altered) > _NAMED else ""
            found.append(
                f"{len(altered)} vectors of films set aside are not the ones that were written: "
                f"{', '.join(altered[:_NAMED])}{more}; ingest them again after: cxr delete "
                "--for-good --id ID"
            )
        desk.table(SELECTIONS)
    except lance.ReadFault as error:
        found.append(f"the tables of curation cannot be read: {str(error)[:300]}")
    except CxrError as error:
        found.append(str(error))
    return found


def _altered(desk: Desk) -> list[str]:
    table = desk.table(SET_ASIDE)
    if table is None:
        return []
    wrong: list[str] = []
    for batch in lance.scan_batches(table, ["id", "embedding", CHECKSUM]):
        other = checksums(lance.vectors(batch)) != batch.column(CHECKSUM).to_numpy()
        wrong += [batch.column("id")[int(place)].as_py() for place in np.flatnonzero(other)]
    return wrong


def copy(desk: Desk, uri: str, change: Callable[[Vectors], Vectors]) -> None:
    """Copy the tables of curation beside a copy of a gallery, whose vectors are other ones.

    Args:
        desk: of the gallery that is copied.
        uri: of the copy, which has its table already.
        change: float32 (n, d) unit rows to those of the copy.
    """
    other = Desk(uri, lance.open_version(uri))
    with write.writing(uri):
        for name in (CHANGES, SELECTIONS):
            if (table := desk.table(name)) is not None:
                made, found = other.made(name), lance.scan(table, table.schema.names)
                other.step(name, partial(made.add, found))
        aside = desk.table(SET_ASIDE)
        if aside is None:
            return
        made = other.made(SET_ASIDE)
        ids = sorted(lance.scan(aside, ["id"])["id"].to_pylist())
        for part in places.whole_rows(aside, ids):
            [block] = part.combine_chunks().to_batches()
            vectors = np.ascontiguousarray(change(lance.vectors(block)), np.float32)
            cells = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            kept = part.drop_columns(["embedding", CHECKSUM]).append_column("embedding", cells)
            whole = kept.append_column(CHECKSUM, pa.array(checksums(vectors)))
            other.step(SET_ASIDE, partial(made.add, places.fitted(whole, made.schema, {})))
