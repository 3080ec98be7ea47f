"""Warnings and notes beside results: queries out of range, results partial or approximate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from store import counted

if TYPE_CHECKING:
    from ingest import Understanding
    from ingest.encoders import TextQuery
    from store import Gallery, Nearness, OwnFilms, Vectors


def nearness_of(gallery: Gallery, vectors: Vectors, thumbnail: bytes) -> Nearness:
    """Nearness of one image to a gallery, by its vector and as a picture."""
    from ingest import pixel_vectors

    return gallery.nearness(vectors, [thumbnail], pixel_vectors)[0]


def labels_meant(text: str, labels: Iterable[str]) -> list[str]:
    """Labels of a gallery that a sentence names, whatever their case and signs between words.

    Of labels that lie within each other the longer one, in the order of the sentence.
    """
    said = f" {_words(text)} "
    found: list[tuple[int, str]] = []
    taken = [False] * len(said)
    for label in sorted(labels, key=lambda one: (-len(one), one)):
        word = _words(label)
        at = said.find(f" {word} ") if word else -1
        if at >= 0 and not any(taken[at + 1 : at + 1 + len(word)]):
            taken[at + 1 : at + 1 + len(word)] = [True] * len(word)
            found.append((at, label))
    return [label for _, label in sorted(found)]


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def of_text(found: Understanding) -> str | None:
    """Warning about a sentence that the encoder does not understand."""
    if found.understood is not False:
        return None
    return f"not understood: {found.reason}. The hits are no answer to it"


def of_reading(asked: TextQuery, choice: str) -> str | None:
    """Note on a text that is longer than the encoder reads: what was searched, and what was cut.

    Args:
        asked: the text as it was searched.
        choice: where a person chooses how to search it.
    """
    if asked.how == "whole":
        return None
    much = f"the text has {counted(asked.tokens, 'token')}, this encoder reads {asked.longest}"
    if not asked.sentences:
        return (
            f"{much}: searched was the beginning, up to “{_end(asked.read)}”, and nothing of "
            f"“{_begin(asked.cut)}”; {choice} mean or best searches sentence by sentence"
        )
    each = "the mean of their vectors" if asked.how == "mean" else "each film by its nearest one"
    rest = f"; of sentences too long by themselves, cut was “{_begin(asked.cut)}”"
    return (
        f"{much}: searched sentence by sentence, {len(asked.sentences)} of them, {each}"
        f"{rest if asked.cut else ''}"
    )


def _end(text: str, most: int = 40) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"… {words[-most:].partition(' ')[2] or words[-most:]}"


def _begin(text: str, most: int = 60) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[:most].rpartition(' ')[0] or words[:most]} …"


def of_image(found: Nearness) -> str | None:
    """Warning about an image that is unlike the gallery."""
    if not found.unlike:
        return None
    kind = "by its vector" if found.picture_percentile is None else "as a picture"
    return (
        f"no good match: {kind} this image is less like any film here than 99 of 100 films are "
        "like their nearest; it may not be a chest film"
    )


def match(found: Nearness) -> str:
    """How good a match the nearest film is, in words: beside what is usual in the gallery."""
    if found.not_judged is not None:
        return f"whether any film here is a good match is not judged: {found.not_judged}"
    share = found.percentile
    kind = "a close match" if share >= 50 else "a usual match" if share >= 10 else "a far match"
    return f"{kind}: {share:.0f} of 100 films here are less like the film nearest to them"


def how_near(found: Nearness) -> str:
    """Figures of the nearness of any query image, with its percentiles."""
    parts = [f"nearest cosine {found.cosine:.4f} (percentile {found.percentile:.0f})"]
    if found.picture_cosine is not None and found.picture_percentile is not None:
        parts.append(
            f"nearest picture {found.picture_cosine:.3f} (percentile "
            f"{found.picture_percentile:.0f})"
        )
    return (
        f"{'; '.join(parts)}; percentiles are among the nearest of the gallery's own "
        f"{counted(found.rows, 'film')}, each without itself"
    )


def of_results(store: Mapping[str, Any]) -> str | None:
    """Note on results that are partial or approximate; None where they are exact.

    Args:
        store: from Gallery.describe.
    """
    if "partial" in store:
        lost = store["partial"]
        return (
            f"partial: {len(lost['missing'])} of {counted(lost['shards'], 'shard')} lost and "
            "being rebuilt; "
            f"{lost['searched']:,} of {counted(lost['rows'], 'row')} searched"
        )
    return of_index(store["approximate"]) if "approximate" in store else None


def of_patients(found: Mapping[str, Any]) -> str | None:
    """Warning about an evaluation in which films of one patient find each other, or few are asked.

    Args:
        found: an evaluation as plain JSON types.
    """
    from store import FEW

    said = []
    patients, over = found.get("patients") or {}, found.get("interval") or {}
    pairs = over.get("units", 0) < found["queries"] or patients.get("in_both_sides")
    if found["excluded"] == "film" and patients.get("known") and pairs:
        said.append(
            "films of the query's own patient count as any other "
            f"({counted(patients['known'], 'film names', 'films name')} theirs): such figures say "
            "how well people are "
            "recognised; leave out --same-patient count for those of findings"
        )
    if over.get("rough"):
        said.append(
            f"95 % intervals over {over['units']} {over['over']} are rough: it takes {FEW} or more"
        )
    return "; ".join(said) or None


def how_few(found: int, asked: int | None, thing: str) -> str:
    """How many were found, where there are no more: ``2 of the 5 asked for``, ``2 hits``.

    Args:
        found: how many.
        asked: how many a person asked for; None where nobody said.
        thing: what was found, one of it.
    """
    return counted(found, thing) if asked is None else f"{found:,} of the {asked:,} asked for"


def of_own_films(found: OwnFilms) -> str:
    """Note on the films that a search for other patients left out."""
    if found.kind is None:
        return "the query's patient is not known here: no film was left out"
    films = counted(len(found.ids), "film")
    return f"other patients: {films} of the query's own {found.kind} not searched"


def of_index(found: Mapping[str, Any]) -> str:
    """Note on an approximate index, from the measurements at its building."""
    later = found["rows_not_indexed"]
    newer = (
        f"; rows that came or were corrected since are not in it and are compared one by one, "
        f"{later:,} of them: cxr optimize puts them there"
        if later
        else ""
    )
    return (
        f"approximate: {found['kind']} index, recall@10 {found['recall_at_10']:.3f} against exact "
        f"search on {found['sample']} stored films, measured {found['built_at'][:10]} over "
        f"{counted(found['rows'], 'row')}; the scores shown are exact{newer}"
    )


def of_raw_pixels(found: Mapping[str, Any]) -> str | None:
    """Warning about an encoder whose Precision@k is no better than that of raw pixels.

    Args:
        found: an evaluation as plain JSON types.
    """
    pixels = found["baselines"].get("raw_pixels", {}).get("precision", {})
    lost = [
        f"@{k} {value:.3f} against {pixels[k]:.3f}"
        for k, value in found["precision"].items()
        if pixels.get(k) is not None and value < pixels[k]
    ]
    if not lost:
        return None
    return (
        f"on these labels the encoder is below raw pixels (precision {', '.join(lost)}): it adds "
        "nothing to comparing the pictures; try another, see cxr encoders"
    )
