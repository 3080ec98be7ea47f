"""``cxr ingest`` from folders and ``cxr batches``, as typed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.films import film, png, write
from tests.ingest.test_encoders import save_processor, save_tokenizer, tiny_model
from tests.ui.running import invoked


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "tiny"
    tiny_model("clip").save_pretrained(folder)
    save_processor(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: Path) -> Any:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("CXR_ENCODER", str(encoder))
    return invoked


def test_a_folder_again_and_again(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "films"
    for number in range(6):
        write(root, f"{number}.png", png(number, 16))
    write(root, "=bad.png", "no image")
    table = write(tmp_path, "t.csv", "file;finding\n" + "".join(f"{n}.png;x|y\n" for n in range(6)))
    listed = tmp_path / "refused.csv"
    code, out, err = run(
        "ingest", "folder", root, "--labels", table, "--batch", "one", "--json", "--unlabelled",
        "--rejections", listed,
    )  # fmt: skip
    report = json.loads(out)
    assert code == 3 and report["inserted"] == 6 and report["reasons"] == {"not_an_image": 1}
    assert "refused 1: 1 not_an_image; all of them in" in err
    with listed.open(newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file)] == ["not_an_image"]
    (root / "=bad.png").unlink()
    (root / "5.png").unlink()
    code, out, err = run("ingest", "folder", root, "--prune", "-q")
    assert code == 0 and "gone: films/5.png" in err and "--prune --yes" in err
    code, _, err = run("ingest", "folder", root, "--prune", "--yes", "-q")
    assert code == 0 and "1 row was removed, whose file is gone" in err

    code, out, _ = run("batches", "--json")
    batches = {one["batch"]: one for one in json.loads(out)["batches"]}
    assert batches["one"]["rows"] == 5 and batches["one"]["refused"] == {"not_an_image": 1}
    code, out, _ = run("batches")
    assert "one" in out and "1 not_an_image" in out
    code, out, _ = run("batches", "--undo", "one")
    assert code == 0 and "one: 5 rows would be removed, 0 restored" in out
    code, out, _ = run("batches", "--undo", "one", "--yes")
    assert code == 0 and "one: 5 rows removed" in out
    _, out, _ = run("batches", "--json")
    assert {one["batch"]: one["rows"] for one in json.loads(out)["batches"]}["one"] == 0
    assert run("ingest", "folder", root, "-q")[1].startswith("5 inserted")


def test_one_column_of_0_and_1_up_to_the_evaluation(run: Any, tmp_path: Path) -> None:
    root, names = tmp_path / "films", ("--label-names", "0=normal,1=pneumonia")
    for number in range(8):
        write(root, f"{number}.png", png(number, 16))
    lines = "".join(f"{n}.png,{n % 2},{n % 2},40\n" for n in range(8))
    table = write(tmp_path, "t.csv", f"file,label,ward,age\n{lines}")
    code, out, err = run("ingest", "folder", root, "--labels", table, "--json")
    assert code == 0 and json.loads(out)["labelling"]["not_kept_columns"] == ["ward", "age"]
    assert "! the labels of column 'label' are its values (0 1)" in err
    assert "labels of t.csv: 'label'; files: 'file'; seen and not kept: 'ward', 'age'" in err
    assert json.loads(run("stats", "--json")[1])["labels"] == {"0": 4, "1": 4}
    code, out, err = run("ingest", "folder", root, "--labels", table, *names)
    assert code == 0 and out.startswith("0 inserted, 8 updated") and "! " not in err
    assert json.loads(run("stats", "--json")[1])["labels"] == {"normal": 4, "pneumonia": 4}
    code, out, _ = run("evaluate", "--k", "1,3", "--json")
    chance = json.loads(out)["baselines"]["random"]["precision"]["1"]
    assert code == 0 and chance == pytest.approx(3 / 7)
    code, _, err = run("ingest", "folder", root, "--labels", table, "--label-names", "0=a")
    assert code == 2 and "name the values that occur" in err

    sick = write(tmp_path, "t.csv", "file,label\n" + "".join(f"{n}.png,1\n" for n in range(8)))
    assert run("ingest", "folder", root, "--labels", sick, *names)[0] == 0
    code, out, err = run("evaluate", "--k", "1,3")
    assert (code, out) == (1, "")
    assert "cxr: all 8 labelled films share a label with every one of the 8 queries" in err
    assert "chance is 1, so Precision@k is 1 whatever the encoder" in err
    code, _, err = run("export", tmp_path / "out", "--k", "1,3", "-q")
    assert code == 0 and (tmp_path / "out" / "meta.json").is_file()


def test_labels_from_folders_with_masks(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for number in range(8):
        name = ("covid", "normal")[number % 2]
        write(root, f"{name}/images/{number}.png", png(number, 16))
        write(root, f"{name}/masks/{number}.png", png(number + 50, 16))
    code, out, err = run("ingest", "folder", root, "--label-from-folder")
    assert code == 0 and out.startswith("8 inserted")
    assert "labels are the folders of level 1: covid (4), normal (4)" in err
    assert "! 8 masks, segmentations or previews were left out" in err
    code, _, err = run("ingest", "folder", root, "--label-level", 7)
    assert code == 2 and "expected 1 (the first folder below the source) to 2" in err
    for number in range(5):
        write(tmp_path, f"p/patient{number:05d}/1.png", png(number, 16))
    code, _, err = run("ingest", "folder", tmp_path / "p", "--label-from-folder")
    assert code == 1 and "patients rather than labels" in err and "--label-level N" in err


def test_a_row_of_another_patient_is_never_taken(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "films"
    write(root, "patient2/study1/view1.png", png(2, 16))
    table = write(
        tmp_path,
        "t.csv",
        "path,label,sex,age\ntrain/patient1/study1/view1.png,edema,F,71\n"
        "train/patient2/study2/view1.png,normal,M,40\n",
    )
    code, out, err = run("ingest", "folder", root, "--labels", table, "--json", "-q")
    report = json.loads(out)
    assert code == 3 and report["inserted"] == 0
    assert report["reasons"] == {"file_missing": 2, "label_missing": 1}
    assert "compared with 2 cells, from the end" in err
    code, out, err = run(
        "ingest", "folder", root / "patient2", "--labels", table, "--file-prefix", "train/patient2",
        "--json", "-q",
    )  # fmt: skip
    assert code == 3 and json.loads(out)["inserted"] == 0  # the study is another one
    write(root, "patient2/study2/view1.png", png(3, 16))
    code, out, _ = run(
        "ingest", "folder", root, "--labels", table, "--file-prefix", "train", "--json", "-q"
    )
    assert code == 3 and json.loads(out)["inserted"] == 1


def test_a_stopped_run_says_that_it_stored_nothing(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "films"
    for number in range(60):
        write(root, f"{number:02d}.png", png(number, 16) if number < 25 else b"no image")
    code, _, err = run("ingest", "folder", root, "-q")
    assert code == 1 and "stopped: 35 of 60 refused" in err and "nothing was stored" in err
    assert json.loads(run("stats", "--json")[1])["rows"] == 0
    code, out, _ = run("ingest", "folder", root, "-q", "--keep-going", "--json")
    assert code == 3 and json.loads(out)["inserted"] == 25


def test_undo_restores_what_was_replaced(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "films"
    for number in range(4):
        write(root, f"{number}.png", png(number))
    table = write(tmp_path, "t.csv", "file,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n")
    options = ("folder", root, "--labels", table, "-q")
    assert run("ingest", *options, "--batch", "one")[0] == 0
    write(root, "0.png", png(50))
    write(root, "4.png", png(4))
    table.write_text("file,label\n0.png,c\n1.png,c\n2.png,c\n3.png,b\n4.png,c\n")
    assert run("ingest", *options, "--batch", "two")[0] == 0
    table.write_text("file,label\n0.png,c\n1.png,c\n2.png,curated\n3.png,b\n4.png,c\n")
    assert run("ingest", *options, "--batch", "three")[0] == 0
    code, out, err = run("batches", "--undo", "two")
    assert code == 0
    assert "two: 1 row would be removed, 1 restored, 1 corrected back; to do it: --yes" in out
    assert "1 row changed again or deleted since, left as they are: films/2.png" in err
    _, out, _ = run("batches", "--undo", "two", "--yes", "--json")
    assert json.loads(out) == {
        "batch": "two", "done": True, "removed": 1, "restored": 1, "corrected": 1,
        "later": ["films/2.png"], "lost": [], "forgotten": 0,
    }  # fmt: skip
    _, out, _ = run("stats", "--json")
    assert json.loads(out)["labels"] == {"a": 1, "b": 2, "curated": 1}
    assert run("check")[0] == 0


def test_what_a_run_is_not_told_stays_and_changes_are_counted(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "films"
    for number in range(4):
        write(root, f"{number}.png", png(number, 16))
    text = "file,label,age,ward\n" + "".join(f"{n}.png,normal,{40 + n},{n % 2}\n" for n in range(4))
    table = write(tmp_path, "t.csv", text)
    ingest = ("ingest", "folder", root, "-q")
    assert run(*ingest, "--labels", table, "--columns", "age,ward")[0] == 0
    table.write_text(text.replace("2.png,normal", "2.png,effusion"))
    code, out, _ = run(*ingest, "--labels", table, "--batch", "two")
    assert code == 0 and out.startswith("0 inserted, 1 updated (labels 1), 3 unchanged")
    assert json.loads(run("stats", "--json")[1])["labels"] == {"effusion": 1, "normal": 3}
    code, out, _ = run(*ingest, "--json")
    assert json.loads(out)["changed"] == {} and json.loads(out)["unchanged"] == 4
    assert run(*ingest, "--clear", "colour")[0] == 2
    code, out, _ = run(*ingest, "--clear", "age,ward", "--json")
    assert code == 0 and json.loads(out)["changed"] == {"age": 4, "ward": 4}
    found = json.loads(run("batches", "--json")[1])["batches"]
    assert [one["changed"] for one in found if one["batch"] == "two"] == [{"labels": 1}]
    code, _, err = run("ingest", "embeddings", root, "--clear", "age")
    assert code == 2 and "has no option --clear" in err


def test_two_folders_of_one_name_are_two_data_sets(run: Any, tmp_path: Path) -> None:
    for year, seed in (("2024", 0), ("2025", 50)):
        for number in range(3):
            write(tmp_path / year / "films", f"{number}.png", png(seed + number, 16))
    assert run("ingest", "folder", tmp_path / "2024" / "films", "-q")[0] == 0
    again = ("ingest", "folder", tmp_path / "2025" / "films", "-q")
    code, out, err = run(*again)
    assert code == 2 and out == "" and "--dataset NAME" in err and "Nothing was stored" in err
    assert run("ingest", "folder", tmp_path / "2024" / "films", "-q")[1].startswith(
        "0 inserted, 0 updated, 3 unchanged"
    )
    assert run(*again, "--dataset", "2025")[1].startswith("3 inserted")
    (tmp_path / "2024").rename(tmp_path / "moved")
    code, out, _ = run("ingest", "folder", tmp_path / "moved" / "films", "-q")
    assert code == 0 and "3 updated (source 3)" in out
    assert "3 updated (image 3, source 3)" in run(*again, "--replace")[1]


def test_dicom_and_embeddings(run: Any, tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    write(tmp_path / "d", "IM1", film(values, SOPInstanceUID="1.2.3", PatientSex="F"))
    assert run("ingest", "dicom", tmp_path / "d", "-q")[0] == 0
    vectors = [[1.0, 0.0], [0.0, 1.0]]
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"key": ["a", "b"], "v": vectors}), path)
    other = ("--store", tmp_path / "other")
    code, _, err = run("ingest", "embeddings", path, *other)
    assert code == 2 and "has no option --encoder" in err


def test_embeddings(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXR_ENCODER")
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"key": ["a", "b"], "v": [[1.0, 0.0], [0.0, 1.0]]}), path)
    arguments = ["ingest", "embeddings", path, "--id-column", "key", "--vector-column", "v"]
    code, out, err = run(*arguments, "--json")
    assert code == 0 and json.loads(out)["inserted"] == 2 and "encoder is unknown" in err
    assert "2 unchanged" in run(*arguments)[1]
    found = json.loads(run("batches", "--json")[1])
    assert found["batches"][0]["rows"] == 2 and found["other_rows"] == 0


def test_embeddings_with_labels_of_0_and_1(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_ENCODER")
    path = tmp_path / "hot.parquet"
    vectors = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
    hot = [[1, 0], [0, 1], [1, 1]]
    pq.write_table(pa.table({"id": ["a", "b", "c"], "embedding": vectors, "labels": hot}), path)
    code, _, err = run("ingest", "embeddings", path)
    assert code == 0 and "2 places of 0 and 1 without names" in err
    assert json.loads(run("stats", "--json")[1])["labels"] == {"0": 2, "1": 2}
    code, out, _ = run("ingest", "embeddings", path, "--label-names", "edema,mass", "--json")
    assert code == 0 and json.loads(out)["changed"] == {"labels": 3, "absent": 2}
    assert json.loads(run("stats", "--json")[1])["labels"] == {"edema": 2, "mass": 2}
    assert run("ingest", "embeddings", path, "--label-names", "edema")[0] == 2
    code, _, err = run("ingest", "embeddings", path, "--label-column", "none")
    assert code == 1 and "has no column 'none' (--label-column)" in err
    np.save(tmp_path / "embeddings.npy", np.eye(2, dtype=np.float32))
    code, _, err = run("ingest", "embeddings", tmp_path, "--label-column", "labels")
    assert code == 2 and "is for a Parquet or Arrow file" in err


def test_import_of_parts(run: Any, tmp_path: Path) -> None:
    two = tmp_path / "two"
    two.mkdir()
    for name, place in (("train", 0), ("test", 1)):
        vectors = np.eye(2, dtype=np.float32)[[place]]
        np.savez(two / f"{name}.npz", embeddings=vectors, ids=[name], y=[3])
    code, _, err = run("import", two / "train.npz", two / "test.npz", "--label-column", "y")
    assert code == 0 and "splits are told by the names" in err
    assert json.loads(run("stats", "--json")[1])["splits"] == {"test": 1, "train": 1}
    other = ("--store", tmp_path / "other")
    assert run("import", two / "train.npz", *other)[0] == 0
    code, _, err = run("import", two / "test.npz", *other)
    assert code == 4 and "--encoder-name NAME" in err
    named = ("--encoder-name", "resnet", "--store", tmp_path / "named")
    assert run("import", two / "train.npz", *named)[0] == 0
    code, out, _ = run("import", two / "test.npz", *named, "--json")
    assert code == 0 and json.loads(out)["store"]["encoder"] == "external:resnet"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ingest", "folder"], 2, "needs a folder: folder PATH"),
        (["ingest", "folder", "nowhere"], 1, "does not exist"),
        (["ingest", "nih", "."], 1, "Data_Entry_2017"),
        (["ingest", "folder", ".", "--size", "64"], 2, "has no option --size; it takes --labels"),
        (["ingest", "synthetic", "--labels", "x"], 2, "has no option --labels"),
        (["ingest", "synthetic", "--prune"], 2, "nothing to prune"),
        (["ingest", "synthetic", "--yes"], 2, "--yes goes with --prune"),
        (["batches"], 1, "no gallery at"),
    ],
)
def test_refusals(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found = run(*arguments)
    assert found[0] == code and message in found[2]


def test_undo_of_what_never_was(run: Any) -> None:
    assert run("ingest", "synthetic", "--split", "val", "-q")[0] == 0
    code, _, err = run("batches", "--undo", "x")
    assert code == 2 and "no batch 'x'" in err


def test_a_folder_without_images_is_said_and_leaves_nothing(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("folder", "dicom"):
        code, out, err = run("ingest", source, tmp_path / "empty")
        assert code == 1
        assert "nothing to ingest in" in err and "empty" in err
        assert out == ""
    assert not (tmp_path / "store").exists()
