"""Places of labels: which colour and shape of a palette a label has, and keeps.

A place is wished for by the label's name, so that most labels look the same in every gallery. What
was given once is kept beside the gallery: other labels may come and go, and none changes its look.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from store import files
from store.table import local

if TYPE_CHECKING:
    from store.gallery import Gallery

log = logging.getLogger(__name__)

#: Places a label may wish for, and places in all: more labels than this share the look of none.
FIRST, PLACES = 8, 64
_FILE = "label-places.json"


def label_places(gallery: Gallery, names: Iterable[str]) -> dict[str, int]:
    """Places of a gallery's labels, those it has had before among them.

    New ones are noted beside the gallery (of one on an object store, in the user's cache). Where
    nothing can be written they are given by name alone, every time alike for the same labels.

    Args:
        gallery: whose labels they are.
        names: its labels.

    Returns:
        Label to place, 0 to PLACES - 1; labels beyond that have none.
    """
    path = files.folder(gallery.uri, gallery.state[0]) / _FILE
    kept = _kept(path)
    found = given_places(names, kept)
    if found != kept:
        try:
            local.make_folder(path.parent)
            local.write_whole(path, json.dumps(found, ensure_ascii=False, indent=0).encode())
        except OSError as error:
            log.info("colours of new labels are not kept: %s", error)
    return found


def given_places(names: Iterable[str], kept: Mapping[str, int] | None = None) -> dict[str, int]:
    """Places of labels, given those that some have already.

    Each of the FIRST places is taken once before any look comes a second time.
    """
    names, kept = set(names), kept or {}
    found = dict(kept)
    if len(names | found.keys()) > PLACES:  # labels that are gone make room
        found = {name: place for name, place in kept.items() if name in names}
    taken = set(found.values())
    for name in sorted(names - found.keys()):
        wish = int.from_bytes(hashlib.sha256(name.casefold().encode()).digest()[:4], "big")
        for at in range(PLACES):
            place = at // FIRST * FIRST + (wish + at) % FIRST
            if place not in taken:
                found[name] = place
                taken.add(place)
                break
    return found


def _kept(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_bytes())
        places = {str(name): int(place) for name, place in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return {name: place for name, place in places.items() if 0 <= place < PLACES}
