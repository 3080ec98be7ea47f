"""A copy that is made as docs/copying.md says is a gallery, also while others write."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from store import Gallery
from store.table import object_storage
from tests.store import bucket, mixed
from tests.store.bucket import Proxy, fresh_proxy, shared_server  # noqa: F401 - fixtures
from tests.store.rows import STAMP, make_rows, random_vectors

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "copying.md").read_text("utf-8")


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock of util-linux")
def test_a_folder_while_it_is_written(tmp_path: Path) -> None:
    (command,) = [line.strip() for line in TEXT.splitlines() if line.startswith("    flock ")]
    words = shlex.split(command)
    assert words[0] == "flock" and words[-2:] == ["data/gallery", "copy"]
    Gallery.create(tmp_path / "data" / "gallery", STAMP)
    with mixed.at_work(tmp_path / "data" / "gallery", "ingest-0") as steps:
        for number in range(2):
            done = steps()
            subprocess.run([*words[:-1], f"copy{number}"], cwd=tmp_path, check=True)
            copy = Gallery.open(tmp_path / f"copy{number}")
            assert copy.check() == []
            assert mixed.held(copy) in mixed.states("ingest-0", done + 200)[done:]


def test_a_bucket_while_it_is_written(server: int, proxy: Proxy) -> None:
    import obstore

    assert TEXT.index("_versions s3://other") < TEXT.index("--exclude 'gallery.lance/_versions/*'")
    here, there = bucket.make_bucket(server), bucket.make_bucket(server)
    gallery = Gallery.create(here, STAMP)
    gallery.upsert(make_rows(random_vectors(6), thumbnail=None))
    source, target = (object_storage.client_of(uri) for uri in (here, there))

    def copy(versions: bool) -> None:
        for batch in obstore.list(source):
            for entry in batch:
                if ("/_versions/" in entry["path"]) == versions:
                    obstore.put(target, entry["path"], obstore.get(source, entry["path"]).bytes())

    copy(versions=True)
    gallery.upsert(make_rows(random_vectors(6, 1), thumbnail=None))  # another writer, meanwhile
    gallery.delete(ids=["set/test/0"])
    gallery.optimize()
    copy(versions=False)
    found = Gallery.open(there)
    assert found.check() == []
    assert (len(found), len(gallery)) == (6, 5)
