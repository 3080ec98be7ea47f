"""The commands and the Python that a reader of the report would run."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ui.report.markdown import short_path

if TYPE_CHECKING:
    from ui.report.text import Facts


def usage(facts: Facts) -> str:
    """Code blocks that fit this gallery: no text search where there is no text tower."""
    store = short_path(facts.store["uri"])
    example = facts.setting.queries[0] if facts.setting.queries else facts.example
    splits = facts.setting.where.split if facts.setting.where else ()
    where = "".join(f" --where split={shlex.quote(name)}" for name in splits)
    shell = [f"cxr search --store {store} --id {shlex.quote(example)} -k 5{where}"]
    if not facts.stamp.name.startswith("external:"):
        shell.append(f"cxr search --store {store} --image film.png --figure result.png")
    if facts.text_tower:
        shell.append(f'cxr search --store {store} --text "pneumonia opacity in lungs" --json')
    shell += [
        f"cxr evaluate --store {store}",
        f"cxr export task3_outputs --store {store}",
        "cxr import task3_outputs --store another_store",
    ]
    uri = short_path(facts.store["uri"], shell=False)
    python = [
        "from pathlib import Path",
        "",
        "from store import Gallery",
        "",
        f"gallery = Gallery.open(Path({uri!r}).expanduser())",
        f"for hit in gallery.search_by_id({example!r}, k=5):",
        "    print(hit.rank, round(hit.score, 3), hit.row.id, hit.row.labels)",
        'print(gallery.evaluate("leave-one-out").precision)',
    ]
    if facts.text_tower:
        python += [
            "",
            "from ingest.encoders import load_encoder",
            "",
            f"vectors = load_encoder({facts.stamp.name!r}).encode_texts(['clear lungs'])",
            "print(gallery.search(vectors, k=5)[0])",
        ]
    return "\n".join(["```bash", *shell, "```", "", "```python", *python, "```"])
