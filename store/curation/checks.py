"""Check of the tables of curation: reads them back and lists what is wrong."""

from __future__ import annotations

import numpy as np

from store.curation import log, places
from store.curation.tables import Desk
from store.errors import CxrError
from store.files import SELECTIONS, SET_ASIDE
from store.table import lance
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
