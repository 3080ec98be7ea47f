"""Packs: protocols of papers, measured on a gallery beside the figures that they published.

A pack is one TOML file in the folder ``packs``; docs/measures.md says how to add one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from store.errors import BadQuery, UsageError
from store.evaluation import measures
from store.evaluation.labelled import Sides
from store.evaluation.protocols import sides
from store.evaluation.ranking import by_vectors
from store.evaluation.relevance import Relevance
from store.mirror.snapshot import Snapshot
from store.schema import Floats, Integers

if TYPE_CHECKING:
    from store.gallery import Gallery

_FOLDER = Path(__file__).parent / "packs"
#: From the classes of the films found, int64 (q, k), nearest first, and those of the queries,
#: int64 (q,), to float64 (q,).
Measure = Callable[[Integers, Integers], Floats]


@dataclass(frozen=True, slots=True)
class Published:
    """Figures of one encoder on one data set, in the order of the pack's measures.

    Attributes:
        dataset: name, as ingestion writes it.
        pixels: side of the images.
        encoder: as the paper names it.
        values: fewer than there are measures where the paper does not tell the last ones.
    """

    dataset: str
    pixels: int
    encoder: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Protocol of a paper, with its figures.

    Attributes:
        name, title, source: of the paper.
        read: when its figures were read.
        protocol, split, gallery_split, same_patient: as of Gallery.evaluate.
        measures: names, of ``MEASURES`` with a depth behind.
        notes: what to know beside the figures, one sentence each.
        published: its figures.
    """

    name: str
    title: str
    source: str
    read: date
    protocol: str
    split: str
    gallery_split: str
    same_patient: Any
    measures: tuple[str, ...]
    notes: tuple[str, ...]
    published: tuple[Published, ...]


@dataclass(frozen=True, slots=True)
class PackResult:
    """Measures of a pack on a gallery, with what was published on the same data set.

    Attributes:
        pack: the pack.
        dataset: that was measured.
        pixels: side of the gallery's images; None where they differ or are not known.
        queries, gallery: films on each side.
        values: of the gallery, in the order of the pack's measures.
        published: rows of the same data set, and no others.
        store: see Gallery.describe.
    """

    pack: Pack
    dataset: str
    pixels: int | None
    queries: int
    gallery: int
    values: tuple[float, ...]
    published: tuple[Published, ...]
    store: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        names = self.pack.measures
        return {
            "pack": self.pack.name,
            "source": self.pack.source,
            "read": self.pack.read.isoformat(),
            "protocol": self.pack.protocol,
            "dataset": self.dataset,
            "pixels": self.pixels,
            "queries": self.queries,
            "gallery": self.gallery,
            "measures": dict(zip(names, self.values, strict=True)),
            "published": [
                {
                    "encoder": one.encoder,
                    "pixels": one.pixels,
                    "measures": dict(zip(names, one.values, strict=False)),
                }
                for one in self.published
            ],
            "notes": [*self.pack.notes],
            "store": dict(self.store),
        }


def pack_names() -> list[str]:
    """Names of the packs that there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read_pack(name: str) -> Pack:
    """A pack by its name.

    Raises:
        UsageError: there is none of that name, or its file is not what it should be.
    """
    if name not in pack_names():
        raise UsageError(f"--pack {name!r}: expected one of {', '.join(pack_names())}")
    path = _FOLDER / f"{name}.toml"
    found = tomllib.loads(path.read_text("utf-8"))
    published = [
        Published(part["dataset"], part["pixels"], encoder, tuple(values))
        for part in found.pop("published")
        for encoder, *values in part["rows"]
    ]
    lists = {name: tuple(found.pop(name)) for name in ("measures", "notes")}
    pack = Pack(**{**found, **lists, "published": tuple(published)})
    for one in pack.published:
        if not 0 < len(one.values) <= len(pack.measures):
            raise UsageError(f"{path.name}: {one.encoder} has {len(one.values)} figures")
    for measure in pack.measures:
        _measure(measure)
    return pack


def measure_pack(gallery: Gallery, name: str, dataset: str | None = None) -> PackResult:
    """Measure a gallery by a paper's protocol.

    Args:
        gallery: with vectors in memory; it holds one of the paper's data sets.
        name: of the pack.
        dataset: which of them, where the gallery holds several.

    Raises:
        UsageError: no such pack, none of its data sets here, or several.
        BadQuery: a split of the protocol has no labelled films.
    """
    pack = read_pack(name)
    known = {one.dataset for one in pack.published}
    reader = gallery.pinned()
    here = sorted(known & {*reader.facets()["dataset"]})
    if dataset is None and len(here) == 1:
        (dataset,) = here
    if dataset is None or dataset not in here:
        raise UsageError(
            f"pack {name} has figures for {', '.join(sorted(known))}; this gallery holds "
            f"{', '.join(here) or 'none of them'}: "
            + ("say which with --dataset" if here else "ingest one, e.g. medmnist:pneumoniamnist")
        )
    chosen = dataset

    def ask(now: Snapshot) -> tuple[tuple[float, ...], int, int]:
        both = sides(now, pack.protocol, pack.split, pack.gallery_split, chosen)
        return _measured(Sides.of(*both, pack.same_patient), pack)

    values, queries, searched = reader.read_mirror(f"pack {name}", ask)
    return PackResult(
        pack,
        chosen,
        _side(reader, chosen),
        queries,
        searched,
        values,
        tuple(one for one in pack.published if one.dataset == chosen),
        reader.describe(),
    )


def _measured(both: Sides, pack: Pack) -> tuple[tuple[float, ...], int, int]:
    wanted = [_measure(name) for name in pack.measures]
    deepest = max(depth for _, depth in wanted)
    both.depths([deepest])
    relevance = Relevance(both)
    if not relevance.class_names:
        raise BadQuery(f"pack {pack.name}: its films have one label each, here are several")
    found = [np.empty(len(both.queries.ids)) for _ in wanted]
    for ranked in by_vectors(both, deepest):
        classes, truth = relevance.voters(ranked), relevance.asked_class[ranked.block]
        for values, (measure, depth) in zip(found, wanted, strict=True):
            values[ranked.block] = measure(classes[:, :depth], truth)
    means = tuple(float(values.mean()) for values in found)
    return means, len(both.queries.ids), len(both.gallery.ids)


def _side(gallery: Gallery, dataset: str) -> int | None:
    """Side of a data set's images, where all are squares of one size."""
    from store.table.filters import Where

    ids = gallery.ids(Where(dataset=(dataset,)))
    rows = gallery.rows([ids[0], ids[len(ids) // 2], ids[-1]]).values()
    sizes = {row.width for row in rows} | {row.height for row in rows}
    return sizes.pop() or None if len(sizes) == 1 else None


def _accuracy(classes: Integers, truth: Integers) -> Floats:
    """ACC@k: 1 where one or more of the first k films are of the query's class."""
    return measures.hit_rate(classes == truth[:, None], [classes.shape[1]])[:, 0]


def _vote(classes: Integers, truth: Integers) -> Floats:
    """mMV@k: 1 where no class has more of the first k films than the query's."""
    votes = (classes[:, :, None] == classes[:, None, :]).sum(axis=2)
    votes[classes < 0] = 0
    own = (classes == truth[:, None]).sum(axis=1)
    found: Floats = ((own > 0) & (own >= votes.max(axis=1))).astype(np.float64)
    return found


def _average_precision(classes: Integers, truth: Integers) -> Floats:
    """mAP@k: mean precision at the ranks of relevant films, over those among the first k."""
    hits = classes == truth[:, None]
    return measures.average_precision(hits, hits.sum(axis=1))


MEASURES: Mapping[str, Measure] = {"ACC": _accuracy, "mMV": _vote, "mAP": _average_precision}


def _measure(name: str) -> tuple[Measure, int]:
    kind, _, depth = name.partition("@")
    if kind not in MEASURES or not depth.isdigit() or not int(depth):
        expected = ", ".join(f"{one}@5" for one in MEASURES)
        raise UsageError(f"measure {name!r} of a pack: expected e.g. {expected}")
    return MEASURES[kind], int(depth)
