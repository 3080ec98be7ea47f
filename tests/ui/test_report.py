from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from ingest.sources.synthetic import DATASET, SYNTHETIC_NOTICE
from store import Evaluation, Gallery, Where
from tests.ui.drawn import LABELS, WordEncoder, films, gallery_of
from ui.report.export import export
from ui.report.findings import duplicates, findings, neighbours, setting_of
from ui.report.text import code, plain, short_path

NAME = "task3 retrieval system.md"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gallery, Path, list[Evaluation]]:
    place = tmp_path_factory.mktemp("report")
    gallery = gallery_of(place / "gallery")
    encoder: Any = WordEncoder(films("train", 24))
    written = export(gallery, place / "out", encoder, command="cxr export out --store gallery")
    return gallery, place / "out", list(written.evaluations)


def rows_of(text: str, heading: str) -> dict[str, list[str]]:
    """The first table under a heading: first cell to the others."""
    section = text.split(f"\n{heading}", 1)[1]
    lines = re.findall(r"^\|(.*)\|$", section.split("\n\n#", 1)[0], re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_numbers_are_the_evaluations(exported: tuple[Gallery, Path, list[Evaluation]]) -> None:
    _, folder, evaluations = exported
    text = (folder / NAME).read_text("utf-8")
    assert [one.protocol for one in evaluations] == ["leave-one-out", "split"]
    for one in evaluations:
        sizes = f"{one.queries} queries, gallery of {one.gallery}"
        table = rows_of(text, f"### {one.protocol}: {sizes}")
        assert table[""] == ["P@1", "P@3", "P@5", "P@10", "mAP"]

        def row(values: dict[int, float], last: float | None = None) -> list[str]:
            cells = [f"{value:.4f}" for value in values.values()]
            return [*cells, "" if last is None else f"{last:.4f}"]

        assert table["**drawn**"] == row(one.precision, one.map)
        bounds = [f"{low:.4f} to {high:.4f}" for low, high in one.ci95.values()]
        assert table["95 % interval"] == [*bounds, ""]
        for label in LABELS:
            found = one.per_label[label]
            title = f"queries labelled {label} ({found['queries']})"
            assert table[title] == row(found["precision"])
        assert table["random"] == row(one.baselines["random"]["precision"])
        raw = one.baselines["raw_pixels"]
        assert table["raw pixels"] == row(raw["precision"], raw["map"])
        assert table["majority vote of the first k is right"] == row(one.vote)
        assert table["hit rate: one or more of the first k"] == row(one.hit_rate)
        assert table["precision at min(k, relevant)"] == row(one.bounded)
        assert table["nDCG, graded"] == row(one.ndcg)
        assert table["R-precision"] == [*"----", f"{one.r_precision:.4f}"]
    assert text.count("- Relevance any: a film is relevant when it shares a finding") == 2
    assert text.count("- 95 % intervals: ") == 2


def test_every_figure_is_linked_and_every_link_is_there(
    exported: tuple[Gallery, Path, list[Evaluation]],
) -> None:
    _, folder, _ = exported
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / NAME).read_text("utf-8"))
    files = {f"retrieval_figures/{path.name}" for path in (folder / "retrieval_figures").iterdir()}
    assert {unquote(link) for link in links} == files
    assert len(links) == len(files)
    assert "retrieval_figures/precision_at_k.png" in files
    assert "retrieval_figures/text_pneumonia_opacity_in_lungs.png" in files


def test_it_says_what_it_is_and_what_it_is_not(
    exported: tuple[Gallery, Path, list[Evaluation]],
) -> None:
    gallery, folder, _ = exported
    text = (folder / NAME).read_text("utf-8")
    for part in (
        gallery.stamp.name,
        gallery.stamp.fingerprint,
        "784 dimensions",
        "IndexFlatIP",
        "LanceDB",
        "`cxr export out --store gallery`",
        "28 x 28",
        "not for diagnosis",
        "clinical equivalence",
        "CC BY 4.0",
        "Kermany",
        "MedMNIST v2",
        "seed 0",
        "cxr search",
        "```python",
    ):
        assert part in text
    assert SYNTHETIC_NOTICE not in text
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == [
        "Precision@k",
        "Model",
        "Index",
        "Usage",
        "What it finds",
        "Failure cases",
        "What it matches by",
        "Limits",
        "Licence and data credit",
    ]


def test_python_in_the_report_runs(
    exported: tuple[Gallery, Path, list[Evaluation]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder, _ = exported
    text = (folder / NAME).read_text("utf-8")
    program = text.split("```python\n", 1)[1].split("```", 1)[0]
    by_id = program.split("from ingest", 1)[0]  # the rest loads an encoder called "drawn"
    exec(compile(by_id, NAME, "exec"), {})
    assert "pneumoniamnist/" in capsys.readouterr().out


def test_failures_agree_with_the_split_protocol(
    exported: tuple[Gallery, Path, list[Evaluation]],
) -> None:
    gallery, folder, evaluations = exported
    text = (folder / NAME).read_text("utf-8").split("## Failure cases", 1)[1]
    for label in LABELS:
        found = evaluations[1].per_label[label]
        wrong = round((1 - found["precision"][1]) * found["queries"])
        line = f"{wrong} of {found['queries']} queries labelled {label} have a wrong nearest"
        assert line in text
    for id_, nearest in re.findall(r"^- `([^`]+)`: nearest is `([^`]+)`", text, re.MULTILINE):
        hit = gallery.search_by_id(id_, 1, Where(split=("train",)))[0]
        assert hit.row.id == nearest
        assert not set(hit.row.labels) & set(gallery.row(id_).labels)


def test_the_hardest_come_first(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "gallery", [*films("test", 30), *films("train", 40)])
    rows = gallery.rows(gallery.ids())
    setting = setting_of(rows)
    assert setting.where == Where(split=("train",))
    for found in findings(gallery, rows, setting):
        right = [one.right for one in found.hardest]
        assert right == sorted(right)
        assert all(one.nearest_is_wrong for one in found.hardest)
        assert (
            found.queries
            == found.of
            == sum(found.label in rows[id_].labels for id_ in setting.queries)
        )
        if found.right_example:
            assert not found.right_example.nearest_is_wrong
        if found.wrong_example:
            assert found.wrong_example.nearest_is_wrong


def test_examples_and_failures_are_those_of_the_evaluation(tmp_path: Path) -> None:
    """Patients of three films, and films that take no part, each beside its copy."""
    drawn = films("scan", 24)
    rows = [replace(row, patient=f"p{at // 3}") for at, row in enumerate(drawn)]
    rows += [replace(row, id=f"{row.id} again") for row in rows]
    rows += [replace(row, id=f"{row.id} unseen", labels=(), labelled=False) for row in drawn]
    gallery = gallery_of(tmp_path / "gallery", rows)
    stored = gallery.rows(gallery.ids())
    setting = setting_of(stored)
    assert setting.name == "every labelled row, films of its own patient excluded"
    measured = gallery.evaluate(k=(1,), split=None)
    assert measured.left_out["not labelled"]["queries"] == 24
    for found in findings(gallery, stored, setting):
        right = measured.per_label[found.label]["precision"][1]
        assert found.wrong == pytest.approx((1 - right) * found.queries)
        for one in (found.right_example, found.wrong_example, *found.hardest):
            if one is not None:
                assert len(one.hits) == 10
                assert one.query.patient not in {hit.row.patient for hit in one.hits}
                assert all(hit.row.labels for hit in one.hits)


def test_a_query_is_never_its_own_neighbour(tmp_path: Path) -> None:
    # Exact copies under other ids tie with the query; it is the id that is left out.
    twins = films("test", 6)
    copies = [replace(row, id=f"a copy of {i}") for i, row in enumerate(twins)]
    gallery = gallery_of(tmp_path / "gallery", [*twins, *copies])
    found = neighbours(gallery, [row.id for row in twins], None, depth=3)
    for number, (row, hits) in enumerate(zip(twins, found, strict=True)):
        assert row.id not in [hit.row.id for hit in hits]
        assert hits[0].row.id == f"a copy of {number}"
        assert [hit.rank for hit in hits] == [1, 2, 3]
    assert duplicates(gallery.rows(gallery.ids())).extra == 6


def test_raw_pixels_are_never_called_beaten_when_they_are_not(
    exported: tuple[Gallery, Path, list[Evaluation]],
) -> None:
    _, folder, evaluations = exported  # its vectors are the raw pixels
    text = (folder / NAME).read_text("utf-8")
    assert text.count("**Not above raw pixels at k = 1, 3, 5, 10**") == len(evaluations)
    assert "Above raw pixels at every k" not in text


def test_synthetic_galleries_are_called_so(tmp_path: Path) -> None:
    rows = [row for split in ("test", "train") for row in films(split, 9, dataset=DATASET)]
    written = export(gallery_of(tmp_path / "gallery", rows), tmp_path / "out", k=(1, 3))
    text = (written.folder / NAME).read_text("utf-8")
    assert text.index(SYNTHETIC_NOTICE) < text.index("## Precision@k")
    assert "PneumoniaMNIST" in text.split("## Licence", 1)[1]


def test_without_labels_nothing_is_claimed(tmp_path: Path) -> None:
    rows = [replace(row, labels=(), dataset=None, split=None) for row in films("test", 5)]
    written = export(gallery_of(tmp_path / "gallery", rows), tmp_path / "out")
    text = (written.folder / NAME).read_text("utf-8")
    assert written.evaluations == ()
    assert "no row has a label" in text
    assert "P@1" not in text
    assert not [name for name in written.files if name.endswith(".png")]


def test_depths_beyond_the_gallery_are_left_out_and_said_so(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "gallery", [*films("test", 4), *films("train", 6)])
    written = export(gallery, tmp_path / "out", k=(1, 3, 5, 10))
    shown = {one.protocol: [*one.precision] for one in written.evaluations}
    assert shown == {"leave-one-out": [1, 3], "split": [1, 3, 5]}
    text = (written.folder / NAME).read_text("utf-8")
    assert "Not measured: leave-one-out, k = 5: only 3 rows can be found." in text
    assert "Not measured: split, k = 10: only 6 rows can be found." in text


def test_wild_names_do_not_break_the_tables(tmp_path: Path) -> None:
    wild = "a|b` <img src=x> _*[link](http://x)*_ $"
    rows = [
        *films("test", 6, dataset="wild | set", labels=(wild,)),
        *films("train", 6, dataset="wild | set", labels=(wild,)),
    ]
    rows = [replace(row, labels=(f"{wild} 2",)) if n % 2 else row for n, row in enumerate(rows)]
    written = export(gallery_of(tmp_path / "gallery", rows), tmp_path / "out", k=(1, 3))
    text = (written.folder / NAME).read_text("utf-8")
    assert "<img" not in text.replace("\\<img", "")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    unescaped = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
    assert set(unescaped) == {3, 5}  # two columns, and k = 1, 3 with name and mAP
    assert all((written.folder / name).is_file() for name in written.files)


@pytest.mark.parametrize(
    ("text", "literal"),
    [("plain words", "plain words"), ("a_b*c", "a\\_b\\*c"), ("a\n\n# b", "a \\# b")],
)
def test_plain_text_stays_plain(text: str, literal: str) -> None:
    assert plain(text) == literal


def test_code_survives_backticks_and_bars() -> None:
    assert code("a b") == "`a b`"
    assert code("a`b|c") == "`` a`b\\|c ``"


def test_home_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert short_path("/home/someone/my films/x") == "~/'my films/x'"
    assert short_path("/data/x") == "/data/x"
    assert short_path("s3://bucket/x") == "s3://bucket/x"


def test_random_choices_repeat(tmp_path: Path) -> None:
    gallery = gallery_of(tmp_path / "gallery")
    rows = gallery.rows(gallery.ids())
    first, second = (findings(gallery, rows, setting_of(rows)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert [found.query.id for found in one.hardest] == [f.query.id for f in other.hardest]
        for left, right in (
            (one.right_example, other.right_example),
            (one.wrong_example, other.wrong_example),
        ):
            assert (left and left.query.id) == (right and right.query.id)
    assert np.isfinite([hit.score for one in first for f in one.hardest for hit in f.hits]).all()
