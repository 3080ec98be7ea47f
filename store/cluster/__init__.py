"""Exact search over shards on a Ray cluster, for galleries larger than one machine's memory.

In: the same queries as ``store.search.exact``. Out: the same hits.
May import ``store.search``, ``store.mirror`` and ``store.table``. Begin at ``sharded.py``.
"""
