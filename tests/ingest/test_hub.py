"""A hub that refuses, breaks off or lies, played by a small server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.ingest.test_encoders import save_processor, save_tokenizer, tiny_model

#: Variables of the environment, by their beginning, that would change what is asked.
OWN = ("CXR", "HF_")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Enough of the hub: /api/models/REPO/revision/REV, and /REPO/resolve/REV/FILE."""

    folder: Path
    behaviour = "honest"
    asked: list[str]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        type(self).asked.append(f"{self.command} {self.path}")
        behaviour = type(self).behaviour
        if behaviour == "gated":
            self._refuse(403, "GatedRepo", "Access to model someone/tiny is restricted.")
        elif behaviour == "absent":
            self._refuse(401, "RepoNotFound", "Repository not found")
        elif behaviour == "no-such-revision":
            self._refuse(404, "RevisionNotFound", "Revision not found")
        elif behaviour == "broken":
            self._refuse(500, "", "internal error")
        elif "/tree/" in self.path:
            self._send([self._entry(path) for path in sorted(self.folder.iterdir())])
        elif "/api/models/" in self.path:
            files = [{"rfilename": path.name} for path in sorted(self.folder.iterdir())]
            asked = self.path.rsplit("/", 1)[1]
            commit = asked if len(asked) == 40 else COMMIT
            self._send({"id": "someone/tiny", "sha": commit, "siblings": files})
        else:
            self._file(body)

    def _file(self, body: bool) -> None:
        path = self.folder / self.path.rsplit("/", 1)[1]
        if not path.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        data = path.read_bytes()
        if type(self).behaviour == "truncated" and path.suffix == ".safetensors":
            sent = data[: len(data) // 2]
        else:
            sent = data
        self.send_response(200)
        self.send_header("X-Repo-Commit", self.path.split("/resolve/")[1].split("/")[0])
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(sent)
            if len(sent) < len(data):
                self.close_connection = True

    @staticmethod
    def _entry(path: Path) -> dict[str, object]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "type": "file",
            "path": path.name,
            "size": path.stat().st_size,
            "oid": digest[:40],
            "lfs": {"oid": digest, "size": path.stat().st_size, "pointerSize": 134},
        }

    def _send(self, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    tiny_model("clip").save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(folder)
    return folder


SCRIPT = """
import sys
from huggingface_hub import _tree_cache
from ingest.encoders import load_encoder
from store.errors import EncoderUnavailable
for name in sys.stdin:
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()  # as in a fresh process
    try:
        encoder = load_encoder(name.strip())
        print("OK", encoder.fingerprint, encoder.dimension)
    except EncoderUnavailable as error:
        print(error)
    print("said", flush=True)
"""


@pytest.fixture(scope="module")
def asker(model, tmp_path_factory):
    """The hub, and a process that asks it: one for all tests, for it takes long to start."""
    folder = tmp_path_factory.mktemp("asker")
    served = type("Served", (Hub,), {"cached": folder / "huggingface", "kept": folder / "cache"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.stderr = folder / "stderr"
    with served.stderr.open("wb") as stderr:
        served.asker = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={
                **{name: value for name, value in os.environ.items() if name[:3] not in OWN},
                "HOME": str(folder),
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
                "HF_HOME": str(served.cached),
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_OFFLINE": "0",
                "CXR_CACHE": str(served.kept),
            },
        )
    with served.asker:
        yield served
        served.asker.stdin.close()
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(asker, model):
    """An honest hub, and nothing of it in a cache."""
    asker.folder, asker.behaviour, asker.asked = model, "honest", []
    for folder in (asker.cached, asker.kept):
        shutil.rmtree(folder, ignore_errors=True)
    return asker


def ask(hub, name: str = "someone/tiny") -> str:
    """What the process says: one line, nothing on stderr."""
    hub.asker.stdin.write(f"{name}\n")
    hub.asker.stdin.flush()
    said = list(iter(hub.asker.stdout.readline, "said\n"))
    assert len(said) == 1, said
    assert hub.stderr.read_text() == ""
    return said[0].strip()


def test_an_honest_hub(hub, model):
    from ingest.encoders import load_encoder

    assert ask(hub) == f"OK {load_encoder(model).fingerprint} 8"
    assert not any("bin" in path or ".py" in path for path in hub.asked)


def test_a_gated_model(hub):
    hub.behaviour = "gated"
    said = ask(hub)
    assert "access is gated" in said and "https://huggingface.co/someone/tiny" in said
    assert "access is gated" in ask(hub, "medsiglip")


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("absent", "no such public model"),
        ("no-such-revision", "check the revision"),
        ("truncated", "connect once to download it, or pass a local folder"),
    ],
)
def test_refusals_are_one_line(hub, behaviour, says):
    hub.behaviour = behaviour
    said = ask(hub)
    assert "someone/tiny" in said and says in said


def test_a_repository_of_something_else(hub, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "README.md").write_text("nothing here")
    (other / "config.json").write_text('{"model_type": "gpt2", "n_embd": 8}')
    hub.folder = other
    assert "no model.safetensors" in ask(hub)


@pytest.mark.parametrize("layout", ["open_clip", "open_clip pickled", "timm", "pickled"])
def test_repositories_of_other_layouts(hub, tmp_path, model, layout, monkeypatch):
    from ingest.encoders import load_encoder
    from tests.ingest.test_brought import save_open_clip

    monkeypatch.setenv("CXR_CACHE", str(hub.kept))
    folder = tmp_path / "published"
    weights = "model.safetensors"
    if layout.startswith("open_clip"):
        weights = f"open_clip_{weights}"
        save_open_clip(folder, hf_tokenizer_name="someone/tiny")
        save_tokenizer(folder)
    elif layout == "timm":
        timm = pytest.importorskip("timm")
        tower = timm.create_model("mobilenetv3_small_050", num_classes=2)
        timm.models.save_for_hf(tower, folder, safe_serialization=True)
    else:
        shutil.copytree(model, folder)
    if "pickled" in layout:
        import torch
        from safetensors.torch import load_file

        name = weights.replace("model.safetensors", "pytorch_model.bin")
        torch.save(load_file(folder / weights), folder / name)
        (folder / weights).unlink()
    expected = load_encoder(folder)  # keeps pickled weights as safetensors, and says so
    hub.folder = folder
    assert ask(hub) == f"OK {expected.fingerprint} {expected.dimension}"
    assert "pickled" in layout or not any(".bin" in path for path in hub.asked)


def test_a_known_name_with_another_file(hub, tmp_path, model):
    """The hub sends a pickle that is not the published one: it is not opened."""
    source = tmp_path / "source"
    source.mkdir()
    for path in model.iterdir():
        if path.suffix == ".json":
            (source / path.name).write_bytes(path.read_bytes())
    (source / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    hub.folder = source
    said = ask(hub, "pubmed-clip")
    assert "has sha256" in said and "delete it and try again" in said
    assert any("26c0c67f6da303ad2a38909130bd35744ea93517" in path for path in hub.asked)


def test_a_pinned_commit_in_the_cache_needs_no_hub(hub):
    """``clip`` once fetched is found without asking again, even with the hub gone."""
    first = ask(hub, "clip")
    assert first.startswith("OK")
    hub.behaviour = "broken"
    hub.asked.clear()
    # the stand-in calls its commit otherwise: what was cached stands under the name asked for
    cached = hub.cached / "hub" / "models--openai--clip-vit-base-patch32"
    pinned = cached / "snapshots" / "c237dc49a33fc61debc9276459120b7eac67e7ef"
    if not pinned.exists():
        (cached / "snapshots" / COMMIT).rename(pinned)
    assert ask(hub, "clip") == first
    assert hub.asked == []


@pytest.mark.parametrize("lost", ["trees", "tokenizer.json", "model.safetensors"])
def test_a_pinned_commit_of_which_files_may_be_missing_is_fetched_again(hub, lost):
    """Such as one of which another program fetched a part, or that was broken off."""
    first = ask(hub, "clip")
    cached = hub.cached / "hub" / "models--openai--clip-vit-base-patch32"
    if lost == "trees":
        shutil.rmtree(cached / "trees")
        next(cached.glob("snapshots/*/tokenizer.json")).unlink()
    else:
        next(cached.glob(f"snapshots/*/{lost}")).unlink()
    hub.asked.clear()
    assert ask(hub, "clip") == first
    assert hub.asked
