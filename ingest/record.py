"""Image record, image file and rejection: what a source hands to the ingestion job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from store import COLUMNS, FINDINGS, Metadata

#: 8-bit pixels, grey (height, width) or RGB (height, width, 3).
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord(Metadata):
    """One image with its metadata, before it has a vector.

    Attributes:
        id: unique in the gallery, e.g. ``pneumoniamnist/test/17``.
        pixels: uint8, (height, width) grey or (height, width, 3) RGB; bright is dense tissue.
        sha256: 32 bytes, digest of the source.
    """

    id: str
    pixels: Pixels
    sha256: bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "labelled", bool(self.labelled or self.has_findings))


#: Columns of a row that describe an image, with the user's own, and their values when nothing is
#: known.
METADATA: dict[str, Any] = {
    **{name: column.default for name, column in COLUMNS.items()},
    "extra": MappingProxyType({}),
}


def told(said: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that a source speaks of, by names of METADATA.

    A stored value changes only where it is spoken of. Findings are spoken of together: naming those
    that are present says that no other is, and whether somebody looked belongs to them.
    """
    found = {name: value for name, value in said.items() if name in METADATA}
    looked = bool(found.pop("labelled", False))
    if looked or any(name in found for name in FINDINGS):
        for name in FINDINGS:
            found.setdefault(name, ())
        found["labelled"] = looked or any(found[name] for name in FINDINGS)
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
        path: of the file; a plain one below the source's root, no link.
        id: unique in the gallery; ``None`` when only the file can tell.
        metadata: values known without opening it, by names of METADATA. A column that is named is
            written, also where it is blank; one that is not keeps its stored value. The same holds
            for the user's own columns in ``extra``.
        read: reader of its bytes: pixels and further metadata.
        identify: reader of its id, where that is not known.
        tells: names of metadata that come from the file itself, wherever ``metadata`` has none.
        otherwise: the id where the file has none.
        extract: reader of the image's own bytes where ``path`` holds many, as a shard of Parquet
            does; ``None`` where the whole file is the image. Travels to other processes.
    """

    path: Path
    id: str | None
    metadata: Mapping[str, Any]
    read: Reader
    identify: Identifier | None = None
    tells: tuple[str, ...] = field(default=())
    otherwise: str = ""
    extract: Callable[[], bytes] | None = None

    @property
    def source(self) -> str:
        """Name of the source of the pixels, as rows and rejections have it."""
        return str(self.metadata["source"])


@dataclass(frozen=True, slots=True, eq=False)
class RemoteImage:
    """One image that is fetched from a server under an id that names its bytes for good.

    What the gallery has under that id is not fetched again.

    Attributes:
        id: unique in the gallery, e.g. a SOPInstanceUID.
        metadata: values known without it, as of an ImageFile.
        fetch: its bytes from the server; BadImage where this image cannot be had, any other
            CxrError where the server cannot.
        read: reader of its bytes: pixels and further metadata.
        tells: names of metadata that come from the image itself, wherever ``metadata`` has none.
    """

    id: str
    metadata: Mapping[str, Any]
    fetch: Callable[[], bytes]
    read: Reader
    tells: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Address of the image, as rows and rejections have it."""
        return str(self.metadata["source"])


@dataclass(frozen=True, slots=True)
class Rejection:
    """An image that was refused, with the reason.

    Attributes:
        source: name of the image.
        reason: a short code, e.g. ``unreadable``.
        detail: one sentence for a person.
    """

    source: str
    reason: str
    detail: str


#: An image on its way in, or why it is refused.
Item = ImageRecord | ImageFile | RemoteImage | Rejection
