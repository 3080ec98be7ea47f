"""Pickled weights of a folder (``pytorch_model.bin``), converted to safetensors once.

Read by torch's weights-only loader, which builds tensors and nothing else. Kept in the cache by the
digest of the pickle, so that the folder itself stays as it is.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingest.encoders.download import cache_folder, in_one_line
from store import EncoderUnavailable

log = logging.getLogger("ingest")


def converted(name: str, sources: Sequence[Path]) -> Path:
    """The safetensors file of some pickled weights; made and announced the first time.

    Args:
        name: of the encoder.
        sources: the parts of its weights, all of them.

    Raises:
        EncoderUnavailable: they hold more than weights, or the cache cannot be written.
    """
    digest = hashlib.sha256()
    for source in sources:
        with source.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    target = cache_folder() / "encoders" / "converted" / f"{digest.hexdigest()}.safetensors"
    if target.is_file():
        return target
    from safetensors.torch import save_file

    tensors = {key: value for source in sources for key, value in _tensors(name, source).items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as new:
            place = Path(new.name)
        try:
            save_file(tensors, place, metadata={"format": "pt"})
            place.replace(target)
        finally:
            place.unlink(missing_ok=True)
    except OSError as error:
        size = sum(source.stat().st_size for source in sources)
        raise EncoderUnavailable(
            f"encoder {name!r}: its pickled weights cannot be kept as safetensors in "
            f"{target.parent} ({in_one_line(error)}); set CXR_CACHE to a folder with "
            f"{(size >> 20) + 1:,} MB free"
        ) from error
    log.warning(
        "encoder %r: %s is a pickle; its weights alone were read, and are kept as %s from now on",
        name,
        ", ".join(source.name for source in sources),
        target,
    )
    return target


def _tensors(name: str, source: Path) -> dict[str, Any]:
    """Copies of the tensors of one file: safetensors refuses those that share memory."""
    import torch

    if not _is_whole(source):
        raise EncoderUnavailable(
            f"encoder {name!r}: {source} is no complete file of torch.save (or only a Git LFS "
            "pointer to one); fetch it again"
        )
    try:
        found: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds, none shared
        raise EncoderUnavailable(
            f"encoder {name!r}: {source} does not read as weights alone "
            f"({in_one_line(error).partition('. ')[0]}); a pickle that holds more can run code and "
            "is never loaded: get the weights as safetensors"
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    tensors = {
        str(key): value.detach().clone().contiguous()
        for key, value in (found.items() if isinstance(found, dict) else ())
        if isinstance(value, torch.Tensor) and not str(key).endswith("position_ids")
    }
    if not tensors:
        raise EncoderUnavailable(
            f"encoder {name!r}: {source} holds no weights by their names; expected what "
            "torch.save(model.state_dict()) writes"
        )
    return tensors


def _is_whole(source: Path) -> bool:
    """Whether a file is an archive to its end, or begins as torch's pickles before 1.6 do."""
    with source.open("rb") as file:
        return file.read(1) == b"\x80" or zipfile.is_zipfile(file)
