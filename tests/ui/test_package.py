"""The package ``cxr``: names of the README, from a wheel, beside others of the rooms' names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import cxr
from tests.store.rows import small_gallery

ROOT = Path(__file__).parents[2]


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Python with some folders before everything else on its path."""
    before = f"import sys; sys.path[:0] = {[str(one) for one in path]!r}\n"
    return subprocess.run(
        [sys.executable, "-P", "-c", before + code], capture_output=True, text=True
    )


def test_names_of_the_rooms(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "g", 8)
    opened = cxr.Gallery.open(gallery.uri)
    assert len(opened.search_by_id(opened.ids()[0], 3)) == 3
    for name in cxr.__all__:
        assert getattr(cxr, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = cxr.nothing_of_ours


def test_what_the_readme_imports_is_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    lines = [line for line in readme.splitlines() if line.startswith("from cxr import ")]
    assert lines
    for line in lines:
        names = line.partition("import ")[2].split(", ")
        assert {*names} <= {*cxr.__all__}


@pytest.mark.parametrize("room", ["ingest", "store", "ui"])
@pytest.mark.parametrize("kind", ["module", "package"])
def test_another_package_of_the_same_name_is_named(room: str, kind: str, tmp_path: Path) -> None:
    other = tmp_path / f"{room}.py" if kind == "module" else tmp_path / room / "__init__.py"
    other.parent.mkdir(exist_ok=True)
    other.write_text("")
    for code in ("import cxr; cxr.Gallery", f"import {room}; from cxr import Gallery"):
        done = python(code, tmp_path, ROOT)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"ImportError: the package {room!r}") and str(other) in last


def test_a_plain_folder_of_the_same_name_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    done = python("import cxr; print(cxr.Gallery.__module__)", tmp_path, ROOT)
    assert done.stdout.strip() == "store.gallery"


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text("")
    done = python("import cxr; cxr.main()", tmp_path, ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("cxr: the package 'store'") and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_wheel_brings_all_rooms(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "-q",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        held.extractall(tmp_path / "there")
    done = python(
        "import cxr; print(cxr.Gallery, cxr.load_encoder, cxr.__file__)", tmp_path / "there"
    )
    assert str(tmp_path / "there") in done.stdout, done.stderr
