"""The report of an evaluation: ``cxr export``.

In: a gallery. Out: a folder with text, tables, figures and data, swapped in whole. Begin at
``export.py``.
"""
