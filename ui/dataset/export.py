"""Export of films: a selection of a gallery as a data set of the hub's form, with a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from store import BadQuery, UsageError, Where, expanded
from ui.dataset.card import card
from ui.dataset.columns import columns_of, name_of_split
from ui.dataset.image_folder import write_folder
from ui.dataset.parquet import write_shards
from ui.dataset.pictures import LeftOut, Picture, Pictures, pictures_of
from ui.report.swap import staging, swap

if TYPE_CHECKING:
    from store import Gallery, Row

#: ``hf`` is shards of Parquet with the pictures in them, ``csv`` an image folder with metadata.csv.
Form = Literal["hf", "csv"]
CARD = "README.md"
#: Rows whose pictures are looked up at once.
_PIECE = 128
_ORDER = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export of films wrote.

    Attributes:
        folder: where.
        form: ``hf`` or ``csv``.
        pictures: ``thumbnails`` or ``originals``.
        files: relative POSIX paths, the card first.
        splits: name of the split, as ``datasets`` has it, to its number of films.
        labels: label to its number of films.
        left_out: films without a picture to write, and why.
        converted: originals that are no files of pictures, such as DICOM, written as PNG.
    """

    folder: Path
    form: Form
    pictures: Pictures
    files: tuple[str, ...]
    splits: dict[str, int]
    labels: dict[str, int]
    left_out: tuple[LeftOut, ...]
    converted: int

    @property
    def films(self) -> int:
        """How many were written."""
        return sum(self.splits.values())

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {
            "folder": str(self.folder),
            "form": self.form,
            "pictures": self.pictures,
            "films": self.films,
            "splits": self.splits,
            "labels": self.labels,
            "converted": self.converted,
            "left_out": [
                {"id": one.id, "reason": one.reason, "detail": one.detail} for one in self.left_out
            ],
            "files": list(self.files),
        }


def export_films(
    gallery: Gallery,
    out_dir: str | Path,
    form: str = "hf",
    *,
    where: Where | None = None,
    ids: Sequence[str] | None = None,
    pictures: str = "thumbnails",
    with_reports: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write films of a gallery as a data set.

    Rows are in the order of split, source and id; those of a split are a split of the data set, the
    others are ``films``. Nothing is written unless all is.

    Args:
        gallery: brought up to date first.
        out_dir: made when missing; else it must be empty.
        form: ``hf`` or ``csv``.
        where: only films that meet this filter.
        ids: only these films.
        pictures: ``thumbnails``, as the gallery keeps them, or ``originals``: the bytes of each
            film's own file, checked by their digest. Of DICOM and other files that are more than a
            picture, which may name a patient, the pixels alone, as PNG.
        with_reports: write the texts of reports, too.
        progress: called with films done and in all.

    Raises:
        UsageError: another form; the folder is not empty, or cannot be written to.
        UnknownId: an id that is not there.
        BadQuery: no film is chosen, or none has a picture.
    """
    for form_ in get_args(Form):
        if form_ == form:
            break
    else:
        raise UsageError(f"--films {form!r}: expected {' or '.join(get_args(Form))}")
    for kind in get_args(Pictures):
        if kind == pictures:
            break
    else:
        raise UsageError(f"--pictures {pictures!r}: expected {' or '.join(get_args(Pictures))}")
    target = expanded(out_dir)
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty; name a new folder, or empty it")
    gallery.refresh()
    reader = gallery.pinned()  # one version, whatever is written meanwhile
    rows = _chosen(reader, where, ids)
    columns = columns_of(list(rows.values()), gallery.columns(), with_reports=with_reports)
    left_out: list[LeftOut] = []
    counts: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    converted = 0

    def films() -> Iterator[tuple[Row, Picture]]:
        nonlocal converted
        every, done = list(rows.values()), 0
        for start in range(0, len(every), _PIECE):
            for row, found in pictures_of(reader, every[start : start + _PIECE], kind):
                done += 1
                if isinstance(found, LeftOut):
                    left_out.append(found)
                    continue
                counts[name_of_split(row.split)] += 1
                labels.update(row.named_findings)
                converted += found.converted
                yield row, found
            if progress is not None:
                progress(done, len(every))

    with staging(target) as aside:
        write = write_shards if form_ == "hf" else write_folder
        files = write(aside, films(), columns)
        if not files:
            one = left_out[0]
            raise BadQuery(
                f"no film of the {len(rows):,} chosen has a picture to write: {one.id}: "
                f"{one.detail}"
            )
        text = card(
            name=target.name,
            form=form_,
            pictures=kind,
            counts=dict(counts),
            labels=dict(labels.most_common()),
            datasets=sorted({row.dataset for row in rows.values() if row.dataset}),
            columns=columns,
            converted=converted,
            left_out=len(left_out),
        )
        (aside / CARD).write_bytes(text.encode("utf-8", "backslashreplace"))
        swap(aside, target, [CARD, *files], ())  # the card last: with it the data set is whole
    return Exported(
        folder=target,
        form=form_,
        pictures=kind,
        files=(CARD, *files),
        splits=dict(counts),
        labels=dict(labels.most_common()),
        left_out=tuple(left_out),
        converted=converted,
    )


def _chosen(reader: Gallery, where: Where | None, ids: Sequence[str] | None) -> dict[str, Row]:
    """Rows in the order to write them."""
    from ingest import natural

    chosen = reader.ids(where)
    if ids is not None:
        for id_ in ids:
            reader.row(id_)  # says which is not there
        wanted = set(ids)
        chosen = [id_ for id_ in chosen if id_ in wanted]
    if not chosen:
        raise BadQuery(f"no film of {reader.uri} is chosen; look with: cxr stats")
    found = reader.rows(chosen)

    def place(row: Row) -> tuple[Any, ...]:
        split = row.split or ""
        rank = _ORDER.index(split) if split in _ORDER else len(_ORDER)
        return rank, not split, split, row.dataset or "", natural(row.id)

    return {row.id: row for row in sorted(found.values(), key=place)}
