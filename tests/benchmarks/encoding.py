"""How fast images become vectors: ``python -m tests.benchmarks.encoding``.

ViT-B/32 at its real size with random weights: files decoded, prepared and encoded, against the
bare forward pass on pixels that lie ready. The bundled encoder: against one image at a time.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.timing import heading, in_turns, judge

BATCHES = (8, 16, 32)


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Of the fastest of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def vit_b_32(folder: Path) -> None:
    """The architecture of clip and pubmed-clip, untrained."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    from tests.ingest.test_encoders import save_tokenizer

    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    save_tokenizer(folder)


def films(count: int, side: int) -> tuple[list[np.ndarray], list[bytes]]:
    """Smooth grey squares, as arrays and as PNG files."""
    from PIL import Image

    random = np.random.default_rng(0)
    arrays, files = [], []
    for _ in range(count):
        coarse = random.integers(0, 256, (8, 8), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        arrays.append(np.asarray(picture))
        out = io.BytesIO()
        picture.save(out, "PNG")
        files.append(out.getvalue())
    return arrays, files


def against_the_forward_pass(count: int = 64, repeats: int = 5) -> float:
    """Images a second of the whole way, as a share of the bare forward pass."""
    import torch

    from ingest.encoders import load_encoder
    from ingest.images.decode import read_image

    with tempfile.TemporaryDirectory() as folder:
        vit_b_32(Path(folder))
        encoder = load_encoder(folder)
        _, files = films(count, 256)
        model, device = encoder.runtime().model, encoder.runtime().device
        pixels = torch.rand(count, 3, 224, 224, device=device)

        def bare(batch: int) -> None:
            with torch.inference_mode():
                for part in pixels.split(batch):
                    model.get_image_features(pixel_values=part).pooler_output.cpu()

        best = min(BATCHES, key=lambda batch: seconds(lambda: bare(batch), 2))

        def whole() -> None:
            encoder.encode_images([read_image(file) for file in files], batch_size=best)

        took = in_turns({"bare": lambda: bare(best), "whole": whole}, repeats)
        share = took["bare"] / took["whole"]
        rates = ", ".join(f"{name} {count / time:.1f} images/s" for name, time in took.items())
        print(f"  ViT-B/32 in batches of {best}: {rates}")
        judge("ViT-B/32, PNG decoded, prepared, encoded", share, 0.9, "x bare pass", least=True)
        return share


def against_one_at_a_time(count: int = 256, repeats: int = 7) -> float:
    """Images a second of the bundled encoder, over those of the loop that everyone writes."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from ingest.encoders import DEFAULT_ENCODER, load_encoder, locate

    folder = Path(str(locate.__file__)).parent / DEFAULT_ENCODER
    encoder = load_encoder()
    device = encoder.runtime().device
    arrays, _ = films(count, 28)
    model = AutoModel.from_pretrained(folder).to(device).eval()
    processor = AutoImageProcessor.from_pretrained(folder)

    def naive() -> None:
        for array in arrays:
            inputs = processor(images=np.stack([array] * 3, axis=-1), return_tensors="pt")
            with torch.no_grad():
                features = model.get_image_features(**inputs.to(device)).pooler_output
            (features / features.norm(dim=-1, keepdim=True)).cpu().numpy()

    took = in_turns({"loop": naive, "ours": lambda: encoder.encode_images(arrays)}, repeats)
    loop, ours = took["loop"], took["ours"]
    print(f"  one image at a time {count / loop:.1f} images/s, ours {count / ours:.1f} images/s")
    judge(f"{DEFAULT_ENCODER}, many images", loop / ours, 5, "x one at a time", least=True)
    return loop / ours


def encoding() -> None:
    """Both comparisons."""
    heading("Encoding images")
    against_one_at_a_time()
    against_the_forward_pass()


if __name__ == "__main__":
    encoding()
