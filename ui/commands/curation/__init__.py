"""Commands of curation: tags, notes, labels, films taken out and brought back, history, undo."""
