"""Card of an encoder: its licence, what it learnt from, and whether it saw given films.

From the registry for published encoders, else from what lies beside the weights: the front matter
of a model card (``README.md``) and the note that ``cxr train`` writes. What neither says is
unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ingest.encoders import baselines
from ingest.encoders.encoder import Encoder
from ingest.encoders.locate import bundled_names, seen_in_training
from ingest.encoders.registry import KNOWN

#: Whether an encoder was trained on a film.
Seen = Literal["yes", "no", "unknown"]

_FILE = "README.md"
#: No model card is larger, in bytes.
_LARGEST = 1 << 20
#: Licences as their authors write them, by the hub's names.
_LICENCES = {"mit": "MIT", "apache-2.0": "Apache 2.0", "cc-by-4.0": "CC BY 4.0"}
#: Data sets whose films are those of another one: MedMNIST v2 (Yang et al., Scientific Data 2023,
#: table 2), and the RSNA challenge's (Shih et al., Radiology: AI 2019).
_MADE_OF = {
    "chestmnist": "nih-chestxray14",
    "rsna-pneumonia": "nih-chestxray14",
    "pneumoniamnist": "kermany",
}


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of an encoder beside its identity; None is unknown.

    Attributes:
        licence: of its weights.
        data: what it learnt from, in words.
        trained_on: data sets it learnt from, each with the split, or None for all of it.
        complete: whether it learnt from nothing else.
    """

    licence: str | None = None
    data: str | None = None
    trained_on: frozenset[tuple[str, str | None]] = frozenset()
    complete: bool = False

    def saw(self, dataset: str | None, split: str | None) -> Seen:
        """Whether it learnt from films of a data set and split.

        ``unknown`` where its sources are not all known, and where a data set is made of the same
        films as one of them, but divided in another way.
        """
        if dataset is None:
            return "unknown"
        for name, part in self.trained_on:
            if name == dataset and part in (None, split):
                return "yes"
            if part is None and name == _MADE_OF.get(dataset):
                return "yes"
        kin = any(
            _origin(name) == _origin(dataset) and (name != dataset or split is None)
            for name, _ in self.trained_on
        )
        return "no" if self.complete and not kin else "unknown"


def _origin(dataset: str) -> str:
    return _MADE_OF.get(dataset, dataset)


def card_of(name: str, encoder: Encoder | None = None) -> Card:
    """The card of an encoder.

    Args:
        name: that of its stamp; enough for a published one.
        encoder: the same, where it is on this machine.
    """
    bare = _bare(name)
    if bare in KNOWN:
        known = KNOWN[bare]
        return Card(known.licence, known.data, frozenset(known.trained_on))
    if bare == baselines.NAME:
        return Card(None, "nothing: pixels as they are", complete=True)
    if encoder is None:
        return Card()
    if encoder.base is not None:
        return _of_adapted(encoder, encoder.base)
    told = _front_matter(encoder.folder)
    licence = _listed(told.get("license"))
    if licence == "other":
        licence = _listed(told.get("license_name"))
    splits = seen_in_training(encoder.folder)
    data = ", ".join(" ".join(split) for split in sorted(splits)) or _listed(told.get("datasets"))
    return Card(
        _LICENCES.get(licence.lower(), licence) or None,
        data or None,
        frozenset(splits),
        # cxr train begins from random weights, and its note names every split.
        bool(splits),
    )


def _of_adapted(encoder: Encoder, base: Encoder) -> Card:
    """The card of a map on another encoder: what both learnt from, under the base's licence."""
    below = card_of(base.name, base)
    splits = seen_in_training(encoder.folder)
    own = "a map that learnt from " + ", ".join(" ".join(split) for split in sorted(splits))
    data = f"{below.data}; {own}" if below.data else own
    return Card(below.licence, data, below.trained_on | splits, below.complete)


def is_at_hand(name: str) -> bool:
    """Whether an encoder of this name is on this machine, so that nothing is downloaded for it."""
    from huggingface_hub import try_to_load_from_cache

    from ingest.encoders.download import is_here

    name = _bare(name)
    if name in KNOWN:
        return is_here(KNOWN[name])
    if name in (*bundled_names(), baselines.NAME) or Path(name).expanduser().is_dir():
        return True
    return "/" in name and isinstance(try_to_load_from_cache(name, "config.json"), str)


def _bare(name: str) -> str:
    """A name without its precision."""
    return name.partition("@")[0]


def _front_matter(folder: Path) -> dict[str, Any]:
    """The front matter of a model card; empty where there is none, or it cannot be read."""
    from huggingface_hub.repocard import metadata_load

    place = folder / _FILE
    try:
        if place.stat().st_size > _LARGEST:
            return {}
        return metadata_load(place) or {}
    except Exception:  # YAML raises many kinds, none shared; a damaged card is no card
        return {}


def _listed(value: Any) -> str:
    """The text of a field, or its texts."""
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return ", ".join(name for name in names if isinstance(name, str))
