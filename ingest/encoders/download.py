"""Fetch an encoder's files from the Hugging Face hub, and say plainly when that fails."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from store import EncoderUnavailable

_COMMIT = re.compile("[0-9a-f]{40}")


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
    """What can be made again: ``$CXR_CACHE``, else the user's cache."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("CXR_CACHE") or user_cache_dir("cxr-retrieval"))


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
        f"not cached on this machine{at}, and fetching it failed ({first_line(error)}); "
        "connect once to download it, or pass a local folder"
    )


def first_line(error: BaseException) -> str:
    """Kind and first line of an error, short enough for one line of advice."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
