"""Training of the bundled encoder: ``cxr train``.

In: the films of a MedMNIST set and a grammar of sentences. Out: an encoder folder.
May import ``ingest.encoders`` and ``ingest.sources``. Begin at ``train.py``.
"""
