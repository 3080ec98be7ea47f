"""Films set aside: excluded or deleted ones, moved whole to a table of their own and back.

Search, mirror and evaluation need no special case for what is not in the gallery's table. A film is
copied before it is removed, so that whoever is killed between has it in both places; such a film
counts as not moved, and is tidied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa

from store.curation.tables import ASIDE, Desk, read
from store.errors import StoreDamaged
from store.files import SET_ASIDE
from store.table import checked_commit, filters, lance, write
from store.table.rows import CHECKSUM, wire

GALLERY, EXCLUDED, DELETED, GONE = "gallery", "excluded", "deleted", "gone"
#: Films moved at once: bounds memory by their pictures.
_BLOCK = 2000
_OURS = tuple(one.name for one in ASIDE)


def places(desk: Desk, ids: Sequence[str]) -> dict[str, str]:
    """Where films are: in the gallery, excluded, deleted, or gone for good."""
    found = dict.fromkeys(ids, GONE)
    aside = desk.table(SET_ASIDE)
    if aside is not None:
        part = read(aside, ["id", "set_aside_as"], ids)
        found.update(zip(part["id"].to_pylist(), part["set_aside_as"].to_pylist(), strict=True))
    here = read(desk.gallery, ["id"], ids)["id"].to_pylist()
    found.update(dict.fromkeys(here, GALLERY))
    return found


def set_aside(desk: Desk) -> list[dict[str, Any]]:
    """Films that are excluded or deleted: id, sha256, dataset, batch, labels, as, by, at, in."""
    aside = desk.table(SET_ASIDE)
    if aside is None:
        return []
    names = ["id", "sha256", "dataset", "batch", "labels", *_OURS]
    lines = read(aside, names).to_pylist()
    here = {*read(desk.gallery, ["id"], [one["id"] for one in lines])["id"].to_pylist()}
    shown = [
        {
            name.removeprefix("set_aside_"): value if value is not None or name != "labels" else []
            for name, value in one.items()
        }
        for one in lines
        if one["id"] not in here
    ]
    return sorted(shown, key=lambda one: str(one["id"]))


def put_aside(desk: Desk, whys: Mapping[str, str], operation: str, who: str, at: datetime) -> None:
    """Move films out of the gallery, or change why they are set aside; idempotent.

    Args:
        desk: of the gallery, under ``write.writing``.
        whys: film to ``excluded`` or ``deleted``.
        operation: by which they are moved.
        who: did it.
        at: when.
    """
    aside = desk.made(SET_ASIDE)
    about = {"set_aside_by": who, "set_aside_at": at, "set_aside_in": operation}
    for part in whole_rows(desk.gallery, list(whys)):
        made = fitted(
            part, aside.schema, {**about, "set_aside_as": [whys[one] for one in _ids(part)]}
        )
        _put(desk, aside, made)
        _check_copied(desk, aside, part)
        _remove(desk, aside, part, made)
    there = read(aside, ["id", "set_aside_as"], list(whys)).to_pylist()
    other = [one["id"] for one in there if one["set_aside_as"] != whys[one["id"]]]
    if other:
        columns = pa.schema([aside.schema.field("id"), *ASIDE])
        lines = [{"id": one, **about, "set_aside_as": whys[one]} for one in other]
        cells = [pa.array([line[c.name] for line in lines], c.type) for c in columns]
        merging = aside.merge_insert("id").when_matched_update_all()
        desk.step(SET_ASIDE, lambda: merging.execute(pa.table(cells, schema=columns)))


def bring_back(desk: Desk, ids: Sequence[str]) -> None:
    """Move films back into the gallery; idempotent. What is there already stays as it is."""
    aside = desk.table(SET_ASIDE)
    if aside is None:
        return
    for part in whole_rows(aside, ids):
        here = {*read(desk.gallery, ["id"], _ids(part))["id"].to_pylist()}
        absent = part.filter(pa.array([one not in here for one in _ids(part)], pa.bool_()))
        if len(absent):
            made = fitted(absent, desk.gallery.schema, {})
            write.step(desk.uri, desk.gallery, partial(_insert, desk, made))
        _drop(desk, aside, _ids(part))


def forget(desk: Desk, ids: Sequence[str]) -> int:
    """Remove films set aside for good; how many there were."""
    aside = desk.table(SET_ASIDE)
    if aside is None or not ids:
        return 0
    return _drop(desk, aside, ids)


def matching(desk: Desk, condition: str) -> list[str]:
    """Ids of films set aside that meet a condition in the table's language."""
    aside = desk.table(SET_ASIDE)
    if aside is None:
        return []
    return sorted(read(aside, ["id"], condition=condition)["id"].to_pylist())


def in_both(desk: Desk) -> list[str]:
    """Ids of films that are in the gallery and set aside, as a killed process leaves them."""
    aside = desk.table(SET_ASIDE)
    if aside is None:
        return []
    ids = read(aside, ["id"])["id"].to_pylist()
    return sorted(read(desk.gallery, ["id"], ids)["id"].to_pylist())


def whole_rows(handle: Any, ids: Sequence[str]) -> Iterator[pa.Table]:
    """Whole rows with some ids, some at a time, with their pictures and row ids."""
    names = [name for name in handle.schema.names if name != "thumbnail"]
    for start in range(0, len(ids), _BLOCK):
        found = read(handle, [*names, "_rowid", lance.CHANGED_AT], ids[start : start + _BLOCK])
        if len(found):
            pictures = lance.thumbnails(handle, found["_rowid"].to_pylist())
            yield found.append_column("thumbnail", pa.array(pictures, pa.large_binary()))


def _ids(part: pa.Table) -> list[str]:
    found: list[str] = part["id"].to_pylist()
    return found


def fitted(part: pa.Table, schema: pa.Schema, more: Mapping[str, Any]) -> pa.Table:
    """Rows in the columns of another table; what they lack is null."""
    cells = []
    for one in (whole := wire(schema)):
        if one.name in more:
            value = more[one.name]
            values = value if isinstance(value, list) else [value] * len(part)
            cells.append(pa.array(values, one.type))
        elif one.name in part.column_names:
            cells.append(part[one.name].cast(one.type))
        else:
            cells.append(pa.nulls(len(part), one.type))
    return pa.table(cells, schema=whole)


def _put(desk: Desk, aside: Any, made: pa.Table) -> None:
    def work() -> None:
        merging = aside.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merging.execute(made)

    desk.step(SET_ASIDE, work)


def _check_copied(desk: Desk, aside: Any, part: pa.Table) -> None:
    """Refuse to remove what is not surely in the other table."""
    names = ["id", "sha256", CHECKSUM]
    there = read(aside, names, _ids(part)).sort_by("id")
    wanted = part.select(names).sort_by("id")
    if there.to_pylist() != wanted.to_pylist():
        raise StoreDamaged(
            f"{len(wanted)} films were copied aside in {desk.uri} and {len(there)} are there; "
            "nothing was removed: run cxr check"
        )


def _remove(desk: Desk, aside: Any, part: pa.Table, made: pa.Table) -> None:
    """Remove copied rows from the gallery's table."""
    row_ids = part["_rowid"].to_pylist()
    condition = filters.equal("id", _ids(part))
    before: list[int] = []

    def work() -> None:
        checked_commit.delete(desk.uri, desk.gallery, row_ids, condition)
        before[:] = [int(desk.gallery.version) - 1]

    write.step(desk.uri, desk.gallery, work)
    if lance.is_local(desk.uri):
        return
    # There another writer may have changed a row after it was copied: the version before the
    # removal says so, and has it.
    then = lance.pin(desk.uri, before[0])
    seen = dict(zip(row_ids, part[lance.CHANGED_AT].to_pylist(), strict=True))
    newest = read(then, ["_rowid", "id", lance.CHANGED_AT], _ids(part)).to_pylist()
    stale = [one["id"] for one in newest if seen.get(one["_rowid"]) != one[lance.CHANGED_AT]]
    whys = dict(zip(_ids(made), made["set_aside_as"].to_pylist(), strict=True))
    first = made.slice(0, 1).to_pylist()[0]
    for again in whole_rows(then, stale):
        more = {name: first[name] for name in _OURS[1:]}
        more["set_aside_as"] = [whys[one] for one in _ids(again)]
        _put(desk, aside, fitted(again, aside.schema, more))


def _insert(desk: Desk, made: pa.Table) -> None:
    if lance.is_local(desk.uri):
        checked_commit.insert(desk.uri, desk.gallery, made)
    else:
        checked_commit.merge(desk.uri, desk.gallery, made, [], insert=True)


def _drop(desk: Desk, aside: Any, ids: Sequence[str]) -> int:
    gone = 0
    for start in range(0, len(ids), _BLOCK):
        chosen = filters.among(list(ids[start : start + _BLOCK]))
        gone += int(desk.step(SET_ASIDE, partial(aside.delete, chosen)).num_deleted_rows)
    return gone
