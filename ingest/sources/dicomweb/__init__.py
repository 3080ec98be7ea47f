"""DICOMweb: films of a server (PACS, archive), found by QIDO-RS and fetched by WADO-RS.

In: its address and a query. Out: a Source whose films are fetched when their turn comes, and only
those that the gallery lacks. Begin with ``films.py``.
"""
