"""Curation: what people say of films, and which films they take out, with who, when and undo.

Enter: films by id or by filter, and what to do. Leave: the table with it done, and a log that can
take it back. Begin reading at ``curation.Curation``; ``operations`` has the order of the commits.
"""
