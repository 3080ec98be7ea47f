"""``cxr delete``, ``check`` and ``stats`` on a store that went through something."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from store import Gallery
from store.table import lance as tables
from store.table import local
from tests.store.rows import STAMP, make_rows, random_vectors
from tests.store.test_table import damage_first_vector
from tests.ui.running import Cxr

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "store", STAMP)
    gallery.upsert(make_rows(random_vectors(12), batch="first", thumbnail=PNG))
    gallery.upsert(make_rows(random_vectors(5), prefix="late/test/", batch="o'clock", split="val"))
    return gallery


@pytest.fixture
def cxr(cxr: Cxr, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> Cxr:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))  # nobody answers
    return lambda *arguments: cxr(
        *arguments, *([] if "--store" in arguments else ["--store", gallery.uri])
    )


def test_delete_counts_asks_and_deletes(cxr, gallery: Gallery) -> None:
    assert cxr("delete", "--where", "split=val", "--dry-run")[1] == "5 rows would be deleted\n"
    assert cxr("delete", "--batch", "o'clock", "--dry-run", "--json")[0] == 0
    code, out, err = cxr("delete", "--where", "split=val")
    assert (code, out.strip()) == (1, "")
    assert "Delete 5 of 17 rows?" in err
    assert len(Gallery.open(gallery.uri)) == 17
    assert cxr("delete", "--id", "late/test/0", "--yes")[1] == "1 row deleted\n"
    found = json.loads(
        cxr("delete", "--batch", "o'clock", "--where", "label=normal", "-y", "--json")[1]
    )
    assert (found["matched"], found["deleted"]) == (2, 2)
    assert cxr("delete", "--where", "batch=first", "--where", "label=normal", "--yes")[0] == 0
    assert len(Gallery.open(gallery.uri)) == 8
    assert cxr("delete", "--where", "label=nobody", "--yes")[1] == "0 rows deleted\n"
    named = Gallery.open(gallery.uri).row("late/test/1").dataset
    whole = cxr("delete", "--where", f"dataset={named}", "--yes")
    assert "films set aside went with them" in whole[2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "delete needs a filter"),
        (["--id", "nobody"], 1, "no film 'nobody'"),
        (["--where", "colour=red"], 2, "unknown key 'colour'"),
    ],
)
def test_delete_refuses(cxr, arguments: list[str], code: int, message: str) -> None:
    found, out, err = cxr("delete", "--yes", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_check_names_a_vector_that_went_bad(cxr, gallery: Gallery) -> None:
    damage_first_vector(gallery, random_vectors(12)[7])
    code, _, err = cxr("check")
    assert code == 4
    assert "vectors are not the ones that were written: set/test/7; remove them with: cxr d" in err
    assert cxr("delete", "--for-good", "--id", "set/test/7", "--yes")[0] == 0
    gallery.upsert(make_rows(random_vectors(12), batch="first", thumbnail=PNG))
    gallery.delete(batch="o'clock")
    assert cxr("check")[:2] == (0, "12 rows are sound\n")


def test_a_damaged_head_is_one_line_on_stderr(gallery: Gallery) -> None:
    import subprocess

    local.manifests(tables.folder(gallery.uri))[0][1].write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "ui.cli", "stats", "--json", "--store", gallery.uri],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == 12
    assert {"fragments", "bytes"} <= found.keys()
    assert len(done.stderr.strip().splitlines()) == 1
    assert "went back to version" in done.stderr


def test_stats_with_columns_of_the_users_own(cxr, gallery: Gallery) -> None:
    gallery.update_metadata(
        [
            replace(row, extra={"ward": 3, "urgent": True}, uncertain=("edema",))
            for row in make_rows(random_vectors(2), batch="more")
        ]
    )
    code, out, _ = cxr("stats")
    assert code == 0
    said = {line[:16].strip(): line[16:].strip() for line in out.splitlines()}
    assert (said["columns"], said["uncertain"]) == ("ward (int), urgent (bool)", "edema 2")


# -- backup and restore ----------------------------------------------------------------------------


@pytest.fixture
def salt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "salt"
    file.write_bytes(bytes(range(32)))
    monkeypatch.setenv("CXR_SALT_FILE", str(file))
    return file


def test_backup_and_restore(cxr: Cxr, gallery: Gallery, tmp_path: Path) -> None:
    file, place = tmp_path / "films.zip", tmp_path / "again"
    found = json.loads(cxr("backup", file, "--json")[1])
    assert (found["rows"], found["salt"], found["tables"]) == (17, False, ["gallery.lance"])
    code, out, _ = cxr("restore", file, "--check")
    assert (code, f"{file} is sound" in out) == (0, True)
    assert cxr("restore", file)[0] == 2  # there is the gallery itself
    code, out, err = cxr("restore", file, "--store", place)
    assert (code, err) == (0, "")
    assert out.startswith("17 films (table version ") and str(place) in out
    assert Gallery.open(place).ids() == gallery.ids()
    assert cxr("check", "--store", place) == cxr("check")
    assert cxr("backup", file)[0] == 2
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)
    code, out, err = cxr("restore", file, "--store", tmp_path / "third")
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "nothing was restored" in err
    assert not (tmp_path / "third").exists()


def test_the_salt_comes_along_by_choice(
    cxr: Cxr, tmp_path: Path, salt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, whole = tmp_path / "plain.zip", tmp_path / "whole.zip"
    assert cxr("backup", plain)[0] == cxr("backup", whole, "--salt")[0] == 0
    assert salt.read_bytes() not in plain.read_bytes()
    assert whole.stat().st_mode & 0o777 == 0o600
    there = tmp_path / "elsewhere" / "salt"
    monkeypatch.setenv("CXR_SALT_FILE", str(there))
    code, _, err = cxr("restore", whole, "--store", tmp_path / "a")
    assert (code, there.exists()) == (0, False)
    assert "to take it: --salt" in err
    assert cxr("restore", whole, "--salt", "--store", tmp_path / "b")[0] == 0
    assert there.read_bytes() == salt.read_bytes()
    assert there.stat().st_mode & 0o777 == 0o600
    there.write_bytes(bytes(32))
    code, _, err = cxr("restore", whole, "--salt", "--store", tmp_path / "c")
    assert (code, (tmp_path / "c").exists()) == (2, False)
    assert "another salt" in err
    assert "holds no salt" in cxr("restore", plain, "--salt", "--store", tmp_path / "d")[2]
    monkeypatch.setenv("CXR_SALT_FILE", str(tmp_path / "none"))
    code, _, err = cxr("backup", tmp_path / "third.zip", "--salt")
    assert (code, (tmp_path / "third.zip").exists()) == (2, False)
    assert "no salt to add" in err
