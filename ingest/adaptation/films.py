"""Films to learn from: vectors of a gallery with their classes, and who belongs to whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store import (
    COLUMNS,
    NOT_LABELLED,
    UNCERTAIN,
    BadQuery,
    Groups,
    Labelled,
    Row,
    UsageError,
    Vectors,
    findings,
    outcome,
)

if TYPE_CHECKING:
    from store import Gallery, GroupKind, Integers


#: The labels themselves, among the names of columns that classes come from.
LABELS = "labels"
#: Films without a class, by the reason that is said.
UNLABELLED, ONLY_UNCERTAIN = "not labelled", "only uncertain findings"
#: Part to what its films are for, and what to do where there are none.
_AIMS = {
    "learn": ("learn from", "The values of another column are learnt from with --by COLUMN"),
    "judge": ("judge by", "Folds of the films to learn from judge with --val none"),
    "test": ("test", "No films are looked at in the end with --test none"),
}
#: Rows that are read at once.
_PIECE = 10_000
_ELSEWHERE, _SAME_PATIENT = "in another split", "their patient is among those that judge or test"


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """Labelled films of a gallery, in the order of their ids.

    Attributes:
        ids: unique.
        vectors: float32 (n, d), unit rows.
        labels: the findings of each, or its class; empty where nothing was found.
        groups: of each its patient, else its study; None where neither is known.
    """

    ids: list[str]
    vectors: Vectors
    labels: list[tuple[str, ...]]
    groups: list[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, places: Integers) -> Films:
        """Some of these films, int64 places ascending."""
        return Films(
            [self.ids[i] for i in places],
            self.vectors[places],
            [self.labels[i] for i in places],
            [self.groups[i] for i in places],
        )

    def labelled(self, vectors: Vectors | None = None) -> Labelled:
        """As an evaluation takes them, with other vectors of these films where some are given."""
        rows = self.vectors if vectors is None else vectors
        kind: GroupKind = "patient" if any(self.groups) else "film"
        return Labelled(self.ids, rows, self.labels, groups=self.groups, group_kind=kind)

    @property
    def group_numbers(self) -> Integers:
        """int64 (n,): equal for films of one patient, or of one study, and for no others."""
        numbers: dict[str | int, int] = {}
        keys = (place if name is None else name for place, name in enumerate(self.groups))
        return np.asarray([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)

    @property
    def classes(self) -> Counter[tuple[str, ...]]:
        """How many films have which set of findings."""
        return Counter(tuple(sorted(set(row))) for row in self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Films of a gallery by the part they play; no patient has films in two of them.

    Attributes:
        learn: to learn from.
        judge: that decide whether a map helps; None where folds of ``learn`` do.
        test: that are looked at once, when all is decided; None where there are none.
        left_out: how many films play no part, by reason.
    """

    learn: Films
    judge: Films | None
    test: Films | None
    left_out: dict[str, int]


def parts_of(
    gallery: Gallery, by: str, split: str | None, val: str | None, test: str | None
) -> Parts:
    """Read the films of a gallery.

    Films to learn from whose patient has others that judge or test are left out; so are films that
    judge whose patient has others that test.

    Args:
        gallery: with its vectors in memory.
        by: ``labels``, or the column whose values are the classes.
        split: to learn from; None: all films but those of ``val`` and ``test``.
        val: split of the films that judge; None: folds.
        test: split of the films that are looked at in the end; None: none.

    Raises:
        BadQuery: no such column, or no labelled films in a split.
        UsageError: a column whose values are no classes, or one split in two parts.
    """
    named = [name for name in (split, val, test) if name is not None]
    if len(set(named)) < len(named):
        raise UsageError(
            f"--split, --val and --test name {', '.join(named)}: what is learnt from, what judges "
            "and what tests must be different films"
        )
    class_of = _classes(gallery, by)
    gallery.refresh()
    ids, vectors, described = gallery.read_mirror(
        "an adaptation",
        lambda now: (now.ids, now.vectors, _described(now.ids, now.rows_of, class_of)),
    )
    roles = {name: part for name, part in ((val, "judge"), (test, "test")) if name is not None}
    rest = "learn" if split is None else _ELSEWHERE
    left_out: Counter[str] = Counter()
    found: dict[str, list[tuple[int, tuple[str, ...], str | None]]] = {
        part: [] for part in ("learn", "judge", "test")
    }
    order = sorted(range(len(ids)), key=ids.__getitem__)
    groups = Groups.of(
        [described[i][2] for i in order],
        [described[i][3] for i in order],
        [described[i][4] for i in order],
    ).names
    for place, group in zip(order, groups, strict=True):
        its_split, labels = described[place][:2]
        part = "learn" if its_split == split is not None else roles.get(its_split or "", rest)
        if part == _ELSEWHERE or isinstance(labels, str):
            left_out[part if part == _ELSEWHERE else str(labels)] += 1
        else:
            found[part].append((place, labels, group))
    taken: set[str] = set()
    films: dict[str, Films] = {}
    for part in ("test", "judge", "learn"):
        kept = [one for one in found[part] if one[2] is None or one[2] not in taken]
        if len(kept) < len(found[part]):
            left_out[_SAME_PATIENT] += len(found[part]) - len(kept)
        taken.update(one[2] for one in kept if one[2] is not None)
        places = np.asarray([one[0] for one in kept], np.int64)
        films[part] = Films(
            [ids[i] for i in places],
            vectors[places],
            [one[1] for one in kept],
            [one[2] for one in kept],
        )
    for part, name in (("learn", split), ("judge", val), ("test", test)):
        if not len(films[part]) and (part == "learn" or name is not None):
            raise BadQuery(_nothing(gallery, by, part, name, left_out))
    judge, tested = (films[part] if len(films[part]) else None for part in ("judge", "test"))
    return Parts(films["learn"], judge, tested, dict(left_out))


#: Split, findings or the reason why there are none, data set, patient and study of a film.
Described = tuple[str | None, tuple[str, ...] | str, str | None, str | None, str | None]


def _described(
    ids: Sequence[str],
    rows_of: Callable[[Sequence[str]], list[Row]],
    class_of: Callable[[Row], tuple[str, ...] | str],
) -> list[Described]:
    """Descriptions of films, read in pieces: whole rows of all of them take much memory."""
    found: list[Described] = []
    for start in range(0, len(ids), _PIECE):
        found += [
            (row.split, class_of(row), row.dataset, row.patient, row.study)
            for row in rows_of(ids[start : start + _PIECE])
        ]
    return found


def _nothing(
    gallery: Gallery, by: str, part: str, split: str | None, left_out: Counter[str]
) -> str:
    where = "" if split is None else f" in split {split!r}"
    splits = ", ".join(sorted(gallery.facets()["split"])) or "none"
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    aim, instead = _AIMS[part]
    return (
        f"no films{where} of {gallery.uri} have {by} to {aim}"
        f"{f' ({reasons})' if reasons else ''}; splits in this gallery: {splits}. {instead}"
    )


def _classes(gallery: Gallery, by: str) -> Callable[[Row], tuple[str, ...] | str]:
    """Reader of a film's findings or class; of a film without one the reason."""
    if by == LABELS:
        return _findings
    own = gallery.columns()
    kind = own.get(by) or (COLUMNS[by].kind if by in COLUMNS else None)
    if kind is None:
        known = [LABELS, *(name for name, c in COLUMNS.items() if c.kind == "string"), *own]
        raise BadQuery(f"--by {by!r}: no such column; this gallery has {', '.join(known)}")
    if kind not in ("string", "bool", "int"):
        raise UsageError(
            f"--by {by!r} is a column of {kind} values, which are no classes; give one of names, "
            "whole numbers or yes and no: a column of bands, for instance"
        )

    def read(row: Row) -> tuple[str, ...] | str:
        value = row.extra.get(by) if by in own else getattr(row, by)
        return UNLABELLED if value is None or value == "" else (str(value),)

    return read


def _findings(row: Row) -> tuple[str, ...] | str:
    said = outcome(row.labels, row.labelled, row.uncertain)
    if said == NOT_LABELLED:
        return UNLABELLED
    return ONLY_UNCERTAIN if said == UNCERTAIN else findings(row.labels)
