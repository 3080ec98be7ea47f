"""The story of a training run, as numbers and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_curve(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``training.json``, and ``training.png`` beside it.

    Args:
        folder: where the checkpoint is.
        summary: settings, what was kept, and ``curve``: one entry an epoch, with ``loss`` and, when
            the validation films were looked at, ``validation`` figures by name.
    """
    (folder / "training.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    from matplotlib.figure import Figure

    epochs = [entry for entry in summary["curve"] if entry["stage"] == "images"]
    looks = [entry for entry in epochs if entry["validation"]]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([entry["epoch"] for entry in epochs], [entry["loss"] for entry in epochs], "k")
    left.set(title="Loss on the training split", xlabel="epoch")
    styles = ("-", "--", "-.", ":")
    for name, style in zip(looks[0]["validation"] if looks else (), styles, strict=False):
        values = [entry["validation"][name] for entry in looks]
        right.plot([entry["epoch"] for entry in looks], values, style, label=name)
    right.axvline(summary["kept_epoch"], color="grey", linewidth=0.8, label="kept")
    right.set(title="Precision on the validation split", xlabel="epoch")
    right.legend(fontsize="small")
    figure.savefig(folder / "training.png", dpi=110)
