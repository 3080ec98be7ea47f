"""Evaluation, map and audit without a browser: pages, commands, and the logic below them."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from ingest.sources.tables.safe_csv import csv_bytes
from store import FEW, EncoderStamp, Gallery
from store.analysis import maps
from store.evaluation.intervals import interval
from tests.ui import films
from ui import notices, tables
from ui.cli import app as cli
from ui.dashboard import background, studies
from ui.dashboard.components import scatter
from ui.dashboard.components.colouring import MISSING, colouring
from ui.report import published_results

APP = Path(__file__).parents[2] / "ui" / "dashboard" / "app.py"


@pytest.fixture
def made(drawn):
    """(gallery, encoder folder), shared and never written to."""
    return drawn


@pytest.fixture
def page(made, monkeypatch):
    """Open a page: page("map", {query parameters}, store=)."""

    def start(name, link=(), store=made[0], **environment):
        monkeypatch.setenv("CXR_STORE", str(store))
        monkeypatch.setenv("CXR_ENCODER", str(made[1]))
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        test = AppTest.from_file(APP, default_timeout=60)
        for key, value in dict(link).items():
            test.query_params[key] = value
        return test.switch_page(f"views/{name}.py").run()

    return start


def text(test) -> str:
    assert not test.exception, test.exception
    parts = [*test.markdown, *test.caption, *test.info, *test.warning, *test.error, *test.subheader]
    return "\n".join([part.value.replace("\\", "") for part in parts]) + "\n".join(
        element.body for element in test.get("html")
    )


def measured(gallery, protocol, **fields):
    """An evaluation as plain JSON types."""
    return gallery.evaluate(protocol, (1, 3), **fields).as_dict()


def test_the_evaluation_page_measures_by_the_relevance_chosen(page, made):
    test = page("evaluation")
    assert "Relevance any: a film is relevant when it shares a finding" in text(test)
    test.selectbox(key="evaluation-relevance").set_value("finding").run()
    name = test.selectbox(key="evaluation-finding").value
    shown = text(test)
    assert f"Relevance finding={name}: " in shown
    assert f"--relevance finding={name}" in test.code[0].value
    test.button_group(key="more-leave-one-out").set_value("Finding by finding").run()
    one = measured(Gallery.open(made[0]), "leave-one-out")["per_finding"][name]
    assert f"<td>{name}</td>" in text(test)
    assert f"{one['precision']['3']:.3f}" in text(test)


def test_what_took_no_part_is_counted_in_words():
    found = {
        "relevance": {"name": "any", "definition": "a film is relevant when so"},
        "excluded": "patient",
        "patients": {"known": 90, "unknown": 10, "in_both_sides": 3},
        "interval": {"over": "patients", "units": 40, "method": "cluster bootstrap, BCa"},
        "left_out": {
            "not labelled": {"queries": 5, "gallery": 5},
            "uncertain: mass": {"queries": 1, "gallery": 12},
        },
        "nothing_to_find": 7,
        "short": 2,
    }
    assert tables.definitions(found) == [
        "Relevance any: a film is relevant when so",
        "Films of the query's own patient are not in its ranking (10 films name none); 3 patients "
        "are on both sides",
        "95 % intervals: cluster bootstrap, BCa, over 40 patients",
        "Films left out, not labelled: 5",
        "Films left out, uncertain: mass: 1 of the queries' side, 12 of the gallery's",
        "Queries with nothing to find, which count 0 in every measure: 7",
        "Queries that may find fewer films than the deepest k; empty ranks are misses: 2",
    ]
    counted = {**found, "excluded": "film"}
    assert "; other films of its patient are, and count" in tables.definitions(counted)[1]


def test_intervals_of_few_patients_are_called_rough_wherever_figures_stand():
    few, many = (interval(np.arange(units), "patient") for units in (FEW - 1, FEW))
    assert (few["rough"], many["rough"]) == (True, False)
    found = {
        "relevance": {"name": "any", "definition": "so"},
        "precision": {"1": 0.5},
        "queries": 60,
        "excluded": "patient",
        "patients": {"known": 60, "unknown": 0, "in_both_sides": None},
    }
    for over in (few, many):
        said = [
            tables.definitions({**found, "interval": over})[-1],
            tables.definition_in_short({**found, "interval": over}),
            notices.of_patients({**found, "interval": over}) or "",
        ]
        assert ["rough" in one for one in said] == [over["rough"]] * 3


def test_studies_on_both_sides_are_called_studies():
    found = {
        "relevance": {"name": "any", "definition": "so"},
        "excluded": "study",
        "patients": {"known": 60, "unknown": 0, "in_both_sides": 7},
        "interval": interval(np.arange(60), "study"),
    }
    assert "; 7 studies are on both sides" in tables.definitions(found)[1]


# -- pages ------------------------------------------------------------------------------------


def test_exact_duplicates_with_their_leaks(page, made):
    shown = text(page("audit"))
    assert "**1 group** of **2 films**; **0** in more than one split" in shown
    assert 'title="drawn/test/100"' in shown


def test_every_list_of_the_audit_opens(page):
    test = page("audit")
    for name in ("Near duplicates", "Doubtful labels", "Labels and metadata"):
        test.button_group(key="list").set_value(name).run()
        shown = text(test)
        assert {
            "Near duplicates": "**1 pair** among 60 films",
            "Doubtful labels": "of 60 labelled films differ",
            "Labels and metadata": "Patients in several splits",
        }[name] in shown


def test_nonsense_in_the_link_of_the_audit_opens_its_first_list(page):
    assert "**1 group** of **2 films**" in text(
        page("audit", {"list": "<script>alert(1)</script>"})
    )


def test_the_map_marks_the_search_of_its_link_and_tells_its_age(page, made, tmp_path):
    assert "Marked: drawn/train/7 (?)" in text(page("map", {"id": "drawn/train/7"}))
    assert "Marked" not in text(page("map", {"id": "nobody"}))
    store = tmp_path / "gallery"
    films.add(store, made[1], [films.film(number, "train") for number in range(12)])
    gallery = Gallery.open(store)
    maps.make(gallery)
    films.add(store, made[1], [films.film(50, "test"), films.film(51, "test")])
    assert "2 films came or changed since the plane was computed" in text(page("map", store=store))
    file = store / "_cxr" / "map" / "pca.arrow"
    (file.parent / "umap.arrow").write_bytes(file.read_bytes().replace(b"plane", b"plain"))
    shown = text(page("map", store=store))  # a file that is no map is no map
    assert "came or changed" in shown


def test_a_map_of_too_few_films_says_so(page, made, tmp_path):
    films.add(tmp_path / "gallery", made[1], [films.film(1, "train")])
    assert "a map needs two of each" in text(page("map", store=tmp_path / "gallery"))


def test_vote_and_hardest_queries_and_another_store(page, made):
    test = page("evaluation", CXR_COMPARE=str(made[0]))
    test.button_group(key="more-leave-one-out").set_value("Majority vote").run()
    assert "majority of the neighbours says" in text(test)
    test.button_group(key="more-leave-one-out").set_value("Hardest queries").run()
    assert "nearest wrong neighbour" in text(test)
    test.button_group(key="more-split").set_value("Compared with another store").run()
    assert "20 queries and 40 films that both stores have" in text(test)
    assert "Labels differ for 0" in text(test)


def test_another_store_that_is_not_there_is_a_sentence(page, tmp_path):
    test = page("evaluation", CXR_COMPARE=str(tmp_path / "none"))
    test.button_group(key="more-split").set_value("Compared with another store").run()
    assert "No gallery at" in text(test)


def test_what_a_large_gallery_leaves_out_is_said_and_nothing_starts_unasked(page, monkeypatch):
    background.forget()  # what other tests measured
    monkeypatch.setattr(studies, "WHOLE", 10)
    shown = text(page("evaluation"))
    assert "Neither mAP nor the raw-pixel floor" in shown
    assert "raw pixels" not in shown
    monkeypatch.setattr(studies, "AT_ONCE", 1)
    background.forget()
    test = page("evaluation")
    assert "20 queries against 40 films take minutes" in text(test)
    assert "P@10" not in text(test)
    [button] = [one for one in test.button if one.key == "measure-split"]
    assert "P@10" in text(button.click().run())


def test_an_index_is_evaluated_by_searching_and_says_what_that_leaves_out(page, made, tmp_path):
    store, first = tmp_path / "gallery", Gallery.open(made[0])
    [row, *_] = first.rows(first.ids()).values()
    vectors = np.random.default_rng(0).normal(size=(300, first.stamp.dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery = Gallery.create(store, first.stamp)
    gallery.upsert(
        [
            replace(
                row,
                id=f"drawn/{n}",
                sha256=n.to_bytes(32, "big"),
                embedding=vector,
                labels=(("normal", "pneumonia")[n % 2],),
                split=("train", "test")[n % 5 == 0],
                patient=None,
            )
            for n, vector in enumerate(vectors.astype(np.float32))
        ]
    )
    gallery.build_index(partitions=2)
    test = page("evaluation", store=store, CXR_INDEX="lance")
    shown = text(test)
    assert "P@10" in shown and "Nothing to measure" not in shown
    assert "Serve with --index exact" in shown and "raw pixels" not in shown
    test.button_group(key="more-split").set_value("Majority vote").run()
    assert "needs all vectors" in text(test)


def test_peers_are_shown_beside_the_official_films_only():
    official = published_results.beside("leave-one-out", {"pneumoniamnist"}, "test", 624)
    assert official and all(peer.source for peer in official)
    assert published_results.beside("leave-one-out", {"drawn"}, "test", 624) == []
    assert published_results.beside("leave-one-out", {"pneumoniamnist", "nih"}, "test", 624) == []
    assert published_results.beside("leave-one-out", {"pneumoniamnist"}, "val", 624) == []
    assert published_results.beside("split", {"pneumoniamnist"}, "test", 623) == []


# -- what is below the pages --------------------------------------------------------------------


def unpacked(text_: str) -> list[str]:
    before, found = "", []
    for line in text_.split("\n"):
        before = before[: ord(line[0]) - 33] + line[1:]
        found.append(before)
    return found


@settings(max_examples=25)  # of many ids each
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=120), min_size=1))
def test_ids_reach_the_browser_as_they_are_where_it_can_draw_them(ids):
    ids = sorted(ids)
    sent = scatter.pack(np.zeros((len(ids), 2), np.uint16), ids, colouring([None] * len(ids)))
    drawn = [
        "".join(c if c.isprintable() and ord(c) < 0x10000 else "\ufffd" for c in i) for i in ids
    ]
    assert unpacked(sent["ids"]) == drawn
    assert len(base64.b64decode(sent["places"])) == 4 * len(ids)


@given(st.lists(st.one_of(st.none(), st.sampled_from("abcdefghijkl")), min_size=1))
def test_values_get_a_shape_each_and_the_rest_share_one(values):
    found = colouring(values)
    assert found.missing == values.count(None)
    assert sum(entry.count for entry in found.legend) + found.missing == len(values)
    assert len(found.legend) <= 8
    assert len({entry.glyph for entry in found.legend}) == len(found.legend)
    for code, value in zip(found.codes.tolist(), values, strict=True):
        if value is None:
            assert code == MISSING
        else:
            assert found.legend[code].name in (value, "other values")


def test_numbers_get_a_scale_and_several_labels_one_name():
    found = colouring([1.0, 3.0, None, float("nan"), 2.0])
    assert found.range == (1.0, 3.0)
    assert found.codes.tolist() == [0, 253, MISSING, MISSING, 126]
    labels = colouring([["a"], ["a", "b"], [], ["b"]])
    assert [entry.name for entry in labels.legend] == ["a", "b", "several labels"]
    assert labels.missing == 1
    assert colouring([True, False]).range is None


@pytest.mark.parametrize(
    "sent",
    [
        *(None, [], "x", 3, {"a": 1}),
        *([[0, 0], [1, 1]], [[0, 0], [1, 1], [1]], [[0, 0], [1, 1], [1, "a"]]),
        *([[0, 0], [1, 1], [1, float("nan")]], [[0, 0]] * 5000),
    ],
)
def test_a_line_that_is_none_surrounds_nothing(sent):
    assert len(scatter.outline_of(sent)) == 0


def test_a_computation_is_done_once_and_a_failed_one_again(monkeypatch):
    done = []
    assert background.result("test-once", "t", lambda told: done.append(1) or 7) == 7
    assert background.result("test-once", "t", lambda told: done.append(1) or 8) == 7
    assert background.known("test-once") and done == [1]

    def fails(told):
        time.sleep(0.05)
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            background.result("test-fails", "t", fails)
    assert background.result("test-fails", "t", lambda told: 1) == 1


# -- commands ---------------------------------------------------------------------------------


def run(*words):
    found = CliRunner().invoke(cli, [str(word) for word in words])
    assert found.exit_code == 0, (found.output, found.exception)
    return found.stdout


def test_cxr_audit_prints_one_document_and_writes_every_list(made, tmp_path):
    found = json.loads(
        run("audit", "--store", made[0], "--json", "--csv", tmp_path / "lists", "-q")
    )
    assert [[film["id"] for film in group["films"]] for group in found["exact"]] == [
        ["drawn/test/100", "drawn/test/119"]
    ]
    assert found["near"]["by"] == "pictures" and found["near"]["total"] == 1
    assert found["doubtful"]["labelled"] == 60
    assert found["store"]["rows"] == 60
    names = {path.name for path in (tmp_path / "lists").iterdir()}
    assert names == {
        "exact-duplicates.csv",
        "near-duplicates.csv",
        "doubtful-labels.csv",
        "doubtful-findings.csv",
        "metadata.csv",
        "patients-in-several-splits.csv",
    }
    with (tmp_path / "lists" / "exact-duplicates.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["drawn/test/100", "drawn/test/119"]
    said = run("audit", "--store", made[0])
    assert "exact duplicates: 1 group of 2 films, 0 across splits" in said


@pytest.fixture
def mixed_up(made, tmp_path):
    """Films of several findings: one picture of two patients, a copy of one, some without any."""

    def film(number, labels, patient, split="train", of=None, **about):
        found = films.film(number, split, of=of)
        return replace(found, labels=labels, patient=patient, **about)

    store = tmp_path / "mixed"
    many = [film(n, (("mass", "edema"), ("No Finding",))[n % 2], f"q{n}") for n in range(20)]
    films.add(
        store,
        made[1],
        [
            *many,
            film(20, ("mass",), "q20", of=0),  # the picture of another patient
            film(21, ("mass", "edema"), "q2", of=2, split="test"),
            film(22, ("hernia", "mass", "edema"), "q22", of=4),
            film(23, (), "q23", labelled=False),
            film(24, (), "q24", uncertain=("mass",)),
        ],
    )
    return store


def test_an_audit_says_whose_films_duplicates_are_and_which_finding_is_doubtful(mixed_up, tmp_path):
    said = run("audit", "--store", mixed_up, "--csv", tmp_path / "lists", "-q")
    assert "1 of one patient, 2 of several patients, 0 of several data sets" in said
    assert "one picture, several patients: drawn/train/0 (patient q0), drawn/train/20" in said
    assert "left out: 1 not labelled, 1 only uncertain findings" in said
    assert "no film of the same patient is asked" in said
    assert "unsupported: hernia 0/10" in said
    assert "hernia: 1 film, 1 of them unsupported; missing in 0" in said
    assert "patients in several splits: 1" in said
    with (tmp_path / "lists" / "doubtful-findings.csv").open(newline="") as file:
        found = {row["finding"]: row for row in csv.DictReader(file)}
    assert (found["hernia"]["films"], found["hernia"]["unsupported"]) == ("1", "1")
    assert set(found) == {"edema", "hernia", "mass"}
    with (tmp_path / "lists" / "exact-duplicates.csv").open(newline="") as file:
        whose = {row["id"]: row["films of"] for row in csv.DictReader(file)}
    assert whose["drawn/train/20"] == "several patients"
    assert whose["drawn/test/21"] == "one patient"
    told = json.loads(run("audit", "--store", mixed_up, "--json", "-q"))
    assert told["near"]["whose"]["several patients"] == 2
    assert told["doubtful"]["left_out"] == {"not labelled": 1, "only uncertain findings": 1}
    [film] = [one for one in told["doubtful"]["films"] if one["film"]["id"] == "drawn/train/22"]
    assert film["unsupported"] == [{"finding": "hernia", "votes": 0, "of": 10}]


def test_the_audit_page_names_wrong_ids_and_doubtful_findings(page, mixed_up):
    test = page("audit", store=mixed_up)
    shown = text(test)
    assert "2 groups are each one picture of several patients of one data set" in shown
    test.toggle(key="audit-patients-exact").set_value(True).run()
    assert "several patients" in text(test) and "one patient</" not in text(test)
    test.button_group(key="list").set_value("Near duplicates").run()
    assert "Pairs: 1 of one patient, 2 of several patients" in text(test)
    test.button_group(key="list").set_value("Doubtful labels").run()
    shown = text(test)
    assert "unsupported: hernia 0/10" in shown
    assert "No film of the same patient is asked. Left out: 1 not labelled" in shown
    test.button_group(key="list").set_value("Labels and metadata").run()
    assert "no finding" in text(test)


def test_cxr_map_keeps_a_map_and_cxr_compare_pairs_queries(made, tmp_path):
    store = tmp_path / "gallery"
    films.add(store, made[1], films.films()[:30])
    found = json.loads(run("map", "--store", store, "--json"))
    assert (found["method"], found["rows"]) == ("pca", 30)
    assert maps.kept(Gallery.open(store)) == ["pca"]
    other = json.loads(
        run("compare", made[0], "--store", store, "--split", "train", "--k", "1,3", "--json")
    )
    assert (other["queries"], other["left_out"]) == (30, [0, 10])
    assert other["difference"]["1"] == 0
    assert "difference" in run("compare", made[0], "--store", store, "--split", "train", "--k", "1")


@pytest.fixture
def three(made, tmp_path):
    """The drawn films under three encoders: of the gallery, another one, and imported vectors."""
    other = tmp_path / "other-clip"
    shutil.copytree(made[1], other)
    config = other / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.25", "0.3"))
    (other / "README.md").write_text("---\nlicense: mit\n---\n")
    (other / "training.json").write_text('{"trained_on": [{"dataset": "drawn", "split": "train"}]}')
    films.add(tmp_path / "b", other, films.films())
    first = Gallery.open(made[0])
    ids = first.ids()
    vectors = np.random.default_rng(0).normal(size=(60, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        replace(row, embedding=vector)
        for row, vector in zip(first.rows(ids).values(), vectors.astype(np.float32), strict=True)
    ]
    Gallery.create(tmp_path / "c", EncoderStamp("external:c", "c" * 64, 5)).upsert(rows[:50])
    return made[0], tmp_path / "b", tmp_path / "c", other


def test_cxr_compare_tells_n_encoders_apart(made, three):
    first, *others, folder = three
    compare = ["compare", *others, "--store", first, "--k", "1,3", "-q", "--protocol", "split"]
    found = json.loads(run(*compare, "--encoder", folder, "--encoder", made[1], "--json"))
    assert (len(found["precision"]), len(found["pairs"]), len(found["stores"])) == (3, 2, 3)
    assert found["left_out"] == [10, 10, 0]
    assert found["difference"] == found["pairs"][0]["difference"]
    assert found["relevance"]["name"] == "any"
    assert found["films"] == [
        {"dataset": "drawn", "split": "test", "queries": 10, "gallery": 0},
        {"dataset": "drawn", "split": "train", "queries": 0, "gallery": 40},
    ]
    ours, other, imported = found["encoders"]
    assert ours["on_disk"] and ours["parameters"] > 1000 and ours["bytes"] > 1000
    assert (ours["licence"], ours["trained_on_these_films"]) == ("unknown", "unknown")
    assert (other["licence"], other["trained_on_these_films"]) == ("MIT", "yes")
    assert [(one["split"], one["seen"]) for one in other["seen"]] == [
        ("test", "no"),
        ("train", "yes"),
    ]
    assert not imported["on_disk"] and imported["bytes"] is None and imported["speed"] is None
    assert imported["vector_bytes"] == 20
    said = run(*compare, "--encoder", folder, "--measure", "--relevance", "all")
    for words in ("difference", "test: no; train: yes", "MIT", " ms on cpu", "not on this machine"):
        assert words in said
    assert "Films of the query's own patient are not in its ranking" in said
    plain = ["compare", *others, "--store", first, "--k", "1", "--json"]
    both = [json.loads(run(*plain, "--same-patient", how)) for how in ("exclude", "count")]
    assert [one["excluded"] for one in both] == ["patient", "film"]
    assert both[0]["interval"]["over"] == both[1]["interval"]["over"] == "patients"
    assert both[0]["precision"] != both[1]["precision"]  # a copy of a film is of its patient
    wrong = CliRunner().invoke(cli, [str(word) for word in [*compare, "--encoder", "cxr-clip-28"]])
    assert "made none of these galleries" in str(wrong.exception)


def test_several_stores_are_compared_on_one_page(page, three):
    _, *others, folder = three
    test = page("evaluation", CXR_COMPARE="\n".join(map(str, others)), CXR_ENCODER=str(folder))
    test.button_group(key="more-split").set_value("Compared with another store").run()
    shown = text(test)
    assert "10 queries and 40 films that all 3 stores have" in shown
    assert "test: no; train: yes" in shown and "MIT" in shown
    assert "store by store: 10, 10, 0. Labels differ for 0, 0" in shown


def test_cells_that_a_spreadsheet_would_run_are_text():
    head, rows = tables.metadata(
        type(
            "G",
            (),
            {
                "rows": {"": 1},
                "columns": [
                    type("C", (), {"name": "=cmd()", "missing": {}, "values": {"@x": {"": 1}}})()
                ],
            },
        )()
    )
    written = list(csv.reader(io.StringIO(csv_bytes(head, rows).decode())))
    assert written[1][0] == "'=cmd()" and written[2][1] == "'@x"
