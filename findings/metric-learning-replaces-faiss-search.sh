#!/usr/bin/env bash
# Importing pytorch-metric-learning 2.9.0 changes faiss-cpu 1.15.1 for the whole process: a search
# with a selector, `index.search(x, k, params=...)`, worked before the import and is a TypeError after
# it, also for numpy arrays and in code that has nothing to do with torch; range_search the same. Its
# inference module imports faiss.contrib.torch_utils, which puts methods without `params` in the
# place of those of every index class, and keeps the old ones as search_numpy, range_search_numpy.
# Only where FAISS is installed: the import of FAISS is optional there.
# Seen with Python 3.11, torch 2.14.1 (CPU). Fails when this changes. Needs a package registry,
# nothing of ours.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    pytorch-metric-learning==2.9.0 faiss-cpu==1.15.1 torch==2.14.1 numpy==2.4.6
"$place/venv/bin/python" -W ignore - <<'PY'
import faiss
import numpy as np

index = faiss.IndexFlatIP(4)
index.add(np.eye(4, dtype=np.float32))
query = np.eye(4, dtype=np.float32)[:1]
only = faiss.SearchParameters(sel=faiss.IDSelectorRange(1, 4))


def outcome(call):
    try:
        return call()[-1].ravel().tolist()
    except TypeError as error:
        return f"TypeError: {error}"


calls = {
    "search": lambda: index.search(query, 2, params=only),
    "range_search": lambda: index.range_search(query, -0.5, params=only),
}
before = {name: outcome(call) for name, call in calls.items()}
import pytorch_metric_learning.distances  # noqa: F401, E402  a class that searches nothing

between = {name: outcome(call) for name, call in calls.items()}
from pytorch_metric_learning.utils import inference  # noqa: F401, E402

after = {name: outcome(call) for name, call in calls.items()}
kept = {name: outcome(lambda n=name: getattr(index, f"{n}_numpy")(query, *((2,) if n == "search" else (-0.5,)), params=only)) for name in calls}
for name in calls:
    print(f"{name}: before {before[name]}; distances imported {between[name]}; inference imported {after[name]}; {name}_numpy {kept[name]}")
assert all(isinstance(one, list) for one in before.values()), before
assert all(str(one).startswith("TypeError") for one in after.values()), after
assert kept == before, kept
print("an import of pytorch-metric-learning takes the selector from FAISS's searches")
PY
