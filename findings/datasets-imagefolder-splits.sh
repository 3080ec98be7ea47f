#!/usr/bin/env bash
# datasets 5.2.0 and an image folder whose splits are folders (train/, test/), each film named in a
# metadata.csv with its label. Two ways to write that metadata, both valid CSV, both go wrong:
# 1. One metadata.csv beside the splits, given with each of them in the README's data_files: every
#    split holds the films of all splits. The test films are in train, silently.
#    Without a README it is not read at all: the names of the split folders, train and test, become
#    the labels.
# 2. A metadata.csv in each split, where a column is blank in one of them (no test film has an age):
#    types are guessed file by file, and the whole set is refused. metadata.parquet, whose columns
#    have types, loads.
# Seen with Python 3.11, pandas 3.1, pyarrow 26. Fails when this changes. Needs a package registry,
# nothing of ours.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    datasets==5.2.0 pillow numpy pandas pyarrow
cd "$place"
HF_HUB_OFFLINE=1 HF_HOME="$place/home" "$place/venv/bin/python" -W ignore - <<'PY'
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

datasets.disable_progress_bars()


def folder(name):
    """Two films, a.png in train and b.png in test."""
    root = Path(name)
    for split, film in (("train", "a"), ("test", "b")):
        (root / split).mkdir(parents=True)
        Image.new("L", (8, 8), ord(film)).save(root / split / f"{film}.png")
    return root


def loaded(root):
    try:
        found = datasets.load_dataset(f"./{root}", cache_dir="cache")
    except ValueError as error:
        return str(error)
    return {
        split: [(image.getpixel((0, 0)), label) for image, label in zip(part["image"], part["label"])]
        for split, part in found.items()
    }


one = folder("one")
(one / "metadata.csv").write_text("file_name,label\ntrain/a.png,normal\ntest/b.png,edema\n")
without = loaded(one)
paths = "".join(
    f'  - split: {split}\n    path: ["{split}/*", "metadata.csv"]\n' for split in ("train", "test")
)
(one / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{paths}---\n")
shared = loaded(one)

each = folder("each")
(each / "train" / "metadata.csv").write_text("file_name,label,sex\na.png,normal,F\n")
(each / "test" / "metadata.csv").write_text("file_name,label,sex\nb.png,edema,\n")
blank = loaded(each)

typed = folder("typed")
for split, film, label, sex in (("train", "a", "normal", "F"), ("test", "b", "edema", None)):
    cells = {"file_name": [f"{film}.png"], "label": [label], "sex": pa.array([sex], pa.string())}
    pq.write_table(pa.table(cells), typed / split / "metadata.parquet")
parquet = loaded(typed)

print("one metadata.csv, no README:      ", without)
print("one metadata.csv, README names it:", shared)
print("one in each, a blank column:      ", str(blank)[:110], "...")
print("metadata.parquet in each:         ", parquet)
right = {"train": [(97, "normal")], "test": [(98, "edema")]}
both = [(97, "normal"), (98, "edema")]
assert without != right and all(label != "normal" for part in without.values() for _, label in part)
assert {split: sorted(part) for split, part in shared.items()} == {"train": both, "test": both}
assert isinstance(blank, str) and "have different features" in blank
assert parquet == right
print("datasets 5.2.0: films of one split stand in another, or a set with a blank column is refused")
PY
