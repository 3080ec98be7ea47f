"""Files below a folder, with suspicion: no link is followed, nothing but plain files is opened."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ingest.record import Rejection
from store.errors import BadImage, BadSource

#: Largest file that is read, in bytes.
MAX_BYTES = 256 << 20
#: Written by operating systems and unpackers, never an image.
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX", "DICOMDIR"}
#: What lies beside images; such a file is left out in silence unless it begins like an image.
_SIDE_FILES = {
    *(".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".rst", ".xml", ".html", ".htm", ".pdf"),
    *(".xls", ".xlsx", ".log", ".ini", ".yaml", ".yml", ".toml", ".py", ".sha256", ".md5", ".npy"),
}
_BIDI = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"RIFF", b"BM")


@dataclass(slots=True)
class Tree:
    """What lies below a folder.

    Attributes:
        root: the folder, links in its own path resolved.
        files: relative paths with ``/``, sorted; as the system names them.
        refused: links, special files and folders that cannot be read.
        ignored: how many hidden files and side files were left out.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    ignored: int = 0


def scan(root: str | Path) -> Tree:
    """List a folder and all below it.

    Raises:
        BadSource: it is not a folder, or cannot be listed.
    """
    asked = Path(root).expanduser()
    if not asked.is_dir():
        what = "is a file" if asked.exists() else "does not exist"
        raise BadSource(f"{asked} {what}; pass the folder that holds the images")
    tree = Tree(asked.resolve())
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            entries = list(os.scandir(tree.root / inside))
        except OSError as error:
            if not inside:
                raise BadSource(f"{asked} cannot be listed ({error.strerror})") from error
            tree.refused.append(
                Rejection(shown(f"{tree.root}/{inside}"), "unreadable", f"folder: {error.strerror}")
            )
            continue
        if any(entry.name == "gallery.lance" for entry in entries):
            tree.ignored += 1  # a gallery kept among the images that it was made of
            continue
        for entry in entries:
            _sort_in(entry, f"{inside}/{entry.name}" if inside else entry.name, tree, pending)
    tree.files.sort()
    tree.refused.sort(key=lambda one: one.source)
    return tree


def _sort_in(entry: os.DirEntry[str], relative: str, tree: Tree, pending: list[str]) -> None:
    place = shown(f"{tree.root}/{relative}")
    if entry.name in _LITTER or entry.name.startswith("."):
        tree.ignored += 1
    elif entry.is_symlink():
        tree.refused.append(
            Rejection(place, "link", "a link, which is never followed; copy the file itself here")
        )
    elif entry.is_dir(follow_symlinks=False):
        pending.append(relative)
    elif not entry.is_file(follow_symlinks=False):
        tree.refused.append(Rejection(place, "not_a_file", "neither a file nor a folder"))
    elif _is_side_file(tree.root, relative):
        tree.ignored += 1
    else:
        tree.files.append(relative)


def _is_side_file(root: Path, relative: str) -> bool:
    name = relative.rpartition("/")[2].lower().removesuffix(".gz")
    stem, dot, ending = name.rpartition(".")
    if not stem or f"{dot}{ending}" not in _SIDE_FILES:
        return False
    try:
        with open_plain(root / relative) as file:
            start = file.read(132)
    except (OSError, BadImage):
        return False  # to be refused with its reason
    return not start.startswith(_IMAGE_STARTS) and start[128:] != b"DICM"


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file for reading; never through a link, never a pipe or a device.

    Raises:
        BadImage: ``missing``, ``link``, ``not_a_file``, ``unreadable``.
    """
    name = shown(str(path))
    if os.path.realpath(path) != str(path):
        if path.exists() and not path.is_symlink():
            raise BadImage("link", f"{name} is reached through a link, which is never followed")
        if not path.exists():
            raise BadImage("missing", f"{name} is gone; it was there when the folder was listed")
    try:
        # Without O_NONBLOCK, a pipe put in a file's place would hold the job up for ever.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise BadImage(
            "missing", f"{name} is gone; it was there when the folder was listed"
        ) from error
    except (OSError, ValueError) as error:
        reason = "link" if getattr(error, "errno", 0) == errno.ELOOP else "unreadable"
        detail = getattr(error, "strerror", None) or error
        raise BadImage(reason, f"{name} cannot be read ({detail})") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise BadImage("not_a_file", f"{name} is not a plain file")
    return os.fdopen(number, "rb")


def read_plain(path: Path) -> bytes:
    """A plain file's bytes; BadImage as open_plain, and ``too_large``."""
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise BadImage(
                "too_large",
                f"{shown(str(path))} has {size >> 20} MiB; at most {MAX_BYTES >> 20} are read",
            )
        try:
            return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise BadImage(
                "unreadable", f"{shown(str(path))} cannot be read ({error.strerror})"
            ) from error


def shown(name: str) -> str:
    """A path as text that is safe to store and show: valid Unicode on one line.

    Undecodable bytes and control characters are written as escapes.
    """
    if name.isascii() and name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        char.encode("unicode_escape").decode() if _is_control(char) else char for char in text
    )


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDI
