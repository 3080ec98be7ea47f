"""Client of object storage: the location of a gallery, its newest version, safe writing.

The table lives in the bucket, written and read by LanceDB. Two things need a client of our own: a
look at the newest version for the price of one request, and the probe for conditional writes.
Copies that can be made again (such as the saved mirror) are in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

from store.errors import StoreUnreachable, StoreUnsafe, UsageError
from store.files import TABLE, manifest_name, version_of

log = logging.getLogger("store")
T = TypeVar("T")

#: Proven by the tests, against a server of the tests.
PROVEN = ("s3",)
#: Handed to LanceDB as they are; nobody here has tried them.
UNTRIED = ("gs", "az")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
#: Of one request; LanceDB's own are 3 tries.
TRIES = 10
_PROBE = "_cxr/conditional-writes"
_VERSIONS = f"{TABLE}.lance/_versions/"


def scheme(uri: str) -> str:
    """``s3`` of ``s3://bucket/gallery``; empty for a path."""
    found, separator, _ = uri.partition("://")
    return found.lower() if separator else ""


def check_location(uri: str) -> None:
    """Refuse a location that is neither a path nor an object store that may be used."""
    kind = scheme(uri)
    if kind and kind not in (*PROVEN, *UNTRIED):
        why = (
            "; commits through DynamoDB are not supported, s3:// commits by conditional writes"
            if kind == "s3+ddb"
            else ""
        )
        raise UsageError(
            f"the store {uri!r} begins with {kind}://; expected a folder, or "
            f"{', '.join(f'{name}://' for name in (*PROVEN, *UNTRIED))}{why}"
        )
    if kind and not uri.partition("://")[2].strip("/"):
        raise UsageError(f"the store {uri!r} names no bucket; expected {kind}://BUCKET/gallery")
    if kind in UNTRIED:
        say_untried(kind)


@cache
def say_untried(kind: str) -> None:
    """Warn once a process of a kind of object store that nobody has tried."""
    log.warning("%s:// is handed to LanceDB as it is; nobody here has tried it", kind)


def options(uri: str) -> dict[str, str]:
    """LanceDB's storage options from the environment; it reads the credentials by itself."""
    found = {"client_max_retries": str(TRIES)}
    if scheme(uri) == "s3":
        endpoint = _first(_ENDPOINTS)
        if endpoint:
            found["aws_endpoint"] = endpoint
            if endpoint.startswith("http://"):
                found["allow_http"] = "true"
        found["aws_region"] = _first(_REGIONS) or "us-east-1"
    return found


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


# -- one request ------------------------------------------------------------------------


def newest(uri: str) -> tuple[int, str] | None:
    """Version and token of the newest manifest; None where there is no table."""
    import obstore

    with named_faults(uri):
        # Names count down from 2^64 - 1, and a listing is in order of names: the newest is first.
        for batch in obstore.list(client_of(uri), prefix=_VERSIONS):
            for entry in batch:
                number = version_of(entry["path"].rpartition("/")[2])
                if number is not None:
                    return number, _digest(entry)
    return None


def token(uri: str, version: int) -> str | None:
    """The store's digest of a version's manifest; None when the version is gone."""
    import obstore

    path = f"{_VERSIONS}{manifest_name(version)}"
    with named_faults(uri):
        try:
            return _digest(obstore.head(client_of(uri), path))
        except FileNotFoundError:
            return None


def _digest(entry: Any) -> str:
    return str(entry["e_tag"] or f"{entry['last_modified']} {entry['size']}").strip('"')


def size(uri: str) -> int:
    """Bytes of all objects of a gallery, of all versions that are kept."""
    import obstore

    with named_faults(uri):
        return sum(entry["size"] for batch in obstore.list(client_of(uri)) for entry in batch)


# -- two writers -----------------------------------------------------------------------------------


def check_writable(uri: str) -> None:
    """Refuse to write where a second writer could overwrite a commit. Once per process and place.

    LanceDB commits by creating a file that must not exist yet (``If-None-Match: *``). A server that
    ignores that condition lets both of two writers believe that they committed.

    Raises:
        StoreUnsafe: the server ignores the condition, or does not know it.
        StoreUnreachable: it does not answer, or refuses.
    """
    probe(uri, tuple(sorted(options(uri).items())))


@cache
def probe(uri: str, _options: tuple[tuple[str, str], ...]) -> None:
    """See check_writable; asked once a process and set of options."""
    import obstore
    from obstore.exceptions import AlreadyExistsError, NotSupportedError

    client = client_of(uri)
    reason = "ignores"
    with named_faults(uri):
        for _ in range(2):  # the object stays, so that the next process asks once
            try:
                obstore.put(client, _PROBE, b"kept on purpose", mode="create")
            except AlreadyExistsError:
                return
            except (NotSupportedError, NotImplementedError):
                reason = "does not know"
                break
        with contextlib.suppress(Exception):
            obstore.delete(client, _PROBE)
    raise StoreUnsafe(
        f"the object store of {uri} {reason} conditional writes (If-None-Match): of two writers at "
        "once one would lose its rows without a word, so nothing is written; use a server that "
        "has them (Amazon S3, MinIO, Ceph, R2 do), or a folder"
    )


# -- reaching it -----------------------------------------------------------------------------------


def client_of(uri: str) -> Any:
    """The obstore client of a location, with the options of the environment."""
    return client_with(uri, tuple(sorted(options(uri).items())))


@cache
def client_with(uri: str, given: tuple[tuple[str, str], ...]) -> Any:
    """The obstore client of a location, with these options; made once.

    Raises:
        UsageError: obstore is not installed.
    """
    try:
        from datetime import timedelta

        from obstore.store import from_url
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a gallery on object storage ({uri}) needs the extra s3: "
            "pip install 'cxr-retrieval[s3]'"
        ) from error
    config: dict[str, Any] = {key: value for key, value in given if key.startswith("aws_")}
    return from_url(
        uri,
        **config,
        client_options={"allow_http": dict(given).get("allow_http") == "true"},
        retry_config={"max_retries": TRIES, "retry_timeout": timedelta(minutes=3)},
    )


_REASONS = (
    (r"NoSuchBucket|container does not exist", "the bucket does not exist; make it first"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|InvalidToken|ExpiredToken"
        r"|status(?: code)?: 40[13]|Unauthenticated|PermissionDenied",
        "access is refused; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and "
        "what they may do there",
    ),
    (
        r"169\.254\.|[Cc]redential",
        "no credentials are found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (r"status(?: code)?: 5\d\d|SlowDown", "it keeps failing; try again later"),
    (
        r"HTTP error|error sending request|[Cc]onnect|timed out|timeout|reset|dns|RetryError",
        "it does not answer; check AWS_ENDPOINT_URL, AWS_REGION and the network",
    ),
)


@contextlib.contextmanager
def named_faults(uri: str) -> Iterator[None]:
    """Turn refusals and failures of an object store into StoreUnreachable.

    Does nothing for a folder, nor with errors that the object store has no part in.
    """
    if not scheme(uri):
        yield
        return
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        raise StoreUnreachable(
            f"the object store of {uri}: {reason}. What was acknowledged is there; then run the "
            "same command again"
        ) from error


def retry_conflicts(handle: Any, work: Callable[[], T], attempts: int = 6) -> T:
    """Do work on the newest version of a table, again where another writer's commit came first.

    Args:
        handle: the table; brought to the newest version before each attempt.
        work: a commit; not yet done where another came first.
        attempts: at most.
    """
    for attempt in range(attempts):
        handle.checkout_latest()  # without it a conflict repeats for ever on this handle
        try:
            return work()
        except RuntimeError as error:
            if not is_conflict(error) or attempt == attempts - 1:
                raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311
    raise AssertionError("unreachable")


def is_conflict(error: BaseException) -> bool:
    """Whether another writer's commit came first and this one must be made anew."""
    text = str(error).lower()
    return "conflict" in text or "incompatible transaction" in text


def reason_of(error: BaseException | None) -> str | None:
    """Reason of an object store's error, with the remedy; None for another kind of error."""
    while error is not None:
        if type(error).__module__.startswith("obstore") or isinstance(
            error, RuntimeError | OSError | ValueError
        ):
            text = str(error)
            for pattern, reason in _REASONS:
                if re.search(pattern, text):
                    return reason
        error = error.__cause__
    return None
