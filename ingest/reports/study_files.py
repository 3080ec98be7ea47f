"""Reports of studies as MIMIC-CXR publishes them: a text file a study, in folders or in a zip."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ingest.images.file_tree import read_plain
from store import BadImage, BadSource, expanded

#: Longest report that is read, in bytes.
MAX_BYTES = 1 << 20
_STUDY = re.compile(r"(?:^|/)p(\d{8})/s(\d{8})\.txt$")


class StudyFiles:
    """Text files of reports by patient and study.

    Args:
        place: a folder that holds ``files/p10/p10000032/s50414267.txt``, or a part of that path;
            or the zip of it.

    Raises:
        BadSource: it is neither, or cannot be read.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = expanded(place)
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[tuple[str, str], zipfile.ZipInfo] = {}
        if self.place.is_dir():
            self.place = self.place.resolve()
            return
        try:
            self._zip = zipfile.ZipFile(self.place)
        except (OSError, zipfile.BadZipFile) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadSource(
                f"{self.place} cannot be read ({reason}); --reports takes the folder with "
                "files/p10/p10000032/s50414267.txt, or mimic-cxr-reports.zip"
            ) from error
        for member in self._zip.infolist():
            if found := _STUDY.search(member.filename):
                self._members[found[1], found[2]] = member

    def text(self, patient: str, study: str) -> str | None:
        """The report of a study; None where there is no file of it.

        Args:
            patient: number, e.g. ``10000032``.
            study: number.

        Raises:
            BadSource: its file cannot be read.
        """
        data = self._packed(patient, study) if self._zip else self._plain(patient, study)
        if data is None:
            return None
        if len(data) > MAX_BYTES:
            raise BadSource(f"{self.place}: the report s{study}.txt has more than 1 MiB")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("cp1252", errors="replace")

    def _packed(self, patient: str, study: str) -> bytes | None:
        member = self._members.get((patient, study))
        if member is None:
            return None
        assert self._zip is not None
        try:
            with self._zip.open(member) as file:
                return file.read(MAX_BYTES + 1)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise BadSource(f"{self.place}: {member.filename} cannot be read ({error})") from error

    def _plain(self, patient: str, study: str) -> bytes | None:
        for path in self._candidates(patient, study):
            try:
                return read_plain(path)
            except BadImage as error:
                if error.reason != "missing":
                    raise BadSource(str(error)) from error
        return None

    def _candidates(self, patient: str, study: str) -> Iterator[Path]:
        """Where a report may lie, by the part of the publisher's path that the folder holds."""
        whole = ["mimic-cxr-reports", "files", f"p{patient[:2]}", f"p{patient}", f"s{study}.txt"]
        named = self.place.name
        if named in (f"p{patient}", f"p{patient[:2]}"):
            yield self.place.joinpath(*whole[whole.index(named) + 1 :])
            return
        for start in range(4):
            yield self.place.joinpath(*whole[start:])
