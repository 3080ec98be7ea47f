"""Texts longer than an encoder reads: what of a text is read, and a report sentence by sentence.

An encoder reads a text up to a number of tokens and cuts the rest off, as its library does. What
was read is told here in whole words, for any tokenizer, by counting tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from store import UsageError, Vectors

#: Ways to search a text that is longer than the encoder reads.
LongText = Literal["cut", "mean", "best"]
LONG_TEXT: tuple[str, ...] = get_args(LongText)

#: Ends of sentences: a full stop, question or exclamation mark with white space behind it, one of
#: Chinese and Japanese without, a blank line, and a line that begins with a bullet or a number.
_END = re.compile(r"(?<=[.!?؟।])[\"')\]]*\s+|(?<=[。！？])\s*|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)")
#: What ends in a full stop and ends no sentence: abbreviations, initials, numbers of a list.
_GOES_ON = re.compile(
    r"(?:^|[\s(])(?:dr|mr|mrs|ms|prof|st|vs|approx|ca|cf|e\.g|i\.e|etc|fig|no|nos|resp|incl|max|min|"
    r"[A-Za-z]|\d{1,2})\.$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The part of a text that an encoder reads.

    Attributes:
        text: the words that were read whole.
        cut: the rest, from the first word that was not; empty where all was read.
        tokens: of the whole text, those that mark its begin and end included.
        longest: tokens that the encoder reads at most.
    """

    text: str
    cut: str
    tokens: int
    longest: int


@dataclass(frozen=True, slots=True, eq=False)
class TextQuery:
    """A text as a query.

    Attributes:
        vectors: float32 (n, d), unit rows: one, or with ``best`` one a sentence.
        how: ``whole`` where all was read at once, else ``cut``, ``mean`` or ``best``.
        read: what was read, of all sentences.
        cut: what was not; empty where all was read.
        sentences: what was encoded one by one; empty where the text was encoded as one.
        tokens: of the whole text.
        longest: tokens that the encoder reads at most.
    """

    vectors: Vectors
    how: str
    read: str
    cut: str
    sentences: tuple[str, ...]
    tokens: int
    longest: int


class TextEncoder(Protocol):
    """Encoder of texts; ``ingest.encoders.Encoder`` is one."""

    def check_texts(self, texts: Sequence[str]) -> None:
        """Refuse texts that cannot be encoded."""

    def read(self, text: str) -> Reading:
        """What of a text is read."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts, float32 (n, d), unit rows."""


def read(text: str, count: Callable[[str], int], longest: int) -> Reading:
    """What of a text is read, in whole words; of a first word that is too long, its characters.

    Args:
        text: any.
        count: tokens of a text, those that mark begin and end included.
        longest: tokens that are read.
    """
    tokens = count(text)
    if tokens <= longest:
        return Reading(text, "", tokens, longest)
    words = [found.end() for found in re.finditer(r"\S+", text)]
    # Chinese and Japanese have no spaces: where not one word fits, its beginning is read.
    end = _farthest(text, words, count, longest) or _farthest(
        text, range(1, words[0] + 1), count, longest
    )
    return Reading(text[:end], text[end:].strip(), tokens, longest)


def _farthest(text: str, ends: Sequence[int], count: Callable[[str], int], longest: int) -> int:
    """The last of some places in a text up to which it fits; 0 where none does."""
    low, high = 0, len(ends) + 1  # so many surely fit, so many surely do not
    while high - low > 1:
        middle = (low + high) // 2
        if count(text[: ends[middle - 1]]) <= longest:
            low = middle
        else:
            high = middle
    return ends[low - 1] if low else 0


def sentences(text: str) -> list[str]:
    """The sentences of a report, without white space around and inside them, in their order.

    A sentence ends with ``.``, ``!`` or ``?`` before white space, with ``。``, with a blank line,
    or where a line begins with a bullet or a number. ``Dr.``, ``e.g.``, initials and numbers of
    lists go on.
    Pieces without a letter are left out.
    """
    found: list[str] = []
    begin = 0
    for end in _END.finditer(text):
        piece = text[begin : end.start()]
        if "\n" not in end[0] and _GOES_ON.search(piece):
            continue
        found.append(piece)
        begin = end.end()
    found.append(text[begin:])
    plain = (" ".join(piece.split()) for piece in found)
    return [piece for piece in plain if any(letter.isalpha() for letter in piece)]


def text_vectors(encoder: TextEncoder, texts: Sequence[str], how: str = "mean") -> Vectors:
    """Vectors of many texts, float32 (n, d), unit rows: each as text_query has it, in one go.

    Args:
        encoder: with a text tower.
        texts: reports, or sentences.
        how: of those that are longer than the encoder reads: ``cut``, or the ``mean`` of their
            sentences.

    Raises:
        UsageError: another ``how``.
        BadQuery, TextUnsupported, EncoderUnavailable: see Encoder.encode_texts.
    """
    if how not in ("cut", "mean"):
        raise UsageError(f"long text {how!r}: expected cut or mean")
    encoder.check_texts(texts)
    parts = [_parts(encoder.read(text), text, how) or [text] for text in texts]
    vectors = encoder.encode_texts([part for some in parts for part in some])
    ends = np.cumsum([len(some) for some in parts])
    return np.stack([_mean(some) for some in np.split(vectors, ends[:-1])])


def _parts(whole: Reading, text: str, how: str) -> list[str]:
    """The sentences of a text that is searched by them; none where it is searched as one."""
    return sentences(text) if whole.cut and how != "cut" else []


def _mean(vectors: Vectors) -> Vectors:
    """The mean of unit rows, float32 (d,), at unit length."""
    if len(vectors) == 1:
        found: Vectors = vectors[0]
        return found
    mean = vectors.astype(np.float64).mean(axis=0)
    scaled: Vectors = (mean / np.linalg.norm(mean)).astype(np.float32)
    return scaled


def text_query(encoder: TextEncoder, text: str, how: str = "cut") -> TextQuery:
    """Encode a text to search with; one that is longer than the encoder reads in a chosen way.

    Args:
        encoder: with a text tower.
        text: a sentence, or a report.
        how: ``cut``: its beginning, as far as it is read; ``mean``: the mean of its sentences'
            vectors, at unit length; ``best``: every sentence, and each film counts by the one that
            is nearest to it. A text that is read whole is encoded whole.

    Raises:
        UsageError: another ``how``.
        BadQuery, TextUnsupported, EncoderUnavailable: see Encoder.encode_texts.
    """
    if how not in LONG_TEXT:
        raise UsageError(f"long text {how!r}: expected one of {', '.join(LONG_TEXT)}")
    encoder.check_texts([text])
    whole = encoder.read(text)
    parts = _parts(whole, text, how)
    if not parts:
        vectors = encoder.encode_texts([text])
        way = "cut" if whole.cut else "whole"
        return TextQuery(vectors, way, whole.text, whole.cut, (), whole.tokens, whole.longest)
    readings = [encoder.read(part) for part in parts]
    vectors = encoder.encode_texts(parts)
    if how == "mean":
        vectors = _mean(vectors)[None]
    return TextQuery(
        vectors,
        how,
        " ".join(reading.text for reading in readings if reading.text),
        " ".join(reading.cut for reading in readings if reading.cut),
        tuple(parts),
        whole.tokens,
        whole.longest,
    )
