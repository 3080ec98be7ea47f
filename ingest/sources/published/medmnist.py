"""Source of the 2-D MedMNIST sets (Yang et al. 2023), local or by MedMNIST's own download."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ingest.sources.published.npz import NpzFile
from ingest.sources.source import SPLITS, Source, SourceUnavailable, check_splits
from store import BadSource, UsageError, expanded

SIZES = (28, 64, 128, 224)
#: Seconds without an answer before a download is given up.
TIMEOUT = 15.0


def records(
    name: str = "pneumoniamnist",
    splits: Sequence[str] | None = SPLITS,
    size: int = 28,
    root: str | Path | None = None,
    download: bool = True,
) -> Source:
    """A 2-D MedMNIST set as a source.

    The file is looked for in ``root`` alone when given, else in ``$MEDMNIST_ROOT``, then in
    ``~/.medmnist``. A missing file is downloaded from the address that medmnist publishes and moved
    into the first of these folders once its MD5 is right.

    Args:
        name: e.g. ``pneumoniamnist``, ``chestmnist``.
        splits: some of ``train``, ``val``, ``test``; all when ``None``.
        size: side of the images in pixels: 28, 64, 128 or 224.
        root: folder of the npz files.
        download: whether a missing file may be fetched.

    Raises:
        UsageError: unknown set, split or size.
        SourceUnavailable: the file is not here and could not be fetched.
        BadSource: the file is not what it should be.
    """
    about = info(name)
    wanted = check_splits(splits)
    if size not in SIZES:
        raise UsageError(f"{name} comes in sizes {', '.join(map(str, SIZES))}; got {size}")
    suffix = "" if size == 28 else f"_{size}"
    path = _locate(name, suffix, about, root, download)
    remedy = (
        f"move the file away to have it downloaded again, or fetch it from {about['url' + suffix]}"
    )
    multi_label = "multi-label" in about["task"]
    file = NpzFile(path, name, label_names(name), remedy, multi_label, size, about["n_channels"])
    total = file.count(wanted)  # says what is wrong with a file that cannot be read
    return Source(name, total, file.read(wanted), _md5_note(path, about["MD5" + suffix]))


def info(name: str) -> dict[str, Any]:
    """MedMNIST's entry of a 2-D set: label names, task, channels, addresses, digests.

    Raises:
        UsageError: no such set, or a 3-D one.
    """
    table = _table()
    flat = [key for key, about in table.items() if not about["python_class"].endswith("3D")]
    if name not in flat:
        what = "is 3-D" if name in table else "is not a MedMNIST set"
        raise UsageError(f"{name!r} {what}; expected one of {', '.join(flat)}")
    return table[name]


def label_names(name: str) -> tuple[str, ...]:
    """Label names of a set in the order of its label numbers."""
    labels = info(name)["label"]
    return tuple(labels[str(number)] for number in range(len(labels)))


def _table() -> dict[str, dict[str, Any]]:
    """MedMNIST's table of sets, from that module alone: with its package come torch and more."""
    name = "medmnist.info"
    if name not in sys.modules:
        package = find_spec("medmnist")
        places = package.submodule_search_locations if package else None
        found = PathFinder.find_spec(name, places)
        if found is None or found.loader is None:
            raise BadSource("the package medmnist is not installed; pip install medmnist")
        module = module_from_spec(found)
        found.loader.exec_module(module)
        sys.modules[name] = module  # the package, if it is imported later, has the same
    table: dict[str, dict[str, Any]] = sys.modules[name].INFO
    return table


def _locate(
    name: str, suffix: str, about: dict[str, Any], root: str | Path | None, download: bool
) -> Path:
    """The npz file, downloaded if need be."""
    if root is not None:
        folders = [expanded(root)]
    else:
        variable = os.environ.get("MEDMNIST_ROOT")
        folders = [expanded(variable)] if variable else []
        folders.append(Path.home() / ".medmnist")
    file_name = f"{name}{suffix}.npz"
    for folder in folders:
        if (folder / file_name).exists():
            return folder / file_name
    url, target = about["url" + suffix], folders[0] / file_name
    advice = f"download {url} elsewhere and put it at {target}, or set MEDMNIST_ROOT to its folder"
    if not download:
        looked = " or ".join(map(str, folders))
        raise SourceUnavailable(f"no {file_name} in {looked}, and downloading is off; {advice}")
    try:
        fetch(name, suffix, target)
    except (OSError, HTTPException) as error:  # URLError, timeouts and a full disk alike
        reason = getattr(error, "reason", None) or error
        raise SourceUnavailable(f"cannot download {file_name} ({reason}); {advice}") from error
    return target


def fetch(name: str, suffix: str, target: Path, timeout: float = TIMEOUT) -> None:
    """Have medmnist download a file; it appears at its place only when its MD5 is right.

    The package itself would write over a file that is there; this never does.

    Args:
        name: of the set.
        suffix: of its size, e.g. ``_64``; empty for 28 pixels.
        target: where the file belongs, called as medmnist calls it.
        timeout: seconds without an answer before it is given up.

    Raises:
        SourceUnavailable: the bytes that came have another MD5.
        OSError, HTTPException: no connection, no answer, or nowhere to write.
    """
    about = info(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
        part = Path(folder) / target.name
        # Made by its class, the set would be read whole, too.
        wanted = SimpleNamespace(flag=name, size_flag=suffix, info=about, root=folder)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(timeout)
        try:
            from medmnist.dataset import MedMNIST

            MedMNIST.download(wanted)
        except RuntimeError as error:  # whatever happened: it says what to do, not why
            cause = error.__context__
            if isinstance(cause, OSError | HTTPException | KeyboardInterrupt):
                raise cause from None
            if not part.exists():
                raise OSError(str(cause or error)) from error
        finally:
            socket.setdefaulttimeout(before)
        digest = _md5(part)
        if digest != about["MD5" + suffix]:
            raise SourceUnavailable(
                f"the download from {about['url' + suffix]} has MD5 {digest}, expected "
                f"{about['MD5' + suffix]}: it was cut short or altered on the way; try again, or "
                f"put the file at {target} yourself"
            )
        _put(part, target)


def _put(part: Path, target: Path) -> None:
    """Move a file to where it belongs, never over one that is there."""
    try:
        os.link(part, target)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not target.exists():
            part.rename(target)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5_note(path: Path, published: str) -> str | None:
    found = _md5(path)
    if found == published:
        return None
    return (
        f"{path} is not the published file (MD5 {found}, published {published}): "
        "image indices may not be the official ones"
    )
