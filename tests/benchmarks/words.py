"""Words in reports: the index beside LanceDB's own call, words with vectors beside their halves."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import Any

import numpy as np

from store import EncoderStamp, Gallery, Where
from store.words import index
from store.words.terms import searched
from tests.benchmarks.timing import heading, in_turns, judge, line, low_rank, rows_of, seconds
from tests.store.rows import table_of

_WORDS, _AT_ONCE = 60, 25_000
#: Asked in turns: a common finding, two words, a phrase, a negation, a rare word.
_QUERIES = (
    "effusion",
    "pleural effusion",
    '"pleural effusion" left',
    "no pneumothorax",
    "w2000 opacity",
)
_FINDINGS = (
    *("effusion", "pneumothorax", "consolidation", "opacity", "atelectasis", "cardiomegaly"),
    *("nodule", "edema", "fracture", "pneumonia", "scarring", "granuloma"),
)
_OPENINGS = ("There is", "No", "Small", "No evidence of", "Stable", "Possible", "Left basal", "")
_ENDS = ("is seen in the right lower lobe", "has resolved", "at the left base", "again", "noted")


def reports(count: int, seed: int = 0) -> list[str]:
    """Reports of 60 words: findings with and without negation, and words of falling frequency."""
    random = np.random.default_rng(seed)
    shares = 1 / np.arange(1, 3001)
    others = random.choice(3000, (count, _WORDS), p=shares / shares.sum())
    found = []
    for row in others.tolist():
        words: list[str] = []
        while len(words) < _WORDS:
            opening, kind, finding, end = random.integers(0, 1 << 30, 4).tolist()
            words += _OPENINGS[opening % 8].split()
            words += ["pleural"] * (kind % 3 == 0)
            words.append(_FINDINGS[min(finding % 12, finding % 7)])
            words += _ENDS[end % 5].split()
            words += [f"w{one}" for one in row[len(words) : len(words) + 3]]
            words[-1] += "."
        found.append(" ".join(words[:_WORDS]))
    return found


def filled_with_reports(folder: str, rows: int, dimension: int) -> Gallery:
    gallery = Gallery.create(folder, EncoderStamp("bench", "0" * 64, dimension))
    for start in range(0, rows, _AT_ONCE):
        size = min(_AT_ONCE, rows - start)
        texts = reports(size, start)
        made = rows_of(size, dimension, start, make=low_rank)
        gallery.upsert([replace(one, report=text) for one, text in zip(made, texts, strict=True)])
    gallery.optimize()
    gallery.refresh()
    return gallery


def run(rows: int, dimension: int = 128) -> None:
    heading(f"Words: {rows:,} reports of {_WORDS} words, and {dimension}-d vectors")
    some = reports(2000, 1)
    line(
        "terms of a report, once at its ingestion",
        seconds(lambda: list(map(searched, some))) / 2000,
    )
    with tempfile.TemporaryDirectory() as folder:
        gallery = filled_with_reports(folder, rows, dimension)
        building(table_of(gallery))
        gallery.refresh()
        searching(gallery, dimension)


def building(table: Any) -> None:
    """The index over terms, beside LanceDB's own call for the same reports, in turns."""
    from lancedb.index import FTS

    def ours() -> None:
        table.drop_index("report_words_idx")
        index.build(table)

    def theirs() -> None:
        own = FTS(with_position=True, remove_stop_words=False)
        table.create_index("report", config=own, name="own", replace=True)

    took = in_turns({"ours": ours, "LanceDB": theirs}, 3)
    table.drop_index("own")
    judge("index of all reports", took["ours"] / took["LanceDB"], 1.5, "x LanceDB's own call",
          took["ours"])  # fmt: skip


def searching(gallery: Gallery, dimension: int) -> None:
    """Words and vectors together, beside the dearer of both halves, in turns."""
    vectors = low_rank(len(_QUERIES), 7, dimension)
    asked = list(zip(_QUERIES, vectors, strict=True))
    for where in (None, Where(label=("rare",))):
        said = "words and vectors" + (", one film in ten passes a filter" if where else "")
        took = in_turns(
            {
                "words": lambda w=where: [gallery.search_words(q, 10, w) for q, _ in asked],
                "vectors": lambda w=where: [gallery.search(v, 10, w) for _, v in asked],
                "rrf": lambda w=where: [
                    gallery.search_words(q, 10, w, vectors=v) for q, v in asked
                ],
                "0.7": lambda w=where: [
                    gallery.search_words(q, 10, w, vectors=v, fusion=0.7) for q, v in asked
                ],
            },
            25,
        )
        each = {name: one / len(asked) for name, one in took.items()}
        line("words alone", each["words"])
        line("vectors alone", each["vectors"])
        half = max(each["words"], each["vectors"])
        judge(said, each["rrf"] / half, 2, "x the dearer half", each["rrf"])
        line(f"{said}, weighted", each["0.7"], "the dearer half", half)
    waiting = 5000
    made = rows_of(waiting, dimension, 99, "new/", make=low_rank)
    texts = reports(waiting, 99)
    before = in_turns({"it": lambda: gallery.search_words("effusion", 10)}, 10)["it"]
    new = [replace(one, report=text) for one, text in zip(made, texts, strict=True)]
    gallery.upsert(new)
    gallery.refresh()
    after = in_turns({"it": lambda: gallery.search_words("effusion", 10)}, 10)["it"]
    line(f"words while {waiting:,} reports wait for the index", after, "none waiting", before)
    line("the refresh of the index", seconds(gallery.settle))
