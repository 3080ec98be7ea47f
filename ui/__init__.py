"""Command line, dashboard and report: thin over ``ingest`` and ``store``.

In: arguments, a visitor's clicks. Out: text, JSON, pages, files. Imports the faces of both other
rooms. Begin at ``cli.py`` or ``dashboard/app.py``.
"""
