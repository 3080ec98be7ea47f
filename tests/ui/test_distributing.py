"""``cxr ingest --ray`` and ``cxr search --shards``, as typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from store import Gallery
from store.cluster.sharded import ShardedBackend
from store.search.base import Sharding
from store.table.lance import open_version
from tests.clusters import eventually, kill, ray  # noqa: F401 - a fixture
from tests.ingest.fakes import picture
from tests.ingest.films import png, write
from tests.ui.running import invoked
from ui import notices
from ui.opening import open_gallery


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    return invoked


@pytest.fixture
def films(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    for number in range(12):
        write(root, f"{number:02}.png", png(picture(number, 40)))
    write(root, "bad.png", b"no image")
    return root


@pytest.mark.slow
def test_a_cluster_ingests_and_searches(
    run: Any,
    films: Path,
    ray: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    alone = run("ingest", "folder", films, "--json", "--quiet", "--store", tmp_path / "one")
    spread = run("ingest", "folder", films, "--json", "--quiet", "--ray", "--workers", "1")
    assert alone[0] == spread[0] == 3
    a, b = (json.loads(found[1]) for found in (alone, spread))
    for name in ("inserted", "encoded", "rejected", "reasons", "table_version"):
        assert a[name] == b[name]
    assert b["inserted"] == 12 and b["reasons"] == {"not_an_image": 1}

    asked = ("search", "--id", "films/03.png", "-k", 5, "--json")
    code, plain, _ = run(*asked)
    assert code == 0
    code, sharded, said = run(*asked, "--shards", 2, "--ray")
    assert code == 0 and "partial" not in said
    one, two = json.loads(plain), json.loads(sharded)
    assert two["hits"] == one["hits"] and two["store"] == one["store"] | {"shards": 2}


@pytest.mark.slow
def test_a_lost_shard_is_said(
    run: Any,
    films: Path,
    ray: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert run("ingest", "folder", films, "--quiet")[0] == 3
    monkeypatch.setenv("CXR_SHARDS", "2")
    monkeypatch.setenv("CXR_ON_LOST", "partial")
    gallery = open_gallery(str(tmp_path / "store"))
    assert notices.of_results(gallery.describe()) is None
    gallery.close()
    spread = Sharding(2, on_lost="partial")
    shards = ShardedBackend(gallery.uri, gallery.stamp.dimension, spread)
    gallery = Gallery(gallery.uri, open_version(gallery.uri), gallery.stamp, shards)
    assert len(gallery.search_by_id("films/03.png", 3)) == 3
    kill(shards.shards.pids()[0])  # the one with all the rows: they are few
    assert gallery.search_by_id("films/03.png", 3) == []
    said = notices.of_results(gallery.describe())
    assert said == "partial: 1 of 2 shards lost and being rebuilt; 0 of 12 rows were searched"
    assert len(eventually(lambda: gallery.search_by_id("films/03.png", 3))) == 3
    assert notices.of_results(gallery.describe()) is None
    gallery.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "folder", "PATH", "--workers", "2"), "go with --ray"),
        (("ingest", "folder", "PATH", "--gpus", "1"), "go with --ray"),
        (("ingest", "folder", "PATH", "--ray", "--workers", "some"), "expected N, or MIN-MAX"),
        (("ingest", "folder", "PATH", "--ray", "--workers", "4-2"), "the fewest first"),
        (("ingest", "embeddings", "PATH", "--ray"), "its vectors are made"),
        (("search", "--id", "films/03.png", "--ray"), "add --shards N"),
        (("search", "--id", "x", "--shards", "2", "--index", "lance"), "has no shards"),
        (("search", "--id", "x", "--shards", "2", "--on-lost", "cry"), "expected wait or partial"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Any, films: Path, arguments: tuple[str, ...], message: str
) -> None:
    if "search" in arguments:
        assert run("ingest", "folder", films, "--quiet")[0] == 3
    code, _, said = run(*(str(films) if one == "PATH" else one for one in arguments))
    assert code == 2 and message in said
