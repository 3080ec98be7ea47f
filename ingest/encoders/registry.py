"""Registry of published encoders by short names, each pinned to one commit of the hub.

Also which of them to use where another encoder sees too little of a film.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

#: The open_clip layout: configuration, weights, folder of the text tower's own files.
OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = "open_clip_model.safetensors"
TEXT_TOWER = "text"


@dataclass(frozen=True, slots=True)
class Known:
    """Published encoder: where it is, its size, its licence.

    Attributes:
        name: what ``--encoder`` takes.
        repo, revision: hub id, and the commit whose files are taken.
        dimension: length of its vectors.
        text: whether it has a text tower.
        bytes: size of its weights.
        licence: as its page states it.
        data: what it learnt from, in words, as its page or paper states it.
        trained_on: data sets among that, by the names that our sources give them, each with its
            split, or None for all of it. Not the whole of ``data``: what is not named here, it may
            have seen or not.
        gated: whether its terms must be accepted on its page first.
        weights: the file of weights, as published.
        sha256: of that file where it is a pickle. Only these very bytes are read, by torch's
            weights-only loader, once, and kept as safetensors.
        side: of the square that it sees of an image, in pixels.
        core_ms: milliseconds of one CPU core a film, an order of magnitude: float32 forward passes
            of its architecture with random weights, on a core of an AMD EPYC server, 2026-12.
        open_clip: whether it is built by open_clip, and where from: hub id and commit of the text
            tower's configuration and vocabulary.
    """

    name: str
    repo: str
    revision: str
    dimension: int
    text: bool
    bytes: int
    licence: str
    data: str
    trained_on: tuple[tuple[str, str | None], ...] = ()
    gated: bool = False
    weights: str = "model.safetensors"
    sha256: str | None = None
    open_clip: tuple[str, str] | None = None
    side: int = 224
    core_ms: int = 90

    @property
    def pickled(self) -> bool:
        """Whether the weights were published as a pickle."""
        return self.sha256 is not None


_ALL = (
    Known(
        name="pubmed-clip",
        repo="flaviagiammarino/pubmed-clip-vit-base-patch32",
        revision="26c0c67f6da303ad2a38909130bd35744ea93517",
        dimension=512,
        text=True,
        bytes=605_222_477,
        licence="MIT",
        # Its page, and Eslami et al., EACL Findings 2023: fine-tuned from OpenAI's CLIP.
        data="ROCO, radiology figures of PubMed Central; before that OpenAI's web pairs",
        weights="pytorch_model.bin",
        sha256="4daa7650d2b47e55c37b5ca7dcabe826fd82407c26028a574bcc422f35a94aa4",
    ),
    Known(
        name="clip",
        repo="openai/clip-vit-base-patch32",
        # The hub's own conversion of the main branch to safetensors.
        revision="c237dc49a33fc61debc9276459120b7eac67e7ef",
        dimension=512,
        text=True,
        bytes=605_157_884,
        licence="MIT",
        # Radford et al., ICML 2021, 2.2; never published.
        data="400 million images of the web with their texts",
    ),
    Known(
        name="medsiglip",
        repo="google/medsiglip-448",
        revision="9cea28a1a1195f665105faa6e8544c112fd960a4",
        dimension=1152,
        text=True,
        bytes=3_513_000_000,
        licence="Health AI Developer Foundations terms",
        # Its page at this commit ("Data citation") names MIMIC-CXR among public and licensed sets,
        # the only one of chest films, and no split: films of train at least. Its other radiographs
        # are of knees (Mendeley).
        data="medical images of many kinds with texts, MIMIC-CXR among them, and natural images",
        trained_on=(("mimic-cxr-jpg", "train"),),
        gated=True,
        side=448,
        core_ms=10_000,
    ),
    Known(
        name="biomedclip",
        repo="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        revision="9f341de24bfb00180f1b847274256e9b65a3a32e",
        dimension=512,
        text=True,
        bytes=783_705_670,
        licence="MIT",
        # Its page, and Zhang et al., NEJM AI 2025.
        data="PMC-15M, 15 million figures of PubMed Central with their captions",
        weights="open_clip_pytorch_model.bin",
        sha256="52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be",
        open_clip=(
            "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "d673b8835373c6fa116d6d8006b33d48734e305d",
        ),
        core_ms=370,
    ),
    Known(
        name="rad-dino",
        repo="microsoft/rad-dino",
        revision="110cbc18d5133582e320b43d53bf5c44e410c936",
        dimension=768,
        text=False,
        bytes=346_345_912,
        licence="MIT",
        # Its page, and Perez-Garcia et al., Nature Machine Intelligence 2025: 882,775 films.
        # MIMIC-CXR's 368,960 are its train split (validate and test were left out), CheXpert's
        # 223,648 are train and valid (test was published later), NIH's 112,120 all; of PadChest
        # 136,787 of 160,868. Fine-tuned from DINOv2, whose images of the web nobody can name.
        # Its licence was MSRLA before; at this commit it is MIT.
        data="MIMIC-CXR, CheXpert, NIH-CXR, PadChest and BRAX; before that images of the web",
        trained_on=(
            ("mimic-cxr-jpg", "train"),
            ("chexpert", "train"),
            ("chexpert", "val"),
            ("nih-chestxray14", None),
            ("padchest", None),
            ("brax", None),
        ),
        side=518,
        core_ms=3200,
    ),
)

#: Short name -> encoder.
KNOWN: Mapping[str, Known] = {known.name: known for known in _ALL}
#: Films whose shorter side has more pixels than this are large.
LARGE_FILM = 64


def is_coarse(side: int, width: int, height: int) -> bool:
    """Whether an encoder sees less of a film than a thumbnail shows.

    Args:
        side: of what the encoder sees, in pixels; 0 where that is not known.
        width: of the film.
        height: of the film.
    """
    return 0 < side < LARGE_FILM < min(width, height)


def coarse_note(name: str, side: int) -> str:
    """Sentence on a coarse encoder, with the encoders to use instead; nothing is switched.

    Args:
        name: of the encoder.
        side: of what it sees, in pixels.
    """
    cores = os.cpu_count() or 1
    others = "; ".join(f"--encoder {_described(one, cores)}" for one in finer(side))
    return (
        f"encoder {name} sees {side} x {side} pixels and these films have more than {LARGE_FILM} "
        f"x {LARGE_FILM}: fine findings are gone. Encoders that see more, each into a --store of "
        f"its own: {others} (milliseconds are an order of magnitude for {cores} CPU cores; "
        "measure them here: cxr encoders --try NAME)"
    )


def finer(side: int) -> list[Known]:
    """Published encoders that see more pixels, those made for medical images first."""
    found = [one for one in KNOWN.values() if one.side > side]
    return sorted(found, key=lambda one: (one.gated, one.name != "biomedclip", one.core_ms))


def _described(one: Known, cores: int) -> str:
    traits = [
        f"{one.side} x {one.side}",
        f"{one.bytes / 1e6:,.0f} MB to download",
        f"licence {one.licence}" + (", after its terms are accepted" if one.gated else ""),
        *([] if one.text else ["no sentences"]),
        f"about {one.core_ms / cores:,.0f} ms a film",
    ]
    return f"{one.name} ({', '.join(traits)})"
