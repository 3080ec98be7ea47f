"""Walk of a folder with suspicion: no link is followed, nothing but plain files is opened."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ingest.record import Rejection
from store import BadImage, BadSource, expanded

#: Largest file that is read, in bytes.
MAX_BYTES = 256 << 20
#: Written by operating systems and unpackers, never an image.
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX", "DICOMDIR"}
#: Endings of files beside images; left out in silence unless they begin like an image.
_SIDE_FILES = {
    *(".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".rst", ".xml", ".html", ".htm", ".pdf"),
    *(".xls", ".xlsx", ".log", ".ini", ".yaml", ".yml", ".toml", ".py", ".sha256", ".md5", ".npy"),
}
#: Whether a file can be opened from a folder that is open.
_BY_DESCRIPTOR = os.open in os.supports_dir_fd
#: To pass through a folder, which needs less than to list it, where the system tells the two apart.
_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_BIDI = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"RIFF", b"BM")


@dataclass(slots=True)
class Tree:
    """Files below a folder, and those that are refused.

    Attributes:
        root: the folder, links in its own path resolved.
        files: relative paths with ``/``, sorted; as the system names them.
        refused: links, special files and folders that cannot be read.
        ignored: how many hidden files and side files were left out.
        masks: relative paths of files found to be masks; not among ``files``.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    ignored: int = 0
    masks: list[str] = field(default_factory=list)


def scan(root: str | Path, within: str | Path | None = None) -> Tree:
    """List a folder and all below it.

    Args:
        root: the folder.
        within: a folder that ``root`` may not leave: then no link is followed on the way either.
            Otherwise links in its own path are resolved.

    Raises:
        BadSource: it is not a folder, cannot be listed, or is not within.
    """
    asked = expanded(root)
    tree = Tree(asked.resolve() if within is None else confined(asked, within))
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            with opened_folder(tree.root / inside) as place:
                entries = list(os.scandir(place))
                held = any(entry.name == "gallery.lance" for entry in entries)
                tree.ignored += held  # a gallery kept among the images that it was made of
                for entry in [] if held else entries:
                    relative = f"{inside}/{entry.name}" if inside else entry.name
                    _sort_in(entry, relative, tree, pending)
        except (OSError, BadImage) as error:
            reason, why = _why(error)
            if not inside:
                raise BadSource(f"{asked} {why}; pass the folder that holds the images") from error
            tree.refused.append(Rejection(shown(f"{tree.root}/{inside}"), reason, f"folder: {why}"))
    tree.files.sort()
    tree.refused.sort(key=lambda one: one.source)
    return tree


def confined(path: Path, within: str | Path) -> Path:
    """A path as it stands, below a folder whose own links are resolved.

    Raises:
        BadSource: it is not below. Links on the way are refused when it is opened.
    """
    top = expanded(within).resolve()
    if not path.is_relative_to(top) or ".." in path.parts:
        raise BadSource(f"{path} is not within {top}; name a folder below it")
    return path


def _why(error: OSError | BadImage) -> tuple[str, str]:
    """Reason code, and why a folder cannot be listed."""
    if isinstance(error, BadImage):
        return error.reason, str(error)
    if isinstance(error, FileNotFoundError):
        return "unreadable", "does not exist"
    if isinstance(error, NotADirectoryError):
        return "unreadable", "is a file"
    return "unreadable", f"cannot be listed ({error.strerror})"


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

    Every folder on the way is opened from the one before it, so that none can be exchanged for a
    link between a look and the opening.

    Raises:
        BadImage: ``missing``, ``link``, ``not_a_file``, ``unreadable``.
    """
    name = shown(str(path))
    try:
        with opened_folder(path.parent) as folder:
            # Without O_NONBLOCK, a pipe put in a file's place would hold the job up for ever.
            number = _open(path, folder, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
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


@contextmanager
def opened_folder(path: Path) -> Iterator[int | str]:
    """A folder's descriptor, reached through folders alone; its path where there are none.

    Raises:
        BadImage: ``link``: a part of the path is a link.
        OSError: it is not there, is no folder, or may not be entered.
    """
    if not _BY_DESCRIPTOR:  # Windows: looked at first, opened afterwards
        if os.path.realpath(path) != os.path.abspath(path):  # noqa: PTH100
            raise BadImage("link", f"{shown(str(path))} is reached through a link")
        yield str(path)
        return
    parts = path.absolute().parts
    here = os.open(parts[0], _ENTER)
    try:
        for place, part in enumerate(parts[1:], start=2):
            flags = _ENTER if place < len(parts) else os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            try:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=here)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP) or not _is_link(part, here):
                    raise
                raise BadImage(
                    "link",
                    f"{shown(str(path))} is reached through a link, which is never followed",
                ) from error
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _open(path: Path, folder: int | str, flags: int) -> int:
    if isinstance(folder, str):
        return os.open(path, flags)
    return os.open(path.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


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
