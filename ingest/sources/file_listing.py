"""Sources made of files: descriptions of files, refusals of files and rows, notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.images.decode import decode
from ingest.images.dicom import read
from ingest.images.dicom.body_parts import Choice
from ingest.images.dicom.file import is_dicom
from ingest.images.file_tree import Tree, shown
from ingest.record import Identifier, ImageFile, Pixels, Reader, Rejection
from ingest.reports.personal import Reports
from ingest.sources.source import Source
from ingest.sources.tables.matching import Matching


@dataclass(frozen=True, slots=True)
class Described:
    """Id and metadata of a file, by a table or a folder.

    Attributes:
        id: of the row; ``None`` for data set and relative path, or what the file itself tells.
        metadata: by column names; ``labelled`` tells nothing found from not labelled, and is told
            by the labels where a source leaves it out.
    """

    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_image_file(
    data: bytes, name: str, body_part: Choice = "chest", *, header: bool = False
) -> tuple[Pixels, dict[str, Any]]:
    """The pixels of an image file, and ``notes`` on a DICOM film.

    Args:
        data: the file's bytes.
        name: for messages.
        body_part: ``any`` takes DICOM films whatever part of the body their headers name.
        header: whether to add what a DICOM header tells of the film.

    Raises:
        BadImage: see ``ingest.images.decode``.
    """
    if is_dicom(data):
        film = read.read_film(data, name, body_part)
        return film.pixels, {**(film.told if header else {}), "notes": film.notes}
    return decode(data, name), {}


def file_source(
    name: str,
    tree: Tree,
    describe: Callable[[str], Described | Rejection],
    *,
    extra: Sequence[Rejection] = (),
    notes: Sequence[str] = (),
    read: Reader = read_image_file,
    identify: Identifier | None = None,
    tells: tuple[str, ...] = (),
    columns: Mapping[str, str] | None = None,
    prefix: str | None = None,
    labelling: Mapping[str, Any] | None = None,
) -> Source:
    """A source of the files below a folder.

    Args:
        name: the data set.
        tree: what lies there.
        describe: relative path to what is known of a file, or why it is refused.
        extra: refusals beside those of files and of the tree.
        notes: what a person should know, one sentence each.
        read: bytes to pixels.
        identify: tells ids that ``describe`` leaves open; without it, and where it finds none,
            they are made of data set and relative path.
        tells: the metadata that files tell themselves.
        columns: the user's own columns, name to type.
        prefix: what stands before the relative path in every id, where ids are made so.
        labelling: where labels come from, see Source.
    """
    name = shown(name)
    said = {relative: describe(relative) for relative in tree.files}
    refused = [one for one in said.values() if isinstance(one, Rejection)]
    return Source(
        name=name,
        total=len(tree.refused) + len(extra) + len(tree.files),
        records=_records(name, tree, said, extra, read, identify, tells),
        note="; ".join(notes) or None,
        root=tree.root,
        columns=columns or {},
        prefix=prefix,
        refused=(*tree.refused, *extra, *refused),
        labelling=labelling or {},
        reports=Reports.of(
            (one.metadata.get("report"), relative)
            for relative, one in said.items()
            if isinstance(one, Described)
        ),
    )


def _records(
    name: str,
    tree: Tree,
    said: Mapping[str, Described | Rejection],
    extra: Sequence[Rejection],
    read: Reader,
    identify: Identifier | None,
    tells: tuple[str, ...],
) -> Iterator[ImageFile | Rejection]:
    yield from tree.refused
    yield from extra
    for relative, found in said.items():
        if isinstance(found, Rejection):
            yield found
            continue
        id_ = found.id
        by_path = f"{name}/{shown(relative)}"
        if id_ is None and identify is None:
            id_ = by_path
        yield ImageFile(
            path=tree.root / relative,
            id=id_,
            metadata={
                "dataset": name,
                "labelled": bool(found.metadata.get("labels")),
                **found.metadata,
                "source": source_of(tree, relative),
            },
            read=read,
            identify=identify,
            tells=tells,
            otherwise=by_path,
        )


def source_of(tree: Tree, relative: str) -> str:
    """A file's place as rows and rejections name it."""
    return shown(f"{tree.root}/{relative}")


def unnamed(tree: Tree, relative: str, table: str, matching: Matching) -> Rejection:
    """The rejection of a file without a row in a table; names what was compared."""
    whole = f"{tree.root}/{relative}"
    detail = matching.why_unnamed(relative, whole, table)
    return Rejection(source_of(tree, relative), "label_missing", detail)


def contested(tree: Tree, relative: str, cells: tuple[str, str], table: str) -> Rejection:
    """The rejection of a file that rows with different paths could mean."""
    return Rejection(
        source_of(tree, relative),
        "ambiguous_row",
        f"{table} has {cells[0]!r} and {cells[1]!r}, which could both mean this file; give paths "
        "with more folders",
    )


def several(tree: Tree, place: str, cell: str, films: tuple[Sequence[str], int]) -> Rejection:
    """The rejection of a row that could mean several files."""
    named, count = " and ".join(repr(shown(one)) for one in films[0]), films[1]
    more = f" and {count - len(films[0]):,} more" if count > len(films[0]) else ""
    return Rejection(
        place,
        "ambiguous_file",
        f"{cell!r} could mean {named}{more} below {shown(str(tree.root))}; give paths with more "
        "folders",
    )


def absent_rows(missing: int, rows: int, table: str) -> list[str]:
    """A note about rows of a published table whose file is not in this copy."""
    if not missing:
        return []
    return [f"{missing:,} of {rows:,} images in {table} have no file here: a part of the data set"]


def odd_ages(cells: Sequence[str]) -> list[str]:
    """A note about cells with an age that nobody has, or that cannot be read."""
    if not cells:
        return []
    what = "1 age is" if len(cells) == 1 else f"{len(cells):,} ages are"
    return [f"{what} not a number of years from 0 to 120, such as {cells[0]!r}; left out"]
