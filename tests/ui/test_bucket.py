"""Every command and the dashboard on a gallery in a bucket, and on an index instead of a mirror."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from store import Gallery
from tests.store import bucket
from tests.store.bucket import Proxy, fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import STAMP, make_rows, random_vectors
from tests.ui import films
from tests.ui.running import Cxr

PNG = films.png(films.draw(1, True))
APP = Path(__file__).parents[2] / "ui" / "dashboard" / "app.py"


@pytest.fixture
def uri(server: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    made = bucket.make_bucket(server)
    monkeypatch.setenv("CXR_STORE", made)
    return made


def test_every_command_works_on_a_bucket(uri: str, cxr: Cxr, tmp_path: Path) -> None:
    encoder = films.tiny_clip(tmp_path / "clip")
    for split in ("train", "test"):
        folder = tmp_path / "films" / split
        folder.mkdir(parents=True)
        for number in range(8):
            film = films.png(films.draw(number + 50 * (split == "test"), number % 2 == 1))
            (folder / f"{number}.png").write_bytes(film)
    table = tmp_path / "labels.csv"
    lines = [
        f"{split}/{number}.png,{('normal', 'pneumonia')[number % 2]},{split}"
        for split in ("train", "test")
        for number in range(8)
    ]
    table.write_text("\n".join(["file,label,split", *lines]))
    ingest = ("ingest", "folder", tmp_path / "films", "--labels", table, "--encoder", encoder)
    done = cxr(*ingest, "--columns", "split", "--batch", "first", "--json", "-q")
    assert (done.code, done.document["inserted"]) == (0, 16), done.err
    assert cxr(*ingest, "--columns", "split", "--json", "-q").document["unchanged"] == 16
    stats = cxr("stats", "--json").document
    assert (stats["uri"], stats["rows"], stats["splits"]) == (uri, 16, {"test": 8, "train": 8})
    assert stats["bytes"] > 10_000
    found = cxr("search", "--id", "films/test/1.png", "-k", 3, "--json").document
    assert (len(found["hits"]), found["store"]["uri"]) == (3, uri)
    found = cxr(
        "search", "--image", tmp_path / "films/test/1.png", "--encoder", encoder, "-k", 1, "--json"
    ).document
    assert found["hits"][0]["id"] == "films/test/1.png"
    assert cxr("evaluate", "--k", "1,3", "--json").document["queries"] == 8
    assert "16 rows are sound" in cxr("check").out
    assert cxr("optimize").code == 0
    assert cxr("delete", "--id", "films/test/7.png", "-y", "--json").document["deleted"] == 1
    listed = cxr("batches", "--json").document["batches"]
    assert [(one["batch"], one["rows"]) for one in listed if one["rows"]] == [("first", 15)]
    assert cxr("export", tmp_path / "out", "--k", "1,3", "-q").code == 0
    assert (tmp_path / "out" / "embeddings.npy").is_file()
    again = bucket_beside(uri)
    done = cxr("import", tmp_path / "out", "--store", again, "--json")
    assert (done.code, done.document["inserted"]) == (0, 15), done.err
    assert cxr("batches", "--undo", "first", "--yes").code == 0
    assert cxr("stats", "--json").document["rows"] == 0


def bucket_beside(uri: str) -> str:
    return uri + "-imported"


def test_what_goes_wrong_is_one_line(
    uri: str, proxy: Proxy, cxr: Cxr, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = cxr("stats")
    assert (nothing.code, nothing.err.count("\n")) == (1, 1)
    assert f"no gallery at {uri}" in nothing.err
    assert cxr("stats", "--store", "s3+ddb://bucket/x").code == 2
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("store.table.object_storage.TRIES", 0)
    away = cxr("stats")
    assert (away.code, away.err.count("\n")) == (1, 1)
    assert "does not answer; check AWS_ENDPOINT_URL" in away.err


@pytest.mark.slow
def test_an_index_says_that_it_is_approximate(uri: str, cxr: Cxr) -> None:
    missing = cxr("search", "--id", "x", "--index", "lance")
    assert missing.code == 1
    rows = make_rows(random_vectors(400), thumbnail=PNG)
    rows = [replace(row, split="train" if i >= 20 else "test") for i, row in enumerate(rows)]
    Gallery.create(uri, STAMP).upsert(rows)
    none = cxr("search", "--id", "set/test/3", "--index", "lance")
    assert none.code == 2
    assert "build one with: cxr index build" in none.err
    built = cxr("index", "build", "--partitions", 4, "--json", "-q").document["approximate"]
    assert built["recall_at_10"] >= 0.95
    wanted = cxr("search", "--id", "set/test/3", "-k", 5, "--json")
    found = cxr("search", "--id", "set/test/3", "-k", 5, "--index", "lance", "--json")
    assert found.document["hits"][0] == wanted.document["hits"][0]
    assert "approximate" not in wanted.document["store"]
    assert "approximate" not in wanted.err
    said = found.document["store"]["approximate"]
    assert (said["recall_at_10"], said["rows_not_indexed"]) == (built["recall_at_10"], 0)
    assert f"recall@10 {built['recall_at_10']:.3f} against exact search on 200" in found.err
    measured = cxr("evaluate", "--index", "lance", "--k", "1,5", "--json").document
    assert measured["map"] is None
    assert measured["store"]["approximate"]["kind"] == "IVF_RQ"
    assert "nan" not in cxr("evaluate", "--index", "lance", "--k", "1,5").out
    assert "approximate: IVF_RQ" in cxr("index", "show").out
    assert cxr("index", "drop").out.strip() == "removed"
    assert "there is no index" in cxr("index", "drop").out


@pytest.mark.slow
def test_the_dashboard_searches_a_bucket_through_an_index(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlit.testing.v1 import AppTest

    gallery = Gallery.create(uri, STAMP)
    gallery.upsert(make_rows(random_vectors(300), thumbnail=PNG))
    gallery.build_index(partitions=4)
    for index, said in (("", False), ("lance", True)):
        monkeypatch.setenv("CXR_INDEX", index)
        test = AppTest.from_file(APP, default_timeout=60)
        test.query_params["id"] = "set/test/3"
        test.run()
        assert not test.exception, test.exception
        assert any(b.key and b.key.startswith("more-") for b in test.button)
        lines = [line.value for line in test.info if "recall@10" in line.value]
        assert bool(lines) == said
        import streamlit

        streamlit.cache_resource.clear()


@pytest.mark.slow
def test_a_document_is_plain_json(uri: str, cxr: Cxr) -> None:
    rows = make_rows(random_vectors(300), thumbnail=PNG, split="train")
    Gallery.create(uri, STAMP).upsert([replace(rows[0], split="test"), *rows[1:]])
    cxr("index", "build", "-q")
    for command in (("stats",), ("index", "show"), ("evaluate", "--k", "1", "--protocol", "split")):
        document = cxr(*command, "--json").out
        assert json.loads(document)
        assert "NaN" not in document
