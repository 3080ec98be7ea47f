"""Pseudonyms of patients and studies: salted hashes of their numbers.

The salt is 32 random bytes in a file of the user's own (``$CXR_SALT_FILE``, else in the user's data
folder), not in the gallery: who gets a copy of a gallery cannot try out all numbers. The same salt
gives a person the same name in every gallery of one user; a team shares the file to share names.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path

from store import UsageError, expanded

_salts: dict[Path, bytes] = {}
_lock = threading.Lock()


def pseudonym(kind: str, value: str) -> str:
    """A pseudonym of 16 hexadecimal digits that tells nothing without the salt.

    Args:
        kind: what it is a number of; the same number of another kind has another name.
        value: the number, as the header has it.

    Raises:
        UsageError: the salt file cannot be read or made, or is too short.
    """
    digest = hmac.new(_salt(), f"{kind}\0{value}".encode(errors="replace"), hashlib.sha256)
    return digest.hexdigest()[:16]


def salt_file() -> Path:
    """The path of the salt."""
    variable = os.environ.get("CXR_SALT_FILE")
    if variable:
        return expanded(variable)
    from platformdirs import user_data_path

    return user_data_path("cxr-retrieval", appauthor=False) / "salt"


def _salt() -> bytes:
    path = salt_file()
    with _lock:
        if path not in _salts:
            try:
                _salts[path] = _read_or_make(path)
            except OSError as error:
                raise UsageError(
                    f"the salt for patient numbers at {path} cannot be read or made "
                    f"({error.strerror}); set CXR_SALT_FILE to a file of yours"
                ) from error
        return _salts[path]


def keep_salt(salt: bytes) -> Path:
    """Put a salt in the user's own file, as one that came with a backup.

    Returns:
        The file, which may have held the same salt before.

    Raises:
        UsageError: there is another one, whose pseudonyms would not be found again.
    """
    path = salt_file()
    try:
        if not path.exists():
            _put(path, salt)
        check_salt(salt)
    except OSError as error:
        raise UsageError(f"cannot write the salt to {path}: {error.strerror}") from error
    return path


def check_salt(salt: bytes) -> None:
    """Refuse a salt where the user has another one, with UsageError."""
    path = salt_file()
    if path.exists() and path.read_bytes() != salt:
        raise UsageError(
            f"there is another salt at {path}, which other galleries may need: set CXR_SALT_FILE "
            "to a file of its own for this one"
        )


def _read_or_make(path: Path) -> bytes:
    if not path.exists():
        _put(path, secrets.token_bytes(32))
    salt = path.read_bytes()
    if len(salt) < 16:
        raise UsageError(
            f"the salt at {path} has {len(salt)} bytes, expected 16 or more; restore it from a "
            "copy, or remove it and ingest DICOM files again"
        )
    return salt


def _put(path: Path, salt: bytes) -> None:
    """Write a salt where none is, for its owner's eyes; one that is there meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(salt)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # unlike a rename, leaves the salt of a faster process alone
    except FileExistsError:
        pass
    finally:
        part.unlink()
