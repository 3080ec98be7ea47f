"""The read-only HTTP service behind ``cxr api``: search, films, facets, evaluation, health.

In: requests. Out: the documents that the command line prints as JSON. May import ``ui.opening``,
``ui.queries``, ``ui.tables`` and ``ui.notices``, never the dashboard. Begin at ``service.py``.
"""
