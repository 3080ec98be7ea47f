"""Reports on the command line: kept when asked for, refused unlooked at, shown of similar films."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.films import png, write
from tests.ui import films as drawn
from tests.ui.running import invoked

TABLE = (
    "file,finding,study,findings,impression\n"
    "0.png,a,s1,Clear lungs.,Normal.\n1.png,b,s1,,\n2.png,a,s2,Effusion told to Dr. Smith.,\n"
    "3.png,b,s3,,\n4.png,a,s4,Small nodule.,\n"
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.tiny_clip(tmp_path_factory.mktemp("encoders") / "tiny")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: Path) -> Any:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("CXR_ENCODER", str(encoder))
    for number in range(5):
        write(tmp_path, f"films/{number}.png", png(number, 32))
    write(tmp_path, "t.csv", TABLE)
    return invoked


def ingested(run: Any, root: Path, *more: str) -> tuple[int, str, str]:
    found: tuple[int, str, str] = run(
        "ingest", "folder", root / "films", "--labels", root / "t.csv", "--label-column", "finding",
        "--columns", "study", "--report-column", "findings,impression", *more,
    )  # fmt: skip
    return found


def test_a_name_is_shown_masked_and_nothing_is_stored(run: Any, tmp_path: Path) -> None:
    code, out, err = ingested(run, tmp_path)
    assert (code, out) == (2, "") and not (tmp_path / "store").exists()
    assert "report: 'findings', 'impression'" in err
    assert "name: 1, in 1 of the reports, such as 'Dr. S****' (2.png)" in err
    assert "--reports-checked" in err and "Smith" not in err
    code, out, err = ingested(run, tmp_path, "--reports-checked", "--json", "-q")
    assert code == 0 and json.loads(out)["inserted"] == 5 and "Dr. S****" in err
    assert json.loads(out)["reports"]["personal"]["name"]["places"] == 1
    code, out, err = run("ingest", "folder", tmp_path / "films", "-q", "--json")
    assert json.loads(out)["reports"] == {} and "reports of" not in err


def test_reports_of_films_like_one(run: Any, tmp_path: Path) -> None:
    ingested(run, tmp_path, "--reports-checked", "-q")
    code, out, err = run("reports", "--id", "films/0.png", "-k", "3", "--json")
    document = json.loads(out)
    assert code == 0 and document["query"]["report"].startswith("Findings: Clear lungs.")
    reports = {one["report"]: [film["id"] for film in one["films"]] for one in document["reports"]}
    assert len(reports) == 3 and reports[document["query"]["report"]] == ["films/1.png"]
    scores = [one["score"] for one in document["reports"]]
    assert scores == sorted(scores, reverse=True)
    code, out, err = run("reports", "--id", "films/0.png", "--other-patients", "--json")
    assert [len(one["films"]) for one in json.loads(out)["reports"]] == [1, 1]
    assert "2 reports: there is no other report" in err and "asked for" not in err
    _, _, err = run("reports", "--id", "films/0.png", "--other-patients", "-k", "4", "--json")
    assert "2 of the 4 asked for: there is no other report" in err
    assert json.loads(out)["query"]["other_patients"] == {"excluded": "study", "films": 2}
    code, out, err = run("reports", "--image", tmp_path / "films/3.png", "-k", "1")
    assert code == 0 and "cosine" in out and "its own report" not in out
    code, out, err = run("reports", "--id", "films/4.png", "-k", "1", "--where", "study=s1")
    assert "its own report:\n   Findings: Small nodule." in out and "Clear lungs." in out


def test_reports_are_shown_only_when_asked_for(run: Any, tmp_path: Path) -> None:
    ingested(run, tmp_path, "--reports-checked", "-q")
    asked = ("search", "--id", "films/1.png", "-k", "4")
    code, out, _ = run(*asked, "--json")
    assert code == 0 and "Clear lungs" not in out
    code, out, _ = run(*asked, "--json", "--with-reports")
    assert {hit["id"]: hit["report"] for hit in json.loads(out)["hits"]}["films/3.png"] is None
    code, out, _ = run(*asked, "--with-reports", "--where", "has_report=yes")
    assert "films/4.png\n   Findings: Small nodule." in out and "films/3.png" not in out
    code, _, err = run("export", tmp_path / "b", "-q", "--with-reports")
    assert code == 0, err
    (text,) = (tmp_path / "b").glob("*.md")
    assert "Clear lungs" in (tmp_path / "b/meta.json").read_text()
    assert "Clear lungs" not in text.read_text()
    back = ("import", tmp_path / "b", "--store", tmp_path / "again", "--json")
    code, out, _ = run(*back)
    assert code == 0 and json.loads(out)["reports"] == {}
    code, out, err = run(*back, "--report-column", "report")
    assert code == 2 and "'Dr. S****'" in err
    code, out, _ = run(*back, "--report-column", "report", "--reports-checked")
    assert json.loads(out)["changed"] == {"report": 4}


def test_reports_as_queries(run: Any, tmp_path: Path) -> None:
    ingested(run, tmp_path, "--reports-checked", "-q")
    asked = ("evaluate", "--queries", "reports", "--k", "1,2")
    code, out, _ = run(*asked, "--json")
    document = json.loads(out)
    assert code == 0 and (document["queries"], document["gallery"]) == (4, 4)
    assert document["excluded"] == "study" and document["left_out"]["no report"] == 1
    ways = ["words", "text", "picture", "words+text", "words+picture"]
    assert [*document["ways"]] == ways and len(document["gaps"]) == 4
    assert [*document["own_report"]["recall"]] == ["1", "5", "10"]
    code, out, _ = run(*asked)
    for part in ("words (BM25)", "words+text less words", "films to their own report", "4 reports"):
        assert part in out
    for wrong in (("--protocol", "split"), ("--prompts", "bundled"), ("--fusion", "2")):
        code, _, err = run(*asked, *wrong)
        assert code != 0 and wrong[0].strip("-") in err
    code, _, err = run("evaluate", "--queries", "words")
    assert code == 2 and "films or reports" in err


def test_a_gallery_without_reports_says_how_to_get_them(run: Any, tmp_path: Path) -> None:
    run("ingest", "folder", tmp_path / "films", "-q")
    code, _, err = run("reports", "--id", "films/0.png")
    assert code == 2 and "--report-column" in err
    code, _, err = run("reports")
    assert code == 2 and "one of --image and --id" in err


def test_columns_of_a_table_of_vectors(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_ENCODER")
    vectors = np.eye(4, dtype=np.float32).tolist()
    table = {"id": list("abcd"), "embedding": vectors, "text": ["x", "MRN 1234567", None, ""]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    for command in (("import",), ("ingest", "embeddings")):
        store = tmp_path / "-".join(command)
        asked = (*command, tmp_path / "x.parquet", "--report-column", "text", "--store", store)
        code, _, err = run(*asked)
        assert code == 2 and "number: 1, in 1 of the reports" in err and "1234567" not in err
        code, out, _ = run(*asked, "--reports-checked", "--json")
        assert code == 0 and json.loads(out)["reports"]["films"] == 2
