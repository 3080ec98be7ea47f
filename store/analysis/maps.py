"""Maps of a gallery in the plane, kept where its mirror is: a cache that may be deleted.

A map is one Arrow file per method: of every row its id, the checksum of its vector and its place.
Which rows it still describes is decided by id and checksum, so a correction of a label or another
version of the table does not spoil it.
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from store import files
from store.analysis import projection
from store.analysis.projection import Plane
from store.errors import BadQuery, StoreUnwritable, UsageError
from store.mirror.snapshot import Snapshot
from store.schema import Integers, Progress, Vectors
from store.search import exact
from store.table import local, rows

if TYPE_CHECKING:
    from store.gallery import Gallery

_FORMAT = "1"
_FOLDER = "map"
_KEY = b"cxr.map"


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Map of a gallery: places of its rows, in the order of their ids.

    Attributes:
        method: ``pca`` or ``umap``.
        ids: of the rows, ascending.
        places: float32 (n, 2); NaN for a row that is not on the map.
        nearest: float32 (n,), cosine of the nearest other row when the map was made; NaN where it
            is not known.
        seed: of the random parts; None when there are none.
        explained: share of the variance along each axis; None unless by ``pca``.
        made_at: version of the table that the map was made from.
        missing: rows that came, or got another vector, since and have no place.
        projected: rows that came since and were put in place by the plane of the others.
        gone: rows that are on the map and no longer in the gallery.
    """

    method: str
    ids: list[str]
    places: Vectors
    nearest: Vectors
    seed: int | None
    explained: tuple[float, float] | None
    made_at: int
    missing: int = 0
    projected: int = 0
    gone: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Description of the map without its points, as plain JSON types."""
        return {
            "method": self.method,
            "rows": len(self.ids),
            "seed": self.seed,
            "explained_variance": list(self.explained) if self.explained else None,
            "made_at_version": self.made_at,
            "missing": self.missing,
            "projected": self.projected,
            "gone": self.gone,
        }


def make(
    gallery: Gallery,
    method: str = projection.PCA,
    seed: int = 0,
    progress: Progress | None = None,
    neighbours: bool = True,
) -> Map:
    """Make a map of the gallery as it is now, and keep it: see store.files for where.

    Args:
        gallery: with rows; it is refreshed first.
        method: ``pca`` (exact, at once) or ``umap`` (needs umap-learn).
        seed: of UMAP.
        progress: called with rows whose nearest other row is known, done and in all.
        neighbours: also find every row's nearest other one, which compares all with all.

    Raises:
        UsageError: another method, or umap-learn is not installed.
        BadQuery: too few rows.
        StoreUnwritable: the folder cannot be written.
    """
    if method not in projection.METHODS:
        raise UsageError(f"method {method!r}: expected {' or '.join(projection.METHODS)}")
    gallery.refresh()

    def ask(now: Snapshot) -> Map:
        found, plane, vectors = _laid_out(now, method, seed)
        if neighbours:
            found = replace(found, nearest=exact.nearest_cosines(now, progress)[now.by_id])
        _save(gallery, now, found, plane, rows.checksums(vectors))
        return found

    return gallery.read_mirror("a map", ask)


def _laid_out(now: Snapshot, method: str, seed: int = 0) -> tuple[Map, Plane | None, Vectors]:
    """A fresh map without nearest cosines, its plane if by PCA, and the vectors in its order."""
    vectors = np.ascontiguousarray(now.vectors[now.by_id])
    plane = projection.pca(vectors) if method == projection.PCA else None
    places = plane.place(vectors) if plane else projection.umap(vectors, seed)
    ids = now.keys.take(pa.array(now.by_id)).to_pylist()
    unknown = np.full(len(ids), np.nan, np.float32)
    explained = plane.explained if plane else None
    made = Map(method, ids, places, unknown, None if plane else seed, explained, now.version)
    return made, plane, vectors


def kept(gallery: Gallery) -> list[str]:
    """Methods by which a map of this very gallery is kept."""

    def ask(now: Snapshot) -> list[str]:
        return [method for method in projection.METHODS if _usable(gallery, now, method)]

    return gallery.read_mirror("a map", ask)


def view(gallery: Gallery, method: str = projection.PCA) -> tuple[Map, pa.Table]:
    """A map and the metadata of its rows, of one version of the table, both in the order of ids.

    A kept map is brought up to the gallery: rows that came since, or got another vector, are put
    in place where the method can do so (PCA); elsewhere they have no place and are counted. Without
    a kept map the plane of principal components is worked out on the spot.

    Raises:
        BadQuery: too few rows, or no kept map by another method.
    """

    def ask(now: Snapshot) -> tuple[Map, pa.Table]:
        saved = _usable(gallery, now, method)
        if saved is None and method != projection.PCA:
            raise BadQuery(
                f"no {method} map of {gallery.uri}; make one with: cxr map --method {method}"
            )
        columns = now.columns(["id", *now.column_names]).take(now.by_id)
        return (_follow(now, *saved, method) if saved else _laid_out(now, method)[0]), columns

    return gallery.read_mirror("a map", ask)


def _usable(gallery: Gallery, now: Snapshot, method: str) -> tuple[pa.Table, dict[str, Any]] | None:
    if method not in projection.METHODS:
        return None
    saved = _read(_path(gallery.uri, now.uuid, method))
    mine = now.uuid, gallery.stamp.fingerprint
    return saved if saved and (saved[1]["uuid"], saved[1]["fingerprint"]) == mine else None


def _follow(now: Snapshot, points: pa.Table, about: dict[str, Any], method: str) -> Map:
    vectors = np.ascontiguousarray(now.vectors[now.by_id])
    ids = now.keys.take(pa.array(now.by_id)).to_pylist()
    before = {id_: place for place, id_ in enumerate(points["id"].to_pylist())}
    at: Integers = np.asarray([before.get(id_, -1) for id_ in ids], np.int64)
    known = at >= 0
    crc = points["crc32"].to_numpy()
    known[known] = crc[at[known]] == rows.checksums(vectors)[known]
    places = np.full((len(ids), 2), np.nan, np.float32)
    nearest = np.full(len(ids), np.nan, np.float32)
    for column, name in enumerate(("x", "y")):
        places[known, column] = points[name].to_numpy()[at[known]]
    nearest[known] = points["nearest"].to_numpy()[at[known]]
    new = int((~known).sum())
    plane = _plane(about)
    if plane is not None and new:
        places[~known] = plane.place(vectors[~known])
    return Map(
        method,
        ids,
        places,
        nearest,
        about["seed"],
        plane.explained if plane else None,
        int(about["version"]),
        missing=0 if plane else new,
        projected=new if plane else 0,
        gone=len(before) - int((at >= 0).sum()),
    )


def _plane(about: dict[str, Any]) -> Plane | None:
    if about["plane"] is None:
        return None
    first, second = about["plane"]["explained"]
    return Plane(
        np.asarray(about["plane"]["mean"]), np.asarray(about["plane"]["axes"]), (first, second)
    )


def _path(uri: str, uuid: str, method: str) -> Path:
    return files.folder(uri, uuid) / _FOLDER / f"{method}.arrow"


def changed(gallery: Gallery, method: str) -> float:
    """Time at which the map by this method was kept, in seconds since 1970; 0 for no map."""

    def ask(now: Snapshot) -> float:
        try:
            return _path(gallery.uri, now.uuid, method).stat().st_mtime
        except OSError:
            return 0.0

    return gallery.read_mirror("a map", ask)


def _save(gallery: Gallery, now: Snapshot, found: Map, plane: Plane | None, crc: Any) -> None:
    about = {
        "format": _FORMAT,
        "uuid": now.uuid,
        "version": now.version,
        "fingerprint": gallery.stamp.fingerprint,
        "seed": found.seed,
        "plane": None
        if plane is None
        else {
            "mean": plane.mean.tolist(),
            "axes": plane.axes.tolist(),
            "explained": list(plane.explained),
        },
    }
    points = pa.table(
        {
            "id": pa.array(found.ids, pa.string()),
            "crc32": pa.array(crc, pa.uint32()),
            "x": found.places[:, 0],
            "y": found.places[:, 1],
            "nearest": found.nearest,
        }
    ).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    whole = io.BytesIO()
    with pa.ipc.new_file(whole, points.schema) as writer:
        writer.write_table(points)
    target = _path(gallery.uri, now.uuid, found.method)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        local.write_whole(target, whole.getvalue())
    except OSError as error:
        raise StoreUnwritable(f"the map cannot be kept at {target}: {error}") from error


def _read(file: Path) -> tuple[pa.Table, dict[str, Any]] | None:
    """Points and description in a file; None when there is no file, or on any doubt."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        points = pa.ipc.open_file(pa.BufferReader(file.read_bytes())).read_all()
        about = json.loads(points.schema.metadata[_KEY])
        columns = {"id", "crc32", "x", "y", "nearest"} <= set(points.column_names)
        keys = {"uuid", "version", "fingerprint", "seed", "plane"} <= set(about)
        if about["format"] == _FORMAT and columns and keys:
            return points, about
    return None
