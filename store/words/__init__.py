"""Words of reports: how a report is searched, what a query in words asks, what a hit shows.

A report comes in and goes into the table as the terms that LanceDB's full-text index holds; a
query comes in and goes out as LanceDB asks it. Begin reading at ``terms``.
"""
