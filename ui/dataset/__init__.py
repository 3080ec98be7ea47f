"""Data sets: films of a gallery as others load them, with labels, splits and a card.

In: a gallery and a selection. Out: a folder that ``datasets.load_dataset`` opens and ``cxr ingest
hf`` reads back. Begin with ``export.py``.
"""
