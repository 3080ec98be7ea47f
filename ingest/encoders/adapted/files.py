"""Files of an adapted encoder: a reference to its base, a map of vectors, a card.

A folder of this layout holds

``adapter.json``
    the card: ``base`` (name, fingerprint, dimension and, of an encoder of one's own, folder),
    ``dimension`` of its vectors, ``no_text`` (why sentences do not go through it, else null), and
    what the map was learnt from and what it gains, which is for people.
``map.safetensors``
    the map; see ingest.encoders.adapted.vector_map.
``training.json``
    the splits that base and map learnt from, as ``cxr train`` writes it.
``base`` (optional)
    the folder of the base encoder, or a link to it, where it is not found as the card says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.encoders.adapted.vector_map import VectorMap
from ingest.encoders.files.contents import Contents
from store import EncoderStamp, EncoderUnavailable

CARD, MAP, BASE = "adapter.json", "map.safetensors", "base"
#: Of the card's layout.
FORMAT = 1
#: Part of every fingerprint: raise it when the same map gives other vectors.
_RECIPE = b"cxr-adapted-encoder 1"


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference of an adapted encoder to its base, from its card.

    Attributes:
        base: the encoder below the map.
        dimension: of the vectors that come out.
        no_text: why sentences do not go through it, in one clause; else None.
    """

    base: EncoderStamp
    dimension: int
    no_text: str | None


def read_reference(name: str, contents: Contents) -> Reference:
    """The reference in the card of a folder.

    Raises:
        EncoderUnavailable: it is damaged, or of a later layout.
        OSError: it cannot be read.
    """
    place = contents.folder / CARD
    try:
        found = json.loads(bytes(contents.read(CARD).bytes))
        if found["format"] != FORMAT:
            raise EncoderUnavailable(
                f"encoder {name!r}: {place} has format {found['format']!r}, this program reads "
                f"{FORMAT}; use the program that made it"
            )
        base, no_text = found["base"], found.get("no_text")
        folder = base.get("folder")
        return Reference(
            EncoderStamp(
                str(base["name"]),
                str(base["fingerprint"]),
                int(base["dimension"]),
                None if folder is None else str(folder),
            ),
            int(found["dimension"]),
            None if no_text is None else str(no_text),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EncoderUnavailable(
            f"encoder {name!r}: {place} is no card of an adapted encoder ({type(error).__name__}: "
            f"{error}); copy the folder again, or make it anew with: cxr adapt"
        ) from error


def read_map(name: str, contents: Contents, reference: Reference) -> VectorMap:
    """The map of a folder, checked against its reference.

    Raises:
        EncoderUnavailable: it is damaged, or fits other vectors.
        OSError: it cannot be read.
    """
    from safetensors.numpy import load

    place = contents.folder / MAP
    try:
        made = VectorMap.of(load(bytes(contents.read(MAP).bytes)), reference.base.dimension)
        if (width := made.dimension(reference.base.dimension)) != reference.dimension:
            raise ValueError(f"it gives vectors of {width}, {CARD} says {reference.dimension}")
    except OSError:
        raise
    except Exception as error:  # the library's own errors share no kind
        raise EncoderUnavailable(
            f"encoder {name!r}: {place} is no map of vectors ({error}); copy the folder again, or "
            "make it anew with: cxr adapt"
        ) from error
    return made


def fingerprint(base: EncoderStamp, map_digest: bytes) -> str:
    """Hex sha256 over the base's fingerprint and the bytes of the map.

    Args:
        base: the encoder below.
        map_digest: sha256 of the file of the map.
    """
    return hashlib.sha256(b"\0".join((_RECIPE, base.fingerprint.encode(), map_digest))).hexdigest()


def write_adapter(
    folder: Path, base: EncoderStamp, made: VectorMap, card: Mapping[str, Any], training: Any
) -> None:
    """Write an adapted encoder; whoever is killed meanwhile leaves no card, so no encoder.

    Args:
        folder: made if it is not there.
        base: the encoder below the map.
        made: the map.
        card: what else the card says; ``no_text`` among it.
        training: content of ``training.json``.
    """
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    whole = {
        "format": FORMAT,
        "base": {
            "name": base.name,
            "fingerprint": base.fingerprint,
            "dimension": base.dimension,
            **({} if base.folder is None else {"folder": base.folder}),
        },
        "dimension": made.dimension(base.dimension),
        **card,
    }
    files = {
        MAP: save(made.tensors()),
        "training.json": (json.dumps(training, indent=1) + "\n").encode(),
        CARD: (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    for name, data in files.items():  # the card last: a folder without it is no encoder
        part = folder / f"{name}.part"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
