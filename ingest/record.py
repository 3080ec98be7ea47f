"""What travels through an ingestion until there is a vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from store import Value

#: 8-bit pixels, grey (height, width) or RGB (height, width, 3).
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """One image with its metadata, before it has a vector.

    Attributes:
        id: unique in the gallery, e.g. ``pneumoniamnist/test/17``.
        pixels: uint8, (height, width) grey or (height, width, 3) RGB; bright is dense tissue.
        sha256: 32 bytes, digest of the source.
        labels: the findings that are present.
        labelled: whether somebody looked: without labels, nothing was found. A record with labels
            is labelled, whatever is passed.
        uncertain, absent: findings that are neither present nor unmentioned.
        age: years.
        source: where the pixels came from.
        extra: the user's own columns.
    """

    id: str
    pixels: Pixels
    sha256: bytes
    labels: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    split: str | None = None
    dataset: str | None = None
    patient: str | None = None
    view: str | None = None
    sex: str | None = None
    age: float | None = None
    source: str = ""
    extra: Mapping[str, Value | None] = field(default_factory=dict)
    labelled: bool = False

    def __post_init__(self) -> None:
        if self.labels and not self.labelled:
            object.__setattr__(self, "labelled", True)


#: Columns of a row that describe an image, and what they hold when nothing is known.
METADATA: dict[str, Any] = {
    "labels": (),
    "uncertain": (),
    "absent": (),
    "split": None,
    "dataset": None,
    "patient": None,
    "view": None,
    "sex": None,
    "age": None,
    "source": "",
    "extra": MappingProxyType({}),
}

#: Findings are told together: whoever names those that are present says that no other is.
FINDINGS = ("labels", "uncertain", "absent")


def told(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of an image, by names of METADATA: a column that is not named is not spoken of.

    A stored value changes only where it is spoken of. Findings are, all of them, where one is.
    """
    found = {name: value for name, value in said.items() if name in METADATA}
    if any(name in found for name in FINDINGS):
        for name in FINDINGS:
            found.setdefault(name, ())
        found["labelled"] = bool(said.get("labelled"))
    return found


#: A file's bytes and its name for messages, to its pixels and what the file itself says: metadata,
#: and ``notes`` for a person, one short sentence each.
Reader = Callable[[bytes, str], tuple[Pixels, Mapping[str, Any]]]
#: A file's path and its name for messages, to ``id``, if there is one, and what the file itself
#: says, without pixels.
Identifier = Callable[[Path, str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """One image that is still a file: the job opens it only when it has to.

    Attributes:
        path: where it is; a plain file below the source's root, no link.
        id: unique in the gallery; ``None`` when only the file can tell.
        metadata: what is known without opening it, by names of METADATA, and ``labelled``, as
            ImageRecord has it. What it names is told, also where it is blank; what it does not name
            keeps its stored value. The same holds for the user's own columns in ``extra``.
        read: bytes to pixels, and to further metadata.
        identify: tells the id when it is not known.
        tells: which metadata comes from the file itself, wherever ``metadata`` says nothing.
        otherwise: the id where the file tells none.
    """

    path: Path
    id: str | None
    metadata: Mapping[str, Any]
    read: Reader
    identify: Identifier | None = None
    tells: tuple[str, ...] = field(default=())
    otherwise: str = ""

    @property
    def source(self) -> str:
        """Where the pixels come from, as rows and rejections say it."""
        return str(self.metadata["source"])


@dataclass(frozen=True, slots=True)
class Rejection:
    """An image that was refused.

    Attributes:
        source: which one.
        reason: a short code, e.g. ``unreadable``.
        detail: one sentence for a person.
    """

    source: str
    reason: str
    detail: str
