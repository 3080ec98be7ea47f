"""Curation on the dashboard: tags, notes, labels, films taken out, undo, the list of doubts.

Enter: the gallery and films of a page. Leave: buttons, for visitors who may curate. ``acts`` does
what they say; begin reading there.
"""
