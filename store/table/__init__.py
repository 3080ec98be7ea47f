"""The LanceDB table of films: the truth that everything else copies.

In: rows. Out: rows, counts and a version for every commit, on disk or in a bucket.
May import ``store.schema``, ``store.errors``, ``store.files``. Begin at ``write.py`` or
``opening.py``.
"""
