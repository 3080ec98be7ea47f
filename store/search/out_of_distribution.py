"""Out-of-distribution check: how near a query is, beside how near a gallery's own rows are.

Two cosines are compared with those of the gallery's own rows, each leaving itself out: of the
encoder's vectors, and of plain pictures. An encoder that learned to tell two kinds of film apart
puts a photograph near one of them; a picture of something else has no picture like it.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from store import files
from store.schema import Baseline, Vectors
from store.search import exact
from store.search.base import FlatVectors, Sample, Searcher
from store.table import lance, local

#: Rows that a query is compared with; larger galleries are represented by an even sample.
SAMPLE = 8192
#: A query less near than this percentage of the gallery's own rows is unlike the gallery.
UNLIKE_PERCENT = 1.0
#: With fewer rows, one per cent of them is not a row.
FEWEST = 100

_FOLDER = "nearness"
_FORMAT = 1
#: Files are named after the function that describes pictures. One has moved since files were kept.
_NAMES = {
    "ingest.encoders.baselines.pixel_vectors": "ingest.encoders.pixels.pixel_vectors",
}

_lock = threading.Lock()
_known: WeakKeyDictionary[Searcher, dict[str, _Reference]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Nearness:
    """Nearness of an image to a gallery.

    Attributes:
        cosine: of its vector with the nearest row's.
        percentile: percentage of the gallery's rows whose own nearest row is no nearer; 0 to 100.
        picture_cosine, picture_percentile: the same of plain pictures; None without pictures.
        unlike: whether the image is unlike the gallery, so that no hit is a good match: its picture
            percentile is below 1, or its vector's where there are no pictures. None when the
            gallery is too small.
        rows: how many rows it was compared with.
    """

    cosine: float
    percentile: float
    picture_cosine: float | None
    picture_percentile: float | None
    unlike: bool | None
    rows: int
    not_judged: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class _Reference:
    rows: FlatVectors  # of the gallery's rows, or of a sample
    nearest: Vectors  # (m,) ascending
    pictures: FlatVectors  # (p, features) of the rows that have one
    picture_nearest: Vectors  # (p,) ascending


def nearness(
    now: Searcher,
    uri: str,
    queries: Vectors,
    thumbnails: Sequence[bytes] | None = None,
    describe: Baseline | None = None,
) -> list[Nearness]:
    """Gallery.nearness over one version; see there.

    Args:
        now: two rows or more.
        uri: of its gallery.
        queries: float32 (n, d), checked.
        thumbnails: PNG of each image.
        describe: thumbnails to float32 (n, m) unit rows.
    """
    compare = describe if thumbnails is not None else None
    found = _reference(uri, now, compare)
    cosines = _best(queries, found.rows)
    pictures = None
    if thumbnails is not None and compare is not None and len(found.pictures.vectors):
        pictures = _best(_rounded(compare(list(thumbnails))), found.pictures)
    return [
        _judge(found, float(cosine), None if pictures is None else float(pictures[place]))
        for place, cosine in enumerate(cosines)
    ]


def _judge(found: _Reference, cosine: float, picture: float | None) -> Nearness:
    percentile = _percentile(found.nearest, cosine)
    pictured = None if picture is None else _percentile(found.picture_nearest, picture)
    count = len(found.nearest if pictured is None else found.picture_nearest)
    enough = count >= FEWEST
    what = "films" if pictured is None else "films with a picture"
    decisive = percentile if pictured is None else pictured
    return Nearness(
        cosine=cosine,
        percentile=percentile,
        picture_cosine=picture,
        picture_percentile=pictured,
        unlike=decisive < UNLIKE_PERCENT if enough else None,
        rows=len(found.rows.vectors),
        not_judged=None if enough else f"it takes {FEWEST} {what}, and here are {count}",
    )


def _percentile(ascending: Vectors, value: float) -> float:
    if not len(ascending):
        return 100.0
    return 100.0 * float(np.searchsorted(ascending, value, side="right")) / len(ascending)


def _reference(uri: str, now: Searcher, describe: Baseline | None) -> _Reference:
    name = "none" if describe is None else f"{describe.__module__}.{describe.__qualname__}"
    name = _NAMES.get(name, name)
    with _lock:
        made = _known.setdefault(now, {})
        if name not in made:
            made[name] = _make(uri, now, describe, name)
        return made[name]


def _make(uri: str, now: Searcher, describe: Baseline | None, name: str) -> _Reference:
    sample = now.sample(SAMPLE)
    rows = sample.searched or exact.Rows.of(sample.vectors)
    path = files.folder(uri, now.uuid) / _FOLDER / f"{name}.npz"
    saved = _load(path, now)
    same = bool(saved) and int(saved["version"]) == now.version and str(saved["token"]) == now.token
    if same and np.array_equal(saved["row_ids"], sample.row_ids):
        pictures = exact.Rows.of(saved["pictures"][saved["pictured"]])
        return _Reference(rows, saved["nearest"], pictures, saved["picture_nearest"])
    kept, pictured = _pictures(now, sample, describe, saved)
    pictures = exact.Rows.of(kept[pictured].astype(np.float32))
    found = _Reference(rows, _leave_one_out(rows), pictures, _leave_one_out(pictures))
    _save(path, now, found, sample, kept, pictured)
    return found


def _pictures(
    now: Searcher, sample: Sample, describe: Baseline | None, saved: dict[str, Any]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """Features of the rows' thumbnails, and which rows have one; old ones are not made again."""
    row_ids, changed_at = sample.row_ids, sample.changed_at
    if describe is None:
        return np.zeros((len(row_ids), 0), np.float16), np.zeros(len(row_ids), bool)
    before = {}
    if saved:
        keys = zip(saved["row_ids"].tolist(), saved["changed_at"].tolist(), strict=True)
        before = {key: place for place, key in enumerate(keys)}
    old = [before.get(key, -1) for key in zip(row_ids.tolist(), changed_at.tolist(), strict=True)]
    new = [place for place, at in enumerate(old) if at < 0]
    fetched = lance.thumbnails(now.handle, [int(row_ids[place]) for place in new])
    whole = [(place, png) for place, png in zip(new, fetched, strict=True) if png is not None]
    made = describe([png for _, png in whole]) if whole else np.zeros((0, 0), np.float32)
    width = made.shape[1] if len(made) else (saved["pictures"].shape[1] if saved else 0)
    kept = np.zeros((len(row_ids), width), np.float16)
    pictured = np.zeros(len(row_ids), bool)
    reused = [place for place, at in enumerate(old) if at >= 0]
    if reused:
        then = [old[place] for place in reused]
        kept[reused], pictured[reused] = saved["pictures"][then], saved["pictured"][then]
    if whole:
        places = [place for place, _ in whole]
        kept[places], pictured[places] = made, True
    return kept, pictured


def _rounded(pictures: Vectors) -> Vectors:
    """Pictures as the gallery's own are kept: half the memory, and a cosine to four digits."""
    return pictures.astype(np.float16).astype(np.float32)


def _best(queries: Vectors, rows: FlatVectors) -> Vectors:
    """Of each query, the cosine of its nearest row; -1 without rows."""
    found = exact.nearest(rows, np.ascontiguousarray(queries, np.float32), 1)
    return np.asarray([scores[0] if len(scores) else -1 for _, scores in found], np.float32)


def _leave_one_out(rows: FlatVectors) -> Vectors:
    """Of each row, the cosine of its nearest other row, ascending; none of a lone row."""
    return (
        np.sort(exact.nearest_cosines(rows)) if len(rows.vectors) > 1 else np.zeros(0, np.float32)
    )


def _load(path: Path, now: Searcher) -> dict[str, Any]:
    """Contents of the kept file, of any version of this very table; nothing on any doubt."""
    try:
        with np.load(path, allow_pickle=False) as file:
            saved = {name: file[name] for name in file.files}
        rows = len(saved["row_ids"])
        parts = ("changed_at", "pictures", "pictured")
        sound = all(len(saved[name]) == rows for name in parts) and int(saved["format"]) == _FORMAT
        return saved if sound and str(saved["uuid"]) == now.uuid else {}
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return {}
    except Exception as error:  # zipfile.BadZipFile, zlib.error: a cache may be damaged
        if type(error).__module__ in ("zipfile", "zlib"):
            return {}
        raise


def _save(
    path: Path,
    now: Searcher,
    found: _Reference,
    sample: Sample,
    kept: npt.NDArray[np.float16],
    pictured: npt.NDArray[np.bool_],
) -> None:
    """Keep it beside the gallery; a folder that cannot be written only costs the next start."""
    whole = io.BytesIO()
    np.savez(
        whole,
        format=_FORMAT,
        uuid=now.uuid,
        version=now.version,
        token=now.token,
        row_ids=sample.row_ids,
        changed_at=sample.changed_at,
        pictures=kept,
        pictured=pictured,
        nearest=found.nearest,
        picture_nearest=found.picture_nearest,
    )
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        local.write_whole(path, whole.getvalue())
