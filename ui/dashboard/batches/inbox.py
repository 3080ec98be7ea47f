"""Dropped films and server folders on their way to ``cxr ingest``. No Streamlit here.

Dropped films wait in a private folder in the gallery's ingestion folder (``ingest/inbox`` of a
local gallery), one folder per batch, which goes when the batch has ended, however it ended.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from secrets import token_hex

from ingest import csv_bytes, decode, is_dicom, pixels_digest, state_folder
from store import BadImage, Gallery, UsageError, counted

#: Most films in one drop, and most bytes: they pass through the server's memory.
FILES_MAX, BYTES_MAX = 500, 512 << 20
_NAME_MAX = 100
#: Bytes of a file that can hold no more than 224 x 224 pixels in colour, as MedMNIST has them.
_SMALL = 160 << 10
_DATASET = re.compile(r"[\w][\w .-]{0,59}")


def inbox(uri: str) -> Path:
    """Folder in which dropped films of a gallery wait."""
    return state_folder(uri) / "inbox"


def is_inside(uri: str, place: str) -> bool:
    """Whether a path is in the inbox, however the gallery was named."""
    return any(Path(place).is_relative_to(top) for top in _tops(uri))


def without_place(text: str, uri: str, batch: str) -> str:
    """A message about dropped films without where the server kept them."""
    for top in _tops(uri):
        text = text.replace(f"{top}/{batch}/films/{batch}/", "")
        text = text.replace(f"{top}/{batch}", "the dropped films")
    return text


def _tops(uri: str) -> tuple[Path, ...]:
    return inbox(uri).resolve(), inbox(uri).absolute(), inbox(uri)


def batch_name(now: datetime | None = None) -> str:
    """A name for a new batch: when it was asked for, and a little chance against a tie."""
    return f"{now or datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-{token_hex(2)}"


def safe_name(name: str, taken: set[str]) -> str:
    """A file name of ours for a dropped file: no path, no control characters, not twice.

    What may stay stays, so that the names in a CSV still fit. ``taken`` learns the name.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    kept = "".join(c if c.isprintable() and c not in '<>:"|?*' else "_" for c in last)
    kept = kept.encode("utf-8", "replace").decode().strip().lstrip(".-~") or "film"
    stem, dot, ending = kept.rpartition(".")
    if not dot or len(ending) > 8:
        stem, ending = kept, ""
    ending = f".{ending}" if ending else ""
    while len((stem + ending).encode()) > _NAME_MAX:
        stem = stem[:-1]
    found, number = f"{stem}{ending}", 2
    while found.casefold() in taken:
        found, number = f"{stem}-{number}{ending}", number + 1
    taken.add(found.casefold())
    return found


def kind_of(films: Sequence[tuple[str, bytes]]) -> str:
    """Source that reads some dropped films: ``dicom`` or ``folder``.

    Raises:
        UsageError: there is none, too many, or both kinds.
    """
    if not films:
        raise UsageError("choose films first")
    total = sum(len(data) for _, data in films)
    if len(films) > FILES_MAX or total > BYTES_MAX:
        raise UsageError(
            f"{counted(len(films), 'film')} of {total >> 20:,} MB: a drop takes {FILES_MAX} films "
            "and "
            f"{BYTES_MAX >> 20} MB; put more into a folder of the server, or run cxr ingest there"
        )
    dicom = sum(is_dicom(data) for _, data in films)
    if dicom not in (0, len(films)):
        raise UsageError(
            f"{dicom:,} of these {counted(len(films), 'file')} are DICOM and the others are not; "
            "add them as two batches"
        )
    return "dicom" if dicom else "folder"


def digests_of(name: str, data: bytes) -> tuple[bytes, ...]:
    """SHA-256 digests that a stored row of the same film may have: of the file, of its pixels.

    Only rows of small pictures, as MedMNIST has them, have the digest of their pixels.
    """
    found = [hashlib.sha256(data).digest()]
    if len(data) <= _SMALL and not is_dicom(data):
        with suppress(BadImage):  # which the job refuses with its reason
            found.append(pixels_digest(decode(data, name)))
    return tuple(found)


def already_here(
    gallery: Gallery | None,
    films: Sequence[tuple[str, tuple[bytes, ...]]],
    awaited: Mapping[bytes, str],
) -> dict[int, str]:
    """Dropped films that are known: place in the drop -> the film that it equals, for people.

    Args:
        gallery: asked by sha256, without its vectors; ``None`` when there is none yet.
        films: name and digests of each; see digests_of.
        awaited: digests of films on their way, to the batch that brings them.
    """
    wanted = [digest for _, digests in films for digest in digests]
    stored = gallery.holding(wanted) if gallery is not None and wanted else {}
    known: dict[int, str] = {}
    seen: dict[bytes, str] = {}
    for place, (name, digests) in enumerate(films):
        for digest in digests:
            if digest in stored:
                first, *more = stored[digest]
                known[place] = f"{first} and {len(more):,} more" if more else first
            elif digest in awaited:
                known[place] = f"on its way in batch {awaited[digest]}"
            elif digest in seen:
                known[place] = f"{seen[digest]} of this drop"
        for digest in digests:
            seen.setdefault(digest, name)
    return known


def put(
    uri: str,
    batch: str,
    films: Sequence[tuple[str, bytes]],
    label: str = "",
    sheet: bytes | None = None,
) -> tuple[Path, Path | None]:
    """Write dropped films, and their labels, where only this user may read them.

    Args:
        uri: of the gallery.
        batch: becomes a folder, and a part of the ids: a film of the same name never replaces one
            of an earlier drop.
        films: name as dropped, and bytes.
        label: one label, or several with ``;`` between, for all of them.
        sheet: a CSV with a row per film instead.

    Returns:
        The folder to ingest, and the CSV, if there are labels.
    """
    place = inbox(uri)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    home = place / batch
    home.mkdir(mode=0o700)
    below = home / "films" / batch
    below.mkdir(mode=0o700, parents=True)
    taken: set[str] = set()
    names = [safe_name(name, taken) for name, _ in films]
    for name, (_, data) in zip(names, films, strict=True):
        (below / name).write_bytes(data)
    table = home / "labels.csv"
    if sheet is not None:
        table.write_bytes(sheet)
    elif label.strip():
        rows = ([name, label.strip()] for name in names)
        table.write_bytes(csv_bytes(["file", "label"], rows, guarded=False))  # for cxr ingest alone
    else:
        return home / "films", None
    return home / "films", table


def below(root: Path, asked: str) -> Path:
    """A folder or file below an allowed root.

    Raises:
        UsageError: it leaves the root, by ``..``, by an absolute path or through a link, or is
            not there. The two are not told apart: what lies elsewhere is nobody's business.
    """
    relative = PurePosixPath(asked.strip().replace("\\", "/") or ".")
    wrong = UsageError(f"there is no {str(relative)!r} below the folders that may be read")
    if relative.is_absolute() or ".." in relative.parts or "\0" in asked:
        raise wrong
    try:
        place, top = (root / relative).resolve(strict=True), root.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise wrong from None
    if not place.is_relative_to(top):
        raise wrong
    return place


def check_dataset(name: str) -> str:
    """A data set's name as it goes into ids; UsageError when it could not."""
    name = " ".join(name.split())
    if not _DATASET.fullmatch(name):
        raise UsageError(
            f"{name[:60]!r} cannot name a data set; use letters, digits, spaces and . _ - "
            "(at most 60), beginning with a letter or digit"
        )
    return name
