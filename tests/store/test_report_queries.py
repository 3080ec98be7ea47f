"""Evaluation with reports as queries: a plain computation beside it, and reports of the grammar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.encoders import load_encoder, text_vectors
from store import BadQuery, Gallery, ReportEvaluation, Vectors, evaluate_reports
from tests.benchmarks.report_queries import filled
from tests.store.rows import STAMP, make_rows, random_vectors

WORDS = ("edema", "mass", "nodule", "fracture", "effusion", "fibrosis")
COUNT = 48
DEPTHS = [1, 3, 5]


def text_of(at: int) -> str:
    """Two words: one that a third of the films have, one that a sixth have; another for each."""
    return f"{WORDS[at % 3]} {WORDS[3 + at % 2]} film{at}"


def encode(texts: list[str]) -> Vectors:
    """Vectors near that of the film whose number the text ends in."""
    films = random_vectors(COUNT)
    at = [int(text.rpartition("film")[2]) for text in texts]
    near = films[at] + 0.8 * random_vectors(COUNT, 1)[at]
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    labels = [((WORDS[at % 3],) if at % 8 else ()) for at in range(COUNT)]
    rows = [
        replace(
            row,
            report=None if at % 12 == 5 else text_of(at),
            patient=f"p{at // 2}",
            labelled=at % 16 != 0,
        )
        for at, row in enumerate(make_rows(random_vectors(COUNT), labels))
    ]
    gallery = Gallery.create(tmp_path_factory.mktemp("reports") / "g", STAMP)
    gallery.upsert(rows)
    gallery.refresh()
    return gallery


@pytest.fixture(scope="module")
def measured(gallery: Gallery) -> ReportEvaluation:
    """What is measured of that gallery, which takes a search by words for every film."""
    return evaluate_reports(gallery, encode, DEPTHS, resamples=200)


def plainly(gallery: Gallery, vectors: Vectors | None) -> dict[int, float]:
    """P@k of each query by its words or a vector, film by film."""
    rows = dict(sorted(gallery.rows(gallery.ids()).items()))
    films = [row for row in rows.values() if row.report and row.outcome != "not labelled"]
    found = {depth: [] for depth in DEPTHS}
    stored = gallery.vectors([row.id for row in films])
    for query in films:
        if vectors is None:
            hits = gallery.search_words(query.report or "", len(rows))
            ranked = [hit.row.id for hit in hits]
        else:
            number = int(query.id.rpartition("/")[2])
            scores = stored @ vectors[number]
            order = sorted(range(len(films)), key=lambda i: (-scores[i], films[i].id))
            ranked = [films[i].id for i in order]
        others = {row.id: row for row in films if row.patient != query.patient}
        ranked = [id_ for id_ in ranked if id_ in others]
        shares = [
            bool(set(others[id_].labels) & set(query.labels))
            or not (others[id_].labels or query.labels)
            for id_ in ranked
        ]
        for depth in DEPTHS:
            found[depth].append(sum(shares[:depth]) / depth)
    return {depth: float(np.mean(values)) for depth, values in found.items()}


def test_it_is_what_a_plain_computation_gives(gallery: Gallery, measured: ReportEvaluation) -> None:
    found = measured
    assert found.ways["words"].precision == pytest.approx(plainly(gallery, None))
    texts = encode([f"film{at}" for at in range(COUNT)])
    assert found.ways["text"].precision == pytest.approx(plainly(gallery, texts))
    pictures = random_vectors(COUNT)
    assert found.ways["picture"].precision == pytest.approx(plainly(gallery, pictures))
    assert (found.queries, found.gallery, found.sampled) == (41, 41, None)
    assert found.left_out == {"not labelled": 3, "no report": 4}
    assert (found.excluded, found.interval["over"]) == ("patient", "patients")


def test_differences_are_those_of_the_means_and_paired(measured: ReportEvaluation) -> None:
    found = measured
    assert [(gap.hybrid, gap.half) for gap in found.gaps] == [
        ("words+text", "words"),
        ("words+text", "text"),
        ("words+picture", "words"),
        ("words+picture", "picture"),
    ]
    for gap in found.gaps:
        one, other = found.ways[gap.hybrid], found.ways[gap.half]
        for depth in DEPTHS:
            assert gap.precision[depth] == pytest.approx(
                one.precision[depth] - other.precision[depth]
            )
            low, high = gap.ci95[depth]
            assert low <= gap.precision[depth] <= high
            assert (depth in gap.worse()) == (high < 0)
            assert gap.ndcg[depth] == pytest.approx(one.ndcg[depth] - other.ndcg[depth])
    halves = [found.ways[gap.half].precision[5] for gap in found.gaps[:2]]
    assert [gap.better for gap in found.gaps[:2]] == [
        halves[0] >= halves[1],
        halves[1] > halves[0],
    ]
    document = found.as_dict()
    assert document["query_kind"] == "reports" and document["store"]["rows"] == COUNT
    assert [*document["ways"]["words"]["precision"]] == ["1", "3", "5"]
    assert document["gaps"][0]["hybrid"] == "words+text"


def test_films_look_for_their_own_report(gallery: Gallery, measured: ReportEvaluation) -> None:
    found = measured.own_report
    assert found is not None and (found.films, found.reports) == (41, 41)
    films = [
        int(id_.rpartition("/")[2])
        for id_, row in sorted(gallery.rows(gallery.ids()).items())
        if row.report and row.outcome != "not labelled"
    ]
    reports = encode([text_of(at) for at in films])
    cosines = random_vectors(COUNT)[films] @ reports.T
    ranks = (cosines > np.diag(cosines)[:, None]).sum(axis=1)
    assert found.recall == pytest.approx({k: float((ranks < k).mean()) for k in (1, 5, 10)})
    assert found.recall[1] > 5 * found.chance[1]
    assert all(low <= found.recall[k] <= high for k, (low, high) in found.ci95.items())


def test_without_a_text_encoder_words_and_pictures_are_measured(gallery: Gallery) -> None:
    found = evaluate_reports(gallery, None, DEPTHS, resamples=50)
    assert [*found.ways] == ["words", "picture", "words+picture"]
    assert found.own_report is None and found.as_dict()["own_report"] is None


def test_queries_are_drawn_the_same_way_each_time(gallery: Gallery) -> None:
    some, again = (evaluate_reports(gallery, None, [1], most=10, resamples=20) for _ in range(2))
    assert (some.queries, some.gallery, some.sampled) == (10, 41, 41)
    assert some.ways["words"] == again.ways["words"]
    counted = evaluate_reports(gallery, None, [1], most=2, same_patient="count", resamples=20)
    assert counted.excluded == "film"


def test_what_cannot_be_measured(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(BadQuery, match="2 queries or more"):
        evaluate_reports(gallery, most=1)
    with pytest.raises(BadQuery, match="expected depths from 1"):
        evaluate_reports(gallery, None, [1000])
    none = Gallery.create(tmp_path / "none", STAMP)
    none.upsert(make_rows(random_vectors(4)))
    none.refresh()
    with pytest.raises(BadQuery, match=r"0 labelled films .*--report-column"):
        evaluate_reports(none)


def test_both_are_not_worse_than_the_better_half_on_reports_of_the_grammar(
    tmp_path: Path,
) -> None:
    encoder = load_encoder()
    gallery = filled(tmp_path / "g", encoder, "synthetic", "test")
    found = evaluate_reports(
        gallery, lambda texts: text_vectors(encoder, texts), (1, 3, 10), most=40, resamples=500
    )
    for gap in found.gaps:
        assert gap.hybrid == "words+text" or (not gap.worse() and not gap.worse("ndcg"))
        half = found.ways[gap.half]
        for depth in (1, 3, 10):
            # The vector of such a text finds all films of its label: an interval without width.
            room = max(half.precision[depth] - half.ci95[depth][0], 0.02)
            assert gap.precision[depth] >= -room, (gap.hybrid, gap.half, depth)
