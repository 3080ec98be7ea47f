"""What all sources of files share: rows of a table find their file, files become ImageFiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.csvfile import tidy
from ingest.images import decode
from ingest.record import Identifier, ImageFile, Pixels, Reader, Rejection
from ingest.sources.source import Source
from ingest.tree import Tree, shown

_SEX = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
_SPLITS = {
    **dict.fromkeys(("train", "training", "train_val"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class Described:
    """What a table says of a file.

    Attributes:
        id: of the row; ``None`` for data set and relative path, or what the file itself tells.
        metadata: by column names; ``labelled`` tells nothing found from not labelled, and is told
            by the labels where a source leaves it out.
    """

    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class FileIndex:
    """Finds files by what tables call them: a path, part of one, a name, a name without ending.

    Args:
        files: relative paths.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._paths = {tidy(path): path for path in files}
        self._names: dict[str, str | None] = {}
        self._stems: dict[str, str | None] = {}
        for path in files:
            name = tidy(path).rpartition("/")[2]
            self._names[name] = None if name in self._names else path
            stem = name.rpartition(".")[0]
            if stem:
                self._stems[stem] = None if stem in self._stems else path

    def find(self, value: str) -> str | None:
        """The one file that a table's cell means; None when there is none, or several.

        The cell is only ever compared with the paths that were listed, never opened: ``..`` and
        absolute paths lead nowhere.
        """
        asked = value.replace("\\", "/").removeprefix("./")
        if asked in self._paths:
            return self._paths[asked]
        tail = asked
        while "/" in tail:  # a path from further up, such as CheXpert-v1.0/train/...
            tail = tail.partition("/")[2]
            if tail in self._paths:
                return self._paths[tail]
        name = asked.rpartition("/")[2]
        return self._names.get(name) or self._stems.get(name) or None

    def is_ambiguous(self, value: str) -> bool:
        """Whether several files have this name."""
        name = value.replace("\\", "/").rpartition("/")[2]
        return name in self._names and self._names[name] is None


def read_image_file(data: bytes, name: str) -> tuple[Pixels, dict[str, Any]]:
    """The pixels of an image file, which tells nothing else."""
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
        identify: tells ids that ``describe`` leaves open; without it they are made of data set and
            relative path.
        tells: the metadata that files tell themselves.
        columns: the user's own columns, name to type.
        prefix: what stands before the relative path in every id, where ids are made so.
        labelling: where labels come from, see Source.
    """
    return Source(
        name=name,
        total=len(tree.refused) + len(extra) + len(tree.files),
        records=_records(name, tree, describe, extra, read, identify, tells),
        note="; ".join(notes) or None,
        root=tree.root,
        columns=columns or {},
        prefix=prefix,
        labelling=labelling or {},
    )


def _records(
    name: str,
    tree: Tree,
    describe: Callable[[str], Described | Rejection],
    extra: Sequence[Rejection],
    read: Reader,
    identify: Identifier | None,
    tells: tuple[str, ...],
) -> Iterator[ImageFile | Rejection]:
    yield from tree.refused
    yield from extra
    for relative in tree.files:
        found = describe(relative)
        if isinstance(found, Rejection):
            yield found
            continue
        id_ = found.id
        if id_ is None and identify is None:
            id_ = f"{name}/{shown(relative)}"
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
        )


def source_of(tree: Tree, relative: str) -> str:
    """A file's place as rows and rejections say it."""
    return shown(f"{tree.root}/{relative}")


def unnamed(tree: Tree, relative: str, table: str) -> Rejection:
    """The refusal of a file that a table says nothing of."""
    return Rejection(
        source_of(tree, relative), "label_missing", f"{table} has no row for this file"
    )


def sex(cell: str) -> str | None:
    """``M``, ``F`` or ``O``; None for anything else, such as Unknown."""
    return _SEX.get(cell.strip().casefold())


def split(cell: str) -> str | None:
    """A split as this project spells it; an unknown one as it is."""
    text = cell.strip()
    return _SPLITS.get(text.casefold(), text) or None


def view(cell: str) -> str | None:
    """A view in capitals; side views are ``LATERAL``."""
    text = cell.strip().upper()
    return {"LL": "LATERAL", "RL": "LATERAL", "L": "LATERAL", "LAT": "LATERAL"}.get(text, text) or (
        None
    )


def absent_rows(missing: int, rows: int, table: str) -> list[str]:
    """A note about rows of a published table whose file is not in this copy."""
    if not missing:
        return []
    return [f"{missing:,} of {rows:,} images in {table} have no file here: a part of the data set"]


def odd_ages(count: int) -> list[str]:
    """A note about ages that nobody has."""
    return [f"{count:,} ages are not between 0 and 120 years; left out"] if count else []


def repeated(counts: Counter[str]) -> int:
    """How many things occur more than once."""
    return sum(1 for count in counts.values() if count > 1)
