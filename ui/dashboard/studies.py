"""Evaluations and comparisons of galleries, worked out once per table version."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ingest import BASELINES, is_at_hand
from ingest.encoders import Encoder, load_encoder
from store import ByQuery, Comparison, EncoderUnavailable, Gallery, Progress, compare
from ui.dashboard import background, shared
from ui.encoder_facts import Facts, facts_of, found_encoder
from ui.report.published_results import Peer

#: Most pairs of query and film for mAP and the raw-pixel floor.
WHOLE = 200_000_000
#: Most pairs for an evaluation that nobody has asked for.
AT_ONCE = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """Parameters of one evaluation.

    Attributes:
        protocol: ``leave-one-out`` or ``split``.
        depths: the k of Precision@k.
        split: of the queries; None is every film.
        other: split that is searched; "" in leave-one-out.
        pairs: queries times films searched.
        relevance: rule by which films are relevant to a query, as ``--relevance`` takes it.
    """

    protocol: str
    depths: tuple[int, ...]
    split: str | None
    other: str
    pairs: int
    relevance: str = "any"

    @property
    def whole(self) -> bool:
        """Whether everything is worked out, mAP and the raw-pixel floor too."""
        return self.pairs <= WHOLE

    @property
    def quick(self) -> bool:
        """Whether it may be worked out unasked."""
        return self.pairs <= AT_ONCE

    @property
    def sides(self) -> dict[str, Any]:
        """Splits of the queries and of the films searched, as arguments."""
        return {"split": self.split, "gallery_split": self.other}


def by_search(of: Gallery) -> bool:
    """Whether queries are searched one by one: no mAP, no raw-pixel floor, nothing by query."""
    return not of.in_memory


def known(of: Gallery, asked: Question) -> bool:
    """Whether the answer is there already."""
    return background.known(_key(of, asked))


def _key(of: Gallery, asked: Question) -> tuple[Any, ...]:
    return "evaluation", shared.key(of), asked, asked.whole


def evaluation(of: Gallery, asked: Question) -> dict[str, Any]:
    """Precision@k and its company as the command line prints them.

    Raises:
        BadQuery: no labelled films there.
        NothingToMeasure: every film shares a label with every query.
    """
    floors = BASELINES if asked.whole else {}
    return background.result(
        _key(of, asked),
        "Every query asks the gallery",
        lambda progress: of.evaluate(
            asked.protocol,
            asked.depths,
            **asked.sides,
            baselines=floors,
            full_ranking=asked.whole,
            progress=progress,
            relevance=asked.relevance,
        ).as_dict(),
    )


def by_query(of: Gallery, asked: Question) -> ByQuery:
    """Votes and precision of each query."""
    return background.result(
        ("by query", shared.key(of), asked),
        "Query by query",
        lambda progress: of.by_query(
            asked.protocol,
            asked.depths,
            **asked.sides,
            progress=progress,
            relevance=asked.relevance,
        ),
    )


def rivals() -> list[str]:
    """Stores that ``cxr serve --compare`` named."""
    return [path for path in os.environ.get("CXR_COMPARE", "").splitlines() if path]


@st.cache_resource(max_entries=4, show_spinner="Opening the other gallery …")
def _open(uri: str) -> Gallery:
    return Gallery.open(uri)


def compared(of: Gallery, rivals: Sequence[str], asked: Question) -> tuple[Comparison, list[Facts]]:
    """This store against others, and facts about the encoder of each.

    Raises:
        CxrError: another one cannot be read, or they have no films in common.
    """
    others = [_open(rival) for rival in rivals]
    for other in others:
        other.refresh()

    def work(progress: Progress) -> tuple[Comparison, list[Facts]]:
        found = compare(
            of,
            others,
            asked.protocol,
            asked.depths,
            **asked.sides,
            progress=progress,
            relevance=asked.relevance,
        )
        return found, [
            facts_of(one, found.films, found_encoder(one, _named())) for one in (of, *others)
        ]

    versions = tuple((other.uri, other.table_version) for other in others)
    return background.result(
        ("compared", shared.key(of), versions, asked), "All stores are asked", work
    )


def _named() -> list[Encoder]:
    """The encoder that ``cxr serve --encoder`` named, where it is there."""
    name = os.environ.get("CXR_ENCODER", "").strip()
    try:
        return [load_encoder(name)] if name and is_at_hand(name) else []
    except EncoderUnavailable:
        return []  # the search page says so


def with_peers(
    found: Mapping[str, Any], rows: list[list[str]], peers: list[Peer]
) -> list[list[str]]:
    """Rows of a table of Precision@k, followed by those of published systems."""
    depths = [int(k) for k in found["precision"]]
    published = [
        [
            f"{peer.name}\n{peer.source}",
            *(f"{peer.precision[k]:.3f}" if k in peer.precision else "–" for k in depths),
            "–",
        ]
        for peer in peers
    ]
    return [*rows, *published]
