"""Search: the best rows for a vector, exact or by LanceDB's own index.

In: L2-normalised float32 query vectors and a filter. Out: ``Hit`` lists with float64 cosines.
May import ``store.mirror`` and ``store.table``. Begin at ``base.py``.
"""
