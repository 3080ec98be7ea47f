"""``~`` is the home folder wherever a path is taken, also where no shell saw it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import read_image, write_rejections
from ingest.encoders import load_encoder
from ingest.job.journal import state_folder
from store import EncoderStamp, Gallery, StoreNotFound
from tests.ingest.films import png, write
from tests.ui.running import Cxr

STAMP = EncoderStamp("mine", "ab" * 32, 4)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a test that must leave nothing where it stands."""
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    yield tmp_path / "home"
    assert list(there.iterdir()) == []


def vectors(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lists = np.eye(4, dtype=np.float32).tolist()
    content = pa.table({"id": list("abcd"), "embedding": lists, "label": list("xyxy")})
    pq.write_table(content, path)
    return path


def test_a_gallery_is_made_and_opened_at_home(home: Path) -> None:
    made = Gallery.create("~/mine", STAMP)
    assert made.uri == str(home / "mine")
    assert Gallery.open(Path("~/mine"), STAMP).uri == made.uri
    assert Gallery.create("~/mine", STAMP).uri == made.uri
    assert state_folder("~/mine") == home / "mine" / "ingest"
    with pytest.raises(StoreNotFound, match=str(home / "none")):
        Gallery.open("~/none")
    with pytest.raises(StoreNotFound, match="~nobody-of-this-name/x"):
        Gallery.open("~nobody-of-this-name/x")


def test_the_store_of_a_command(home: Path, cxr: Cxr, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors(home / "v.parquet")
    assert cxr("import", "~/v.parquet", "--store=~/mine").code == 0
    monkeypatch.setenv("CXR_STORE", "~/mine")
    found = cxr("stats", "--json").document
    assert found["rows"] == 4 and found["uri"] == str(home / "mine")
    assert cxr("batches", "--json").document["batches"][0]["rows"] == 4
    assert cxr("check").code == 0


def test_paths_of_commands(
    home: Path, cxr: Cxr, drawn: tuple[Path, Path], monkeypatch: Any
) -> None:
    gallery, encoder = drawn
    shutil.copytree(gallery, home / "mine")
    shutil.copytree(encoder, home / "tiny-clip")
    write(home / "films", "a.png", png(1, 64))
    write(home / "films", "bad.png", "no image")
    write(home, "labels.csv", "file,label\na.png,x\nbad.png,x\n")
    write(home, "prompts.csv", "text,label\na film,pneumonia\n")
    monkeypatch.setenv("CXR_STORE", "~/mine")
    monkeypatch.setenv("CXR_ENCODER", "~/tiny-clip")
    done = cxr("search", "--image", "~/films/a.png", "--figure=~/similar.png", "-k", 3)
    assert done.code == 0, done.err
    done = cxr("search", "--text", "a film", "--encoder=~/tiny-clip", "--json")
    assert done.code == 0, done.err
    done = cxr(
        "ingest", "folder", "~/films", "--labels=~/labels.csv", "--rejections=~/refused.csv", "-q",
        "--store=~/other",
    )  # fmt: skip
    assert done.code == 3, done.err
    assert cxr("compare", "~/other").code != 0  # other films; both are found
    assert cxr("evaluate", "--prompts=~/prompts.csv").code == 0
    assert cxr("export", "~/out", "--store=~/other").code == 0  # of one film: no figures
    assert cxr("audit", "--csv=~/lists").code == 0
    made = ("similar.png", "refused.csv", "out/meta.json", "lists", "other")
    assert [name for name in made if not (home / name).exists()] == []


def test_paths_of_the_library(home: Path, drawn: tuple[Path, Path], monkeypatch: Any) -> None:
    shutil.copytree(drawn[1], home / "tiny-clip")
    write(home / "films", "a.png", png(1, 64))
    assert read_image("~/films/a.png").shape == (64, 64)
    assert load_encoder(Path("~/tiny-clip")).folder == home / "tiny-clip"
    write_rejections(Path("~/lists/refused.csv"), [])
    assert (home / "lists" / "refused.csv").is_file()


def test_medmnist_root(home: Path, cxr: Cxr, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "sets").mkdir()
    monkeypatch.setenv("MEDMNIST_ROOT", "~/sets")
    done = cxr("ingest", "medmnist:pneumoniamnist", "--no-download", "--store=~/mine")
    assert done.code == 1 and f"no pneumoniamnist.npz in {home / 'sets'}" in done.err
