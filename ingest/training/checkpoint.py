"""Checkpoints: the finished encoder in the transformers layout, and the state of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ingest.encoders.runtimes.base import quietly
from ingest.training.lexicon import save_lexicon
from ingest.training.model import new_processor
from store import UsageError


def save_checkpoint(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write weights, configuration, processor, tokenizer and lexicon.

    Weights that are zero, as those of the stem's side branches are, take two bytes each instead of
    four. The configuration says float32, and so they are loaded; nothing is lost.

    Args:
        folder: made if it is not there.
        model: a VisionTextDualEncoderModel on the CPU.
        tokenizer: of its text tower.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value if value.any() or not value.is_floating_point() else value.half()
        for name, value in model.eval().state_dict().items()
    }
    with quietly():
        model.save_pretrained(folder, state_dict=state)
        new_processor(tokenizer).save_pretrained(folder)
    save_lexicon(folder)


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


#: Name of the state inside the checkpoint's folder while training goes on.
FILE = "training-state.safetensors"


class Snapshot:
    """Saved state of a run: everything that one epoch hands to the next."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        pupil: nn.Module,
        average: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        self._path = folder / FILE
        self._settings = json.dumps(settings, sort_keys=True)
        self._modules = {"pupil": pupil, "average": average}
        self._optimizer = optimizer
        self._generator = generator

    def save(self, epoch: int, notes: dict[str, Any], best: dict[str, Tensor]) -> None:
        """Write the state after an epoch; a run killed meanwhile keeps the previous one."""
        tensors = {f"best/{name}": value for name, value in best.items()}
        for part, module in self._modules.items():
            tensors |= {f"{part}/{name}": value for name, value in module.state_dict().items()}
        for index, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        tensors["generator"] = self._generator.get_state()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part_file = self._path.with_suffix(".part")
        facts = {"settings": self._settings, "epoch": str(epoch), "notes": json.dumps(notes)}
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        save_file(plain, part_file, metadata=facts)
        part_file.replace(self._path)

    def load(self) -> tuple[int, dict[str, Any], dict[str, Tensor]] | None:
        """Restore a saved state in place.

        Returns:
            The epochs done, the notes and the best weights; ``None`` when nothing was saved.

        Raises:
            UsageError: it belongs to a run with other settings or other films.
        """
        if not self._path.is_file():
            return None
        with safe_open(self._path, framework="pt") as file:
            facts = file.metadata()
            if facts["settings"] != self._settings:
                raise UsageError(
                    f"{self._path} belongs to a run with other settings or films; "
                    "delete it to start anew, or train into another folder"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for part, module in self._modules.items():
            module.load_state_dict(_under(part, tensors))
        state = self._optimizer.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer", tensors).items():
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = value
        self._optimizer.load_state_dict({**state, "state": moments})
        self._generator.set_state(tensors["generator"])
        return int(facts["epoch"]), json.loads(facts["notes"]), _under("best", tensors)

    @staticmethod
    def forget(folder: Path) -> None:
        """Delete the state of a run that is complete."""
        (folder / FILE).unlink(missing_ok=True)


def _under(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(part + "/"): value
        for name, value in tensors.items()
        if name.startswith(part + "/")
    }
