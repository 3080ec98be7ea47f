#!/usr/bin/env bash
# Importing SimpleITK 2.5.7 after faiss-cpu 1.15.1 breaks parts of FAISS for the whole process. Both
# are SWIG modules and share one table of C++ types; who comes last answers for std::vector<float>
# and std::vector<uint8_t>. FAISS's own Python then gets SimpleITK's vectors: serialize_index,
# deserialize_index and Kmeans.train end in a bare AssertionError, and IndexFlatIPPanorama.cum_sums
# is a SimpleITK.VectorFloat, and resize a TypeError. With the imports the other way round, or
# by file (write_index, PyCallbackIOWriter), all is well; add and search are never touched.
# Seen with Python 3.11, numpy 2.4.6. Fails when this changes. Needs a package registry, nothing of
# ours.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    faiss-cpu==1.15.1 SimpleITK==2.5.7 numpy==2.4.6
cat > "$place/asks.py" <<'PY'
import io
import sys

for name in sys.argv[1:]:
    __import__(name)
import faiss
import numpy as np

rows = np.eye(4, dtype=np.float32)
index = faiss.IndexFlatIP(4)
index.add(rows)


def by_file():
    data = io.BytesIO()
    faiss.write_index(index, faiss.PyCallbackIOWriter(data.write))
    return len(data.getvalue())


asked = {
    "search": lambda: index.search(rows, 1)[1].ravel().tolist(),
    "written by callback": by_file,
    "serialize_index": lambda: len(faiss.serialize_index(index)),
    "Kmeans.train": lambda: faiss.Kmeans(4, 2).train(np.tile(rows, (40, 1))) >= 0,
    "cum_sums.resize": lambda: faiss.IndexFlatIPPanorama(4, 2).cum_sums.resize(8),
}
for name, call in asked.items():
    try:
        print(f"{name}: {call()}")
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
print(type(faiss.IndexFlatIPPanorama(4, 2).cum_sums).__module__.split(".")[0])
PY
first=$("$place/venv/bin/python" -W ignore "$place/asks.py" SimpleITK faiss 2>/dev/null)
last=$("$place/venv/bin/python" -W ignore "$place/asks.py" faiss SimpleITK 2>/dev/null)
printf 'SimpleITK, then faiss:\n%s\n\nfaiss, then SimpleITK:\n%s\n' "$first" "$last"
[ "$(grep -c Error <<< "$first")" = 0 ] && [ "$(tail -1 <<< "$first")" = faiss ]
for broken in serialize_index Kmeans.train; do grep -q "^$broken: AssertionError$" <<< "$last"; done
grep -q "^cum_sums.resize: TypeError$" <<< "$last"
[ "$(tail -1 <<< "$last")" = SimpleITK ]
[ "$(head -2 <<< "$first")" = "$(head -2 <<< "$last")" ]
