"""The story of a training run, as numbers and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_curve(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``training.json``, and ``training.png`` beside it.

    Args:
        folder: where the checkpoint is.
        summary: settings, what was kept, and ``curve``: one entry an epoch, or some steps of a text
            tower, with ``loss`` and, when validation was looked at, its figures by name.
    """
    (folder / "training.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    from matplotlib.figure import Figure

    epochs = [entry for entry in summary["curve"] if entry["stage"] == "images"]
    looks = [entry for entry in epochs if entry["validation"]]
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    left, right, texts = figure.subplots(1, 3)
    left.plot([entry["epoch"] for entry in epochs], [entry["loss"] for entry in epochs], "k")
    left.set(title="Loss on the training split", xlabel="epoch")
    styles = ("-", "--", "-.", ":")
    for name, style in zip(looks[0]["validation"] if looks else (), styles, strict=False):
        values = [entry["validation"][name] for entry in looks]
        right.plot([entry["epoch"] for entry in looks], values, style, label=name)
    right.axvline(summary["kept_epoch"], color="grey", linewidth=0.8, label="kept")
    right.set(title="Precision on the validation split", xlabel="epoch")
    right.legend(fontsize="small")
    read = [e for e in summary["curve"] if e["stage"] == "text" and e["validation"]]
    for tower in dict.fromkeys(entry["tower"] for entry in read):
        found = [(e["step"], e["validation"]["p10"]) for e in read if e["tower"] == tower]
        texts.plot(*zip(*found, strict=True), label=f"text tower {tower}")
    if kept := summary.get("kept_text"):
        texts.plot(kept["step"], kept["validation"]["p10"], "ko", label="kept")
        texts.legend(fontsize="small")
    texts.set(title="P@10 of sentences, validation films", xlabel="step")
    figure.savefig(folder / "training.png", dpi=110)
