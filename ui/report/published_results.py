"""Published results on PneumoniaMNIST, with their sources.

Official test set: 624 films, 28 x 28 pixels. Leave-one-out: each test film asks the others. Split:
test films ask the 4,708 training films.
"""

from __future__ import annotations

from dataclasses import dataclass

from store import LEAVE_ONE_OUT, SPLIT

DATASET = "pneumoniamnist"
#: Test films of the official set: elsewhere the peers' figures say nothing.
QUERIES = 624


@dataclass(frozen=True, slots=True)
class Peer:
    """One published result.

    Attributes:
        name: of the system.
        protocol: by which it was measured.
        precision: k to Precision@k, where it is published.
        source: the publication.
        url: its address; empty where there is none.
    """

    name: str
    protocol: str
    precision: dict[int, float]
    source: str
    url: str = ""


_MAHBOD = ("Mahbod et al. 2024, arXiv:2409.09430", "https://arxiv.org/abs/2409.09430")
_DOERRICH = ("Doerrich et al. 2025, arXiv:2404.15786", "https://arxiv.org/abs/2404.15786")


def _four(*values: float) -> dict[int, float]:
    return dict(zip((1, 3, 5, 10), values, strict=True))


PEERS = (
    Peer(
        "ResNet-18 trained on the training labels, 224 px",
        LEAVE_ONE_OUT,
        _four(0.9583, 0.9503, 0.9474, 0.9462),
        "one public repository",
    ),
    Peer(
        "BiomedCLIP, zero-shot",
        LEAVE_ONE_OUT,
        _four(0.8686, 0.8590, 0.8529, 0.8391),
        "three public repositories that agree to four digits",
    ),
    Peer(
        "ResNet-18 of ImageNet",
        LEAVE_ONE_OUT,
        _four(0.8702, 0.8552, 0.8506, 0.8353),
        "one public repository",
    ),
    Peer(
        "CLIP ViT-B/32",
        LEAVE_ONE_OUT,
        _four(0.8029, 0.7965, 0.7833, 0.7761),
        "two public repositories that agree to four digits",
    ),
    Peer("MedCLIP, 224 px", SPLIT, {1: 0.9359}, *_MAHBOD),
    Peer("BiomedCLIP, 28 px", SPLIT, {1: 0.8574}, *_MAHBOD),
    Peer(
        "DINO ViT-B/16: the vote of 11 is right in .857 at 28 px, .905 at 128 px",
        SPLIT,
        {},
        *_DOERRICH,
    ),
    Peer(
        "best of the public repositories that report it",
        SPLIT,
        _four(0.8349, 0.8259, 0.8160, 0.8045),
        "one public repository",
    ),
)


def beside(protocol: str, datasets: set[str], split: str | None, queries: int) -> list[Peer]:
    """Peers to show beside a result: none unless it is on the same films by the same protocol."""
    same = datasets == {DATASET} and split == "test" and queries == QUERIES
    return [peer for peer in PEERS if same and peer.protocol == protocol]
