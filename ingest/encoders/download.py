"""Download of encoders from the Hugging Face hub, and conversion of pickled weights.

Weights that were published as pickles are read once, by torch's weights-only loader after their
digest was checked, and kept as safetensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.encoders.registry import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, TEXT_TOWER, Known
from store import EncoderUnavailable, expanded

_COMMIT = re.compile("[0-9a-f]{40}")
_WEIGHTS = "model.safetensors"
_TEXT_FILES = (
    "config.json",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_DONE = "source.sha256"
_LONGEST_REASON = 300
#: Begins the name of a folder that holds copies of an encoder's files for a library to read.
PRIVATE_COPY = "cxr-encoder-"
_PRIVATE = re.compile(rf"""[^\s'"`(]*{PRIVATE_COPY}\w+""")


def files_of(known: Known, patterns: Sequence[str]) -> Path:
    """The folder that holds a known encoder's files, fetched unless they are here already.

    Args:
        known: which.
        patterns: configuration, tokenizer and safetensors files of the transformers layout.

    Raises:
        EncoderUnavailable: in one line, why it cannot be had and what to do.
    """
    if not known.pickled:
        return fetch(known.repo, known.revision, patterns)
    place = _place_of(known)
    if not _is_whole(place):
        _keep_converted(known, place, patterns)
    return place


def is_here(known: Known) -> bool:
    """Whether a known encoder is on this disk, so that it needs no network."""
    from huggingface_hub import try_to_load_from_cache

    if known.pickled:
        return _is_whole(_place_of(known))
    names = ("config.json", known.weights)
    found = [try_to_load_from_cache(known.repo, n, revision=known.revision) for n in names]
    return all(isinstance(path, str) for path in found)


def fetch(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Folder of a hub model's files that match, downloaded unless they are cached already.

    Of a whole commit, which cannot change, nobody is asked again once all its files are cached.

    Args:
        repo: hub id, e.g. ``openai/clip-vit-base-patch32``.
        revision: branch, tag or commit; ``None`` is the main branch.
        patterns: file names to take; name nothing that could run code.

    Raises:
        EncoderUnavailable: no network and no cached copy, no such model, or no access to it.
    """
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    import huggingface_hub.file_download  # sets the level of its messages when it is loaded

    def snapshot(**where: Any) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=["*/*"],
                tqdm_class=Silent,
                **where,
            )
        )

    chatter = logging.getLogger("huggingface_hub")
    level = chatter.level
    chatter.setLevel(logging.CRITICAL)  # what it tries again is not news; what failed is raised
    try:
        if revision is not None and _COMMIT.fullmatch(revision):
            unknown = (errors.CachedRepoTreeNotFoundError, errors.LocalEntryNotFoundError)
            with contextlib.suppress(*unknown):
                # Without its listing, a folder that lacks files would pass for a whole one.
                huggingface_hub.get_cached_repo_tree(repo, revision=revision)
                return snapshot(local_files_only=True)
        return snapshot()
    except Exception as error:  # the hub client raises many kinds, none shared
        raise EncoderUnavailable(f"encoder {repo!r}: {_advice(repo, revision, error)}") from error
    finally:
        chatter.setLevel(level)


def cache_folder() -> Path:
    """The folder of files that can be made again: ``$CXR_CACHE``, else the user's cache."""
    from platformdirs import user_cache_dir

    return expanded(os.environ.get("CXR_CACHE") or user_cache_dir("cxr-retrieval"))


def _place_of(known: Known) -> Path:
    """The folder of the converted files of one commit, in ``cache_folder``."""
    return cache_folder() / "encoders" / f"{known.name}-{known.revision[:12]}"


def _is_whole(place: Path) -> bool:
    """Whether a conversion was finished there."""
    return (place / _DONE).is_file()


def _keep_converted(known: Known, place: Path, patterns: Sequence[str]) -> None:
    """Fetch a known encoder, check its pickle against its digest, and write it as safetensors.

    The folder appears whole or not at all.

    Raises:
        EncoderUnavailable: it cannot be fetched, it is not the file that was published, or the
            disk is full.
    """
    configs = [OPEN_CLIP_CONFIG] if known.open_clip else list(patterns)
    source = fetch(known.repo, known.revision, [*configs, known.weights])
    _check_digest(known, source / known.weights)
    text = None
    if known.open_clip:
        repo, revision = known.open_clip
        text = fetch(repo, revision, _TEXT_FILES)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as folder:
            new = Path(folder, "whole")
            new.mkdir()
            for path in source.iterdir():
                if path.is_file() and path.suffix in (".json", ".txt", ".model"):
                    shutil.copyfile(path, new / path.name)
            if text is not None:
                (new / TEXT_TOWER).mkdir()
                for path in (text / name for name in _TEXT_FILES):
                    if path.is_file():
                        shutil.copyfile(path, new / TEXT_TOWER / path.name)
            weights = OPEN_CLIP_WEIGHTS if known.open_clip else _WEIGHTS
            _convert(known, source / known.weights, new / weights)
            (new / _DONE).write_text(f"{known.sha256}\n", "utf-8")
            if place.exists():
                shutil.rmtree(place)
            new.replace(place)
    except OSError as error:
        if _is_whole(place):  # another process was quicker
            return
        raise EncoderUnavailable(
            f"encoder {known.name!r}: its weights cannot be kept in {place.parent} "
            f"({in_one_line(error)}); set CXR_CACHE to a folder with {known.bytes >> 20:,} MB free"
        ) from error


def _check_digest(known: Known, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != known.sha256:
        raise EncoderUnavailable(
            f"encoder {known.name!r}: {path} has sha256 {found[:12]}..., the published file has "
            f"{str(known.sha256)[:12]}...; delete it and try again"
        )


def _convert(known: Known, source: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        # Copies: safetensors refuses tensors that share memory.
        tensors = {
            str(name): value.detach().clone().contiguous()
            for name, value in state.items()
            if isinstance(value, torch.Tensor) and not str(name).endswith("position_ids")
        }
    except Exception as error:  # torch and pickle raise many kinds, none shared
        raise EncoderUnavailable(
            f"encoder {known.name!r}: {source} does not read as weights ({in_one_line(error)}); "
            "delete it and try again"
        ) from error
    save_file(tensors, target, metadata={"format": "pt"})


def _advice(repo: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    at = f" at revision {revision!r}" if revision else ""
    if isinstance(error, errors.GatedRepoError):
        return (
            f"access is gated; accept its terms at https://huggingface.co/{repo}, "
            "then run `hf auth login` and try again"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such public model on the hub; check the id, or run `hf auth login` if private"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub model has nothing{at}; check the revision"
    return (
        f"not cached on this machine{at}, and fetching it failed ({in_one_line(error)}); "
        "connect once to download it, or pass a local folder"
    )


def in_one_line(error: BaseException) -> str:
    """Kind and message of an error as one line of at most 300 characters, cut between words.

    The path of a private copy, which is gone when somebody reads this, is left out.
    """
    words = _PRIVATE.sub("its folder", " ".join(str(error).split()))
    if len(words) > _LONGEST_REASON:
        words = f"{words[:_LONGEST_REASON].rpartition(' ')[0]} ..."
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
