"""Hits of a search in words for people and for JSON: what found each, and its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from store import Hit, WordHit


def is_word_hit(hit: Hit) -> TypeGuard[WordHit]:
    """Whether words of reports played a part in finding a hit."""
    return hasattr(hit, "words_rank")


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``11th``."""
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{last or 'th'}"


def found_by(hit: WordHit, beside: str) -> str:
    """What found a hit: ``words 2nd, picture 7th``.

    Args:
        hit: of a search in words.
        beside: what was asked beside the words: ``picture``, ``text`` or ``films``.
    """
    ranks = {"words": hit.words_rank, beside: hit.vector_rank}
    return ", ".join(f"{name} {ordinal(rank)}" for name, rank in ranks.items() if rank is not None)


def cosine_of(hit: Hit) -> float | None:
    """The cosine of a hit; None where words alone were asked."""
    return hit.cosine if is_word_hit(hit) else hit.score


def score_text(hit: Hit) -> str:
    """The score of a hit with its name: ``cos 0.913``; of words alone ``BM25 4.20``."""
    cosine = cosine_of(hit)
    return f"BM25 {hit.score:.2f}" if cosine is None else f"cos {cosine:z.3f}"


def as_dict(hit: WordHit, beside: str | None, with_reports: bool) -> dict[str, Any]:
    """The further keys of a hit in JSON.

    Args:
        hit: of a search in words.
        beside: what was asked beside the words; None for words alone.
        with_reports: whether text of its report is part of it.
    """
    found: dict[str, Any] = {
        "bm25": hit.bm25,
        "cosine": hit.cosine,
        "found_by": {"words": hit.words_rank, **({beside: hit.vector_rank} if beside else {})},
    }
    if with_reports:
        shown = hit.passage
        found["sentence"] = None if shown is None else shown.text
        found["marks"] = [] if shown is None else [[m.start, m.end, m.state] for m in shown.marks]
        found["report"] = hit.row.report
    return found
