"""A DICOMweb server of the tests: Debian's Orthanc with its plugin, started on a free port.

Orthanc 1.10 listens on all addresses and cannot be told otherwise; it refuses all but this machine.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.films import chest, film

PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGINS = (
    *("/usr/share/orthanc/plugins/libOrthancDicomWeb.so",),
    *("/usr/lib/orthanc/libOrthancDicomWeb.so",),
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Orthanc:
    """A server with films; may be killed and started again on its port, with what it has."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        plugin = next((one for one in PLUGINS if Path(one).exists()), None)
        if not Path(PROGRAM).exists() or plugin is None:
            pytest.skip("no Orthanc with DICOMweb: apt-get install orthanc orthanc-dicomweb")
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.address = f"{self.root}/dicom-web"
        self._config, self._log = folder / "orthanc.json", folder / "orthanc.log"
        folder.mkdir(parents=True, exist_ok=True)
        database = str(folder / "database")
        told = {
            "Name": "films",
            "StorageDirectory": database,
            "IndexDirectory": database,
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [plugin],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **settings,
        }
        self._config.write_text(json.dumps(told))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Orthanc:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, str(self._config)], stdout=log, stderr=subprocess.STDOUT
            )
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return self
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                time.sleep(0.05)
        raise AssertionError(self._log.read_text())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def add(self, films: Iterable[bytes]) -> None:
        for one in films:
            wanted = urllib.request.Request(f"{self.root}/instances", one, method="POST")
            with urllib.request.urlopen(wanted, timeout=30) as answer:
                assert answer.status == 200


def instance(number: int, **tags: Any) -> bytes:
    """A film of one of some studies and patients, which its number tells."""
    study = f"1.2.3.{number // 2 + 1}"
    told = {
        "SOPInstanceUID": uid(number),
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.1",
        "PatientID": f"P{number // 3}",
        "PatientName": "Doe^Jane",
        "StudyDate": f"202401{number % 28 + 1:02d}",
        "StudyDescription": "Thorax PA",
        "PatientAge": "050Y",
        "PatientSex": "F",
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
    }
    return film(chest(number, 32), **{**told, **tags})


def uid(number: int) -> str:
    return f"1.2.826.0.1.{number + 1}"
