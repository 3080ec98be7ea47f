"""The command line as people use it: output, exit codes, and every kind of bad input."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ingest import ingest, open_source
from ingest.encoders import load_encoder
from store import Gallery
from tests.ingest.test_encoders import save_processor, save_tokenizer, tiny_model
from tests.store.rows import make_rows, random_vectors, small_gallery
from tests.ui.running import Cxr
from ui import cli


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs low (0) or high (1) on a noisy ground, in MedMNIST's shapes."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.uint8)
    images = random.integers(0, 60, (count, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row = 4 if label else 16
        image[row : row + 8, 8:20] += 150
    return images, labels[:, None]


def save_npz(path: Path, counts: dict[str, int], **replaced: Any) -> Path:
    arrays: dict[str, Any] = {}
    for seed, (split, count) in enumerate(counts.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = drawn(count, seed)
    np.savez(path, **{**arrays, **replaced})
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "tiny"
    tiny_model("clip").save_pretrained(folder)
    save_processor(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_npz(
        tmp_path_factory.mktemp("medmnist") / "pneumoniamnist.npz",
        {"train": 30, "val": 10, "test": 20},
    )


@pytest.fixture(scope="module")
def ingested(npz: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the 60 films, never written to."""
    folder = tmp_path_factory.mktemp("stores") / "ingested"
    loaded = load_encoder(encoder)
    gallery = Gallery.create(folder, loaded.stamp)
    report = ingest(open_source("medmnist:pneumoniamnist", root=npz.parent), gallery, loaded)
    assert report.inserted == report.encoded == 60
    return folder


@pytest.fixture
def store(ingested: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return shutil.copytree(ingested, tmp_path / "store")


def test_help_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from ui import cli\n"
        "sys.argv = ['cxr', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'faiss', 'streamlit', 'matplotlib', 'lancedb',\n"
        "         'numpy', 'pyarrow', 'PIL'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in (
        "demo",
        "ingest",
        "search",
        "classify",
        "evaluate",
        "export",
        "import",
        "train",
        "serve",
    ):
        assert re.search(rf"^\W*{command} ", done.stdout, re.MULTILINE), command


def test_every_command_has_help(cxr: Cxr) -> None:
    for command in cli.app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        shown = cxr(name, "--help")
        assert shown.code == 0
        assert "Usage: cxr" in shown.out


def test_ingesting_again_changes_nothing(
    cxr: Cxr, npz: Path, encoder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    arguments = ["ingest", "medmnist:pneumoniamnist", "--store", store, "--encoder", encoder]
    first = cxr(*arguments, "--root", npz.parent, "--json")
    assert first.code == 0, first.err
    assert first.document["inserted"] == first.document["encoded"] == 60
    again = cxr(*arguments, "--root", npz.parent, "--json").document
    assert (again["inserted"], again["updated"], again["encoded"]) == (0, 0, 0)
    assert again["unchanged"] == 60
    summary = cxr(*arguments, "--root", npz.parent, "--split", "test")
    assert summary.out.startswith("0 inserted, 0 updated, 20 unchanged, 0 refused; 0 encoded")
    assert "ingest: 20 of 20" in summary.err


def test_a_changed_image_is_encoded_again(
    cxr: Cxr, store: Path, encoder: Path, tmp_path: Path
) -> None:
    counts = {"train": 30, "val": 10, "test": 20}
    images, labels = drawn(20, 2)
    images[3] = 255 - images[3]
    labels[5] = 1 - labels[5]
    changed = save_npz(tmp_path / "pneumoniamnist.npz", counts)
    save_npz(changed, counts, test_images=images, test_labels=labels)
    report = cxr(
        "ingest", "medmnist:pneumoniamnist", "--root", tmp_path, "--store", store,
        "--encoder", encoder, "--json",
    ).document  # fmt: skip
    assert (report["updated"], report["encoded"], report["unchanged"]) == (2, 1, 58)


def test_search_three_ways(cxr: Cxr, store: Path, encoder: Path, tmp_path: Path) -> None:
    by_id = cxr("search", "--id", "pneumoniamnist/test/0", "-k", 5, "--store", store, "--json")
    document = by_id.document
    assert [hit["rank"] for hit in document["hits"]] == [1, 2, 3, 4, 5]
    assert set(document["hits"][0]) == {
        "rank", "id", "score", "labels", "uncertain", "absent", "labelled", "split", "dataset",
        "source", "tags", "outcome", "extra", "study_link",
    }  # fmt: skip
    assert "pneumoniamnist/test/0" not in [hit["id"] for hit in document["hits"]]
    assert document["store"]["rows"] == 60
    assert document["store"]["encoder"] == "tiny"

    image = tmp_path / "query.png"
    Image.fromarray(drawn(20, 2)[0][0]).save(image)
    figure = tmp_path / "figure.png"
    by_image = cxr(
        "search", "--image", image, "-k", 3, "--store", store, "--encoder", encoder, "--json",
        "--figure", figure,
    )  # fmt: skip
    first = by_image.document["hits"][0]
    assert first["id"] == "pneumoniamnist/test/0"
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert Image.open(figure).format == "PNG"

    by_text = cxr(
        "search", "--text", "normal lungs", "-k", 4, "--store", store, "--encoder", encoder,
        "--where", "label=normal", "--where", "split=train",
    )  # fmt: skip
    assert by_text.code == 0
    assert by_text.out.count("normal") == 4
    assert "test/" not in by_text.out


def test_evaluate(cxr: Cxr, store: Path) -> None:
    both = cxr("evaluate", "--store", store, "--json").document
    assert both["protocol"] == "leave-one-out"
    assert both["queries"] == both["gallery"] == 20
    assert set(both["precision"]) == {"1", "3", "5", "10"}
    assert both["baselines"].keys() == {"random", "raw_pixels"}
    assert both["split"]["gallery"] == 30
    one = cxr("evaluate", "--store", store, "--json", "--protocol", "split", "--k", "2").document
    assert one["protocol"] == "split"
    assert set(one["precision"]) == {"2"}
    top = cxr("evaluate", "--store", store, "--json", "--no-map").document
    assert both["map"] > 0
    assert both["baselines"]["raw_pixels"]["map"] > 0
    assert top["map"] is top["baselines"]["raw_pixels"]["map"] is top["split"]["map"] is None
    assert top["precision"] == both["precision"]
    assert "nan" not in cxr("evaluate", "--store", store, "--no-map").out
    table = cxr("evaluate", "--store", store)
    assert "raw pixels" in table.out
    assert "majority vote" in table.out
    assert "precision at min(k, relevant)" in table.out
    assert "Relevance any: a film is relevant when it shares a finding" in table.out
    assert "The query itself is not in its ranking." in table.out
    one = cxr("evaluate", "--store", store, "--json", "--relevance", "finding=normal").document
    assert one["relevance"]["name"] == "finding=normal"
    unknown = cxr("evaluate", "--store", store, "--relevance", "finding=flu")
    assert unknown.code == 2
    assert "they have normal, pneumonia" in unknown.err


def test_export_and_import_make_the_same_gallery(
    cxr: Cxr, store: Path, encoder: Path, tmp_path: Path
) -> None:
    out, copy = tmp_path / "out", tmp_path / "copy"
    exported = cxr("export", out, "--store", store, "--encoder", encoder)
    assert exported.code == 0, exported.err
    for name in ("embeddings.npy", "labels.npy", "ids.txt", "faiss_index.bin", "meta.json"):
        assert (out / name).is_file(), name
    assert (out / "task3 retrieval system.md").is_file()
    assert list((out / "retrieval_figures").glob("*.png"))

    imported = cxr("import", out, "--store", copy, "--json")
    assert imported.code == 0, imported.err
    assert imported.document["inserted"] == 60
    ours = cxr("evaluate", "--store", store, "--json").document
    theirs = cxr("evaluate", "--store", copy, "--json").document
    assert ours["precision"] == theirs["precision"]
    assert ours["split"]["precision"] == theirs["split"]["precision"]
    query = ("--id", "pneumoniamnist/test/3", "--json")
    ours, theirs = (cxr("search", *query, "--store", one).document for one in (store, copy))
    assert [(hit["id"], hit["score"]) for hit in ours["hits"]] == [
        (hit["id"], hit["score"]) for hit in theirs["hits"]
    ]


def test_synthetic_films_are_said_loudly(cxr: Cxr, encoder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    arguments = ["--store", store, "--encoder", encoder]
    commands = (
        ["ingest", "synthetic", "--split", "test", *arguments],
        ["search", "--id", "synthetic-cohort/test/3", "--store", store],
        ["evaluate", "--store", store],
        ["export", tmp_path / "out", *arguments],
    )
    for command in commands:
        result = cxr(*command)
        assert result.code == 0, result
        assert "SYNTHETIC DATA" in result.err, command
        assert "SYNTHETIC" not in result.out
    report = (tmp_path / "out" / "task3 retrieval system.md").read_text()
    assert "SYNTHETIC DATA" in report


def test_vectors_of_an_unknown_encoder(cxr: Cxr, tmp_path: Path) -> None:
    folder, store = tmp_path / "theirs", tmp_path / "store"
    folder.mkdir()
    random = np.random.default_rng(0)
    vectors = random.normal(size=(30, 6)).astype(np.float32)
    np.save(folder / "embeddings.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    np.save(folder / "labels.npy", random.integers(0, 2, 30))
    assert cxr("import", folder, "--store", store).code == 0
    assert cxr("evaluate", "--store", store).code == 0
    searched = cxr("search", "--id", "theirs/3", "-k", 2, "--store", store)
    assert searched.code == 0, searched.err
    refused = cxr("search", "--text", "pneumonia", "--store", store)
    assert refused.code == 4
    assert "without saying which encoder" in refused.err
    assert cxr("export", tmp_path / "out", "--store", store).code == 0


def test_stats_check_optimize_encoders(cxr: Cxr, store: Path) -> None:
    stats = cxr("stats", "--store", store, "--json").document
    assert set(stats) == {
        "uri", "rows", "labels", "uncertain", "absent", "outcome", "columns", "splits", "datasets",
        "tags",
        "table_version", "mirror_version",
        "fragments", "bytes", "encoder", "fingerprint", "dimension",
        "pixel_readers", "older_reader", "search", "reports",
    }  # fmt: skip
    assert stats["splits"] == {"test": 20, "train": 30, "val": 10}
    assert cxr("check", "--store", store).out == "60 rows are sound\n"
    assert cxr("optimize", "--store", store).out.startswith("fragments 1 -> 1")
    assert "cxr-clip-28" in cxr("encoders").out


def test_k_left_out_fits_a_small_gallery(cxr: Cxr, tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "small", 4)
    found = cxr("search", "--id", "set/test/0", "--store", gallery.uri, "--json")
    assert (len(found.document["hits"]), found.document["query"]["k"], found.err) == (3, 4, "")
    assert (
        "k = 10: expected 1 to 4"
        in cxr("search", "--id", "set/test/0", "-k", 10, "--store", gallery.uri).err
    )


def test_an_id_is_known_by_its_end(cxr: Cxr, tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "small", 12)
    gallery.upsert(make_rows(random_vectors(3, 5), prefix="other/it's/"))
    search = ("search", "--store", gallery.uri, "--json", "--id")
    assert cxr(*search, "test/1").document["query"]["id"] == "set/test/1"
    assert cxr(*search, "11").document["query"]["id"] == "set/test/11"
    assert cxr(*search, "it's/2").document["query"]["id"] == "other/it's/2"
    marked = cxr(*search, "set/test/1", "--like", "test/3", "--unlike", "/11").document["query"]
    assert (marked["like"], marked["unlike"]) == (["set/test/3"], ["set/test/11"])
    done = cxr(*search, "2")
    assert done.code == 2
    assert "'2' could be other/it's/2, set/test/2; give more of the id" in done.err
    assert cxr(*search, "t/1").document["query"]["id"] == "set/test/1"


def test_help_is_printed_as_it_is_written(cxr: Cxr) -> None:
    assert "'cxr-retrieval[ray]'" in cxr("search", "--help").out
    assert "'cxr-retrieval[map]'" in cxr("map", "--help").out
    assert "\\[" not in cxr("map", "--help").out


def test_a_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "ui.cli"],
            env={
                **os.environ,
                "_CXR_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(words.count(" ")),
            },
            capture_output=True,
            text=True,
        )
        return done.stdout.split()

    assert completed("cxr ba") == ["batches", "backup"]
    assert completed("cxr search --te") == ["--text"]


BAD = {
    "unknown id": (["search", "--id", "nope"], 1, "no row 'nope' among 60 rows; ids look like"),
    "empty text": (["search", "--text", "  "], 2, "empty"),
    "k of 0": (
        ["search", "--id", "pneumoniamnist/test/0", "-k", "0"],
        2,
        "k = 0: expected 1 to 60",
    ),
    "k too large": (["search", "--text", "normal", "-k", "61"], 2, "k = 61: expected 1 to 60"),
    "no query": (["search"], 2, "exactly one of"),
    "two queries": (["search", "--id", "x", "--text", "y"], 2, "exactly one of"),
    "only unlike": (["search", "--unlike", "x"], 2, "films with --like, or --words"),
    "weights alone": (["search", "--id", "x", "--weights", "1,2,3"], 2, "plays no part without"),
    "bad weights": (["search", "--like", "x", "--weights", "1,2"], 2, "expected three numbers"),
    "page 0": (["search", "--like", "x", "--page", "0"], 2, "--page 0: expected 1 or more"),
    "unknown like": (["search", "--like", "nope"], 1, "no row 'nope' among 60 rows"),
    "unknown filter": (["search", "--id", "x", "--where", "colour=red"], 2, "unknown key 'colour'"),
    "missing image": (["search", "--image", "nothing.png"], 1, "nothing.png"),
    "unknown source": (["ingest", "floppy:a"], 2, "unknown source 'floppy:a'"),
    "unknown set": (["ingest", "medmnist:nope"], 2, "nope"),
    "wrong k list": (["evaluate", "--k", "1,two"], 2, "expected numbers such as 1,3,5,10"),
    "k beyond gallery": (["evaluate", "--k", "20", "--protocol", "leave-one-out"], 2, "1 to 19"),
    "unknown protocol": (["evaluate", "--protocol", "loo"], 2, "leave-one-out, split or both"),
    "unknown split": (["evaluate", "--split", "tset"], 2, "splits in this gallery: test, train"),
    "train with other films": (["train", "out", "--source", "folder:films"], 1, "cxr adapt"),
    "train with films behind it": (["train", "out", "folder", "films"], 1, "cxr adapt"),
    "train with films alone": (["train", "folder:films"], 1, "cxr adapt"),
    "train with a set behind it": (["train", "out", "synthetic"], 2, "OUT --source synthetic"),
    "train without a folder": (["train", "medmnist:pneumoniamnist"], 2, "OUT --source medmnist"),
    "import of nothing": (["import", "no-such-folder"], 1, "no-such-folder"),
    "export onto a file": (["export", __file__], 2, "is a file"),
    "unknown option": (["search", "--idd", "x"], 2, "no such option: --idd"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(cxr: Cxr, store: Path, encoder: Path, name: str) -> None:
    arguments, code, message = BAD[name]
    extra = ["--encoder", encoder] if arguments[0] in ("search", "ingest") else []
    before = cxr("stats", "--store", store).out
    where = [] if arguments[0] == "train" else ["--store", store]  # it reads films of a source
    result = cxr(*arguments, *where, *extra)
    assert result.code == code, result
    assert message in result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    assert cxr("stats", "--store", store).out == before


@pytest.mark.parametrize("value", ["it's", "x' OR '1'='1", 'a"b', "1=1) --", "; DROP TABLE"])
def test_filter_values_are_values(cxr: Cxr, store: Path, value: str) -> None:
    result = cxr(
        "search", "--id", "pneumoniamnist/test/0", "--where", f"label={value}", "--store", store,
        "--json",
    )  # fmt: skip
    assert result.code == 0
    assert result.document["hits"] == []
    assert "0 hits: no other row passes" in result.err  # nobody asked for a number


def test_files_that_are_not_images(cxr: Cxr, store: Path, encoder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("this is not a picture")
    cut = tmp_path / "cut.png"
    Image.fromarray(drawn(1, 0)[0][0]).save(cut)
    cut.write_bytes(cut.read_bytes()[:200])
    for path in (text, cut, tmp_path):
        result = cxr("search", "--image", path, "--store", store, "--encoder", encoder)
        assert result.code == 1, result
        assert path.name in result.err
        assert result.err.count("\n") == 1


@pytest.mark.parametrize("damage", ["truncated", "objects", "labels", "missing", "dtype"])
def test_damaged_npz(cxr: Cxr, encoder: Path, tmp_path: Path, damage: str) -> None:
    counts = {"train": 4, "val": 4, "test": 4}
    path = tmp_path / "pneumoniamnist.npz"
    if damage == "objects":
        save_npz(path, counts, test_images=np.asarray([{}] * 4, dtype=object))
    elif damage == "labels":
        save_npz(path, counts, test_labels=np.zeros((3, 1), np.uint8))
    elif damage == "missing":
        save_npz(path, {"train": 4})
    elif damage == "dtype":
        save_npz(path, counts, test_images=np.zeros((4, 28, 28)))
    else:
        save_npz(path, counts)
        path.write_bytes(path.read_bytes()[:-100])
    store = tmp_path / "store"
    result = cxr(
        "ingest", "medmnist:pneumoniamnist", "--root", tmp_path, "--store", store,
        "--encoder", encoder,
    )  # fmt: skip
    assert result.code == 1, result
    assert "pneumoniamnist.npz" in result.err
    assert "Traceback" not in result.err
    # A damaged file is never answered with another data set.
    demo = cxr("demo", "--no-serve", "--root", tmp_path, "--store", tmp_path / "demo")
    assert demo.code == 1
    assert "synthetic" not in demo.err


def test_another_encoder(cxr: Cxr, store: Path, npz: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    import torch

    model = tiny_model("clip")
    with torch.no_grad():
        model.logit_scale.add_(1)
    model.save_pretrained(other)
    save_processor(other)
    save_tokenizer(other)
    ingested = cxr(
        "ingest", "medmnist:pneumoniamnist", "--root", npz.parent, "--store", store,
        "--encoder", other,
    )  # fmt: skip
    search = cxr("search", "--text", "normal", "--store", store, "--encoder", other)
    for result in (ingested, search):
        assert result.code == 4, result
        assert "made by encoder tiny (" in result.err
        assert "other (" in result.err


def test_a_taken_port_is_said_before_any_work(cxr: Cxr, npz: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in (["demo", "--root", npz.parent], ["serve"]):
            store = tmp_path / "store"
            result = cxr(*command, "--port", port, "--store", store)
            assert result.code == 1
            assert f"port {port} on 127.0.0.1 is taken" in result.err
            assert not store.exists()


def test_stopping_an_ingestion_says_how_to_go_on(
    cxr: Cxr, monkeypatch: pytest.MonkeyPatch, npz: Path, encoder: Path, tmp_path: Path
) -> None:
    from ingest.encoders import Encoder

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    arguments = [
        "ingest", "medmnist:pneumoniamnist", "--root", npz.parent, "--store", tmp_path / "store",
        "--encoder", encoder,
    ]  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(Encoder, "encode_images", interrupted)
        stopped = cxr(*arguments)
    assert stopped.code == 130
    assert "the same command goes on from there" in stopped.err
    assert cxr(*arguments, "--json").document["inserted"] == 60


def test_a_reader_that_leaves_early(store: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m ui.cli search --id pneumoniamnist/test/0 -k 50 --store '{store}'"
        " --json | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr
