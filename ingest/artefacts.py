r"""Embeddings in plain files: what ``cxr export`` writes and ``cxr import`` reads, format 1.

A folder with

``embeddings.npy``
    float32 (n, d), unit rows, C order. Row order is free; ``cxr export`` sorts by dataset, split,
    index.
``labels.npy``
    int64 (n,): an index into ``label_names`` (without meta: the number itself is the name), -1 for
    a row without a label. When any row has several labels: int64 (n, c) of 0 and 1, one column per
    name.
``faiss_index.bin`` (optional)
    ``faiss.write_index`` of an ``IndexFlatIP`` with the same vectors in the same order.
``ids.txt`` (optional)
    UTF-8, one id a line, n lines, every line ended by ``\n``; unique, no empty ones. Without it
    row i is called ``<folder name>/<i>``.
``meta.json`` (optional)
    An object. Known keys, all optional but ``format``; others are kept and ignored::

        {"format": 1,
         "encoder": "cxr-clip-28", "fingerprint": "<hex>", "dimension": 128,   # all or none
         "rows": 5856, "table_version": 13,
         "label_names": ["normal", "pneumonia"],
         "columns": {"dataset": [...], "split": [...], "patient": [...],       # n values each,
                     "view": [...], "sex": [...], "age": [...]},               # null = not known
         "protocol": ..., "precision": ...}

    A column that is null in every row is left out. Without a ``dataset`` and ``split`` column, ids
    of the form ``dataset/split/index`` tell them.
"""

from __future__ import annotations

#: Version of the layout above, ``meta.json["format"]``.
FORMAT = 1
EMBEDDINGS = "embeddings.npy"
LABELS = "labels.npy"
INDEX = "faiss_index.bin"
IDS = "ids.txt"
META = "meta.json"
#: Row columns that ``meta.json["columns"]`` may carry: lists of n values.
COLUMNS = ("dataset", "split", "patient", "view", "sex", "age")
