"""Card of an exported data set: what it is, how to load it, and what is asked of who shares it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from store import counted

if TYPE_CHECKING:
    from ui.dataset.columns import Column

_PICTURES = {
    "thumbnails": "thumbnails of the gallery: 8 bits, longest side 256 pixels or less",
    "originals": "originals: the bytes of each film's own file",
}
_ABOUT = {
    "id": "the film's id in the gallery",
    "label": "the finding; null: not labelled",
    "labels": "findings that are present; empty: looked at, nothing found; null: not labelled",
    "uncertain": "findings that somebody was not sure of",
    "absent": "findings that somebody looked for and did not find",
    "split": "the split, as the gallery has it",
    "dataset": "the data set that the film came from",
    "patient": "pseudonym or id within `dataset`: keep films of one on one side of a split",
    "study": "pseudonym or id within `dataset`",
    "age": "years",
    "report": "the radiologist's report",
    "tags": "words of a user of the gallery",
}


def card(
    *,
    name: str,
    form: str,
    pictures: str,
    counts: Mapping[str, int],
    labels: Mapping[str, int],
    datasets: Sequence[str],
    columns: Sequence[Column],
    converted: int,
    left_out: int,
) -> str:
    """README.md of a data set, with the YAML head by which the hub finds its splits.

    Args:
        name: of the folder.
        form: ``hf`` or ``csv``.
        pictures: ``thumbnails`` or ``originals``.
        counts: films of each split.
        labels: films of each label.
        datasets: where the films came from.
        columns: beside the picture.
        converted: films whose file was no picture.
        left_out: films that were chosen and have no picture.
    """
    from ingest import DATASET, SYNTHETIC_NOTICE

    path = "data/{}-*.parquet" if form == "hf" else "{}/**"
    head = [
        "---",
        f"pretty_name: {json.dumps(name)}",
        "license: other",
        "task_categories: [image-classification]",
        "tags: [medical, chest-x-ray, radiology]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *(
            line
            for split in counts
            for line in (f"  - split: {split}", f"    path: {json.dumps(path.format(split))}")
        ),
        "---",
    ]
    own = any(one.own for one in columns)
    total = sum(counts.values())
    said = [f"{counted(total, 'chest radiograph')}. Pictures are {_PICTURES[pictures]}."]
    if converted:
        said.append(
            "What was DICOM or another format that not every reader opens is PNG of the stored "
            "values, from 0 on, bright is dense, without anything of its header: "
            f"{counted(converted, 'film')}."
        )
    if left_out:
        said.append(f"Chosen, but left out for want of a picture: {counted(left_out, 'film')}.")
    if DATASET in datasets:
        said.append(SYNTHETIC_NOTICE)
    body: list[str] = [
        f"# {_plain(name)}",
        "",
        " ".join(said),
        "",
        "**For research and education only, never for diagnosis.**",
        "",
        "## Licence",
        "",
        "The films keep the licence and the terms of use under which they were published: "
        + (", ".join(f"`{_plain(one)}`" for one in datasets) or "of a source that is not named")
        + ". Some forbid that copies are passed on. Look it up, and put it into `license:` above, "
        "before you share this folder. Files of originals may hold more than a picture, such as "
        "names in their metadata: see to it that none does.",
        "",
        "## Splits",
        "",
        *_table("split", counts),
        "",
        *(["## Labels", "", *_table("label", labels), ""] if labels else []),
        "## Columns",
        "",
        "| column | meaning |",
        "|---|---|",
        "| image | the film |",
        *(f"| {_plain(one.name)} | {_about(one)} |" for one in columns),
        "",
        "## Loading",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f"films = load_dataset({json.dumps(f'./{name}')})",
        "```",
        "",
        "Back into a gallery, with the same ids, labels and splits: `cxr ingest hf PATH"
        + (" --columns NAME` for columns of your own." if own and form == "csv" else "`."),
        "",
        "Written by `cxr export --films`.",
    ]
    return "\n".join([*head, "", *body]) + "\n"


def _about(column: Column) -> str:
    own = f"a column of the user's own ({column.own})" if column.own else ""
    return _ABOUT.get(column.name, own)


def _table(what: str, counts: Mapping[str, Any]) -> list[str]:
    rows = [f"| {_plain(name)} | {count:,} |" for name, count in counts.items()]
    return [f"| {what} | films |", "|---|---:|", *rows]


def _plain(text: str) -> str:
    """A text that ends neither a cell of the table nor its line."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
