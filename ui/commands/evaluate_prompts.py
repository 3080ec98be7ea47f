"""``cxr evaluate --prompts``: how well sentences find the films they describe."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ui import printing

if TYPE_CHECKING:
    from ingest.encoders import Encoder
    from store import Gallery

CHOOSING = "sentences"
#: Instead of a file: what comes with the package, the prompt set and the sentences that chose the
#: bundled encoder's text tower.
BUNDLED = {"bundled": "prompts.csv", CHOOSING: "sentences.csv"}
_YES = {"yes", "true", "1"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One sentence to be scored.

    Attributes:
        text: the sentence.
        label: the finding it describes.
        held_out: whether training never met it; None when nobody says.
    """

    text: str
    label: str
    held_out: bool | None = None


def read_prompts(place: str) -> list[Prompt]:
    """Prompts of a CSV or JSON file with text, label and, if known, held_out.

    Raises:
        UsageError: no such file, or not such a file; says which row.
    """
    from store import UsageError

    path = _bundled(BUNDLED[place]) if place in BUNDLED else Path(place)
    try:
        content = path.read_text("utf-8-sig")
        rows = json.loads(content) if path.suffix == ".json" else _csv(content)
    except OSError as error:
        raise UsageError(f"--prompts {place}: {error.strerror}; pass a CSV or JSON file") from error
    except ValueError as error:
        raise UsageError(f"--prompts {place} is not UTF-8 text, or not JSON: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"--prompts {place} holds no rows; expected columns text, label, held_out")
    return [_prompt(place, number, row) for number, row in enumerate(rows, start=1)]


def _bundled(file: str) -> Path:
    import ingest

    return Path(str(ingest.__file__)).parent / "training" / file


def _csv(content: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(content)))


def _prompt(place: str, number: int, row: Any) -> Prompt:
    from store import UsageError

    text, label = (
        str(row.get(name) or "").strip() if isinstance(row, dict) else ""
        for name in ("text", "label")
    )
    if not text or not label:
        raise UsageError(f"--prompts {place}, row {number}: expected a text and a label")
    held_out = row.get("held_out")
    if held_out is None or str(held_out).strip() == "":
        return Prompt(text, label)
    return Prompt(text, label, str(held_out).strip().lower() in _YES)


def evaluate_prompts(
    gallery: Gallery,
    encoder: Encoder,
    prompts: list[Prompt],
    split: str | None = None,
    dataset: str | None = None,
    k: int = 10,
) -> dict[str, Any]:
    """Precision@k and average precision of each prompt, and their means.

    Args:
        gallery: searched.
        encoder: the one that made it.
        prompts: what is asked.
        split: only films of this split; ``all`` for all; default: test, if there is one.
        dataset: only films of this data set.
        k: depth.
    """
    from store import Labelled, Where
    from store.evaluation.prompts import score_prompts

    if split is None:
        split = "test" if "test" in gallery.facets()["split"] else "all"
    where = Where(split=() if split == "all" else (split,), dataset=(dataset,) if dataset else ())
    rows = gallery.rows(gallery.ids(where))
    ids = [id_ for id_, row in rows.items() if row.labels]
    films = Labelled(ids, gallery.vectors(ids), [rows[id_].labels for id_ in ids])
    vectors = encoder.encode_texts([prompt.text for prompt in prompts])
    scores = score_prompts(vectors, [prompt.label for prompt in prompts], films, k)
    found = [
        {
            "text": prompt.text,
            "label": prompt.label,
            "held_out": prompt.held_out,
            "precision": score.precision,
            "average_precision": score.average_precision,
            "understood": encoder.understands(prompt.text).understood,
        }
        for prompt, score in zip(prompts, scores, strict=True)
    ]
    parts = {
        "all": found,
        "held_out": [one for one in found if one["held_out"] is True],
        "trained": [one for one in found if one["held_out"] is False],
        **{
            label: [one for one in found if one["label"] == label]
            for label in sorted({prompt.label for prompt in prompts})
        },
    }
    return {
        "k": k,
        "split": split,
        "gallery": len(ids),
        "overall": {name: _means(part) for name, part in parts.items() if part},
        "prompts": found,
        "store": gallery.describe(),
    }


def _means(part: list[dict[str, Any]]) -> dict[str, Any]:
    precision = [one["precision"] for one in part]
    average = [one["average_precision"] for one in part]
    judged = [one["understood"] for one in part if one["understood"] is not None]
    return {
        "prompts": len(part),
        "precision": sum(precision) / len(part),
        "average_precision": sum(average) / len(part),
        "lowest_precision": min(precision),
        "understood": sum(judged) / len(judged) if judged else None,
    }


def show(found: dict[str, Any]) -> None:
    """Print it for a person: each prompt, the worst last, then the means."""
    ranked = sorted(
        found["prompts"], key=lambda one: (-one["precision"], -one["average_precision"])
    )
    depth = f"P@{found['k']}"
    printing.table(
        ["prompt", "label", "held out", "understood", depth, "AP"],
        [
            [
                one["text"],
                one["label"],
                _said(one["held_out"]),
                _said(one["understood"]),
                f"{one['precision']:.2f}",
                f"{one['average_precision']:.4f}",
            ]
            for one in ranked
        ],
        numbers=2,
    )
    printing.table(
        [
            f"over {found['gallery']:,} films of {found['split']}",
            "prompts",
            "understood",
            f"lowest {depth}",
            f"mean {depth}",
            "mean AP",
        ],
        [
            [
                name.replace("_", " "),
                str(part["prompts"]),
                "" if part["understood"] is None else f"{part['understood']:.3f}",
                f"{part['lowest_precision']:.2f}",
                f"{part['precision']:.4f}",
                f"{part['average_precision']:.4f}",
            ]
            for name, part in found["overall"].items()
        ],
        numbers=5,
    )


def _said(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
