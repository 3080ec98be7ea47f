"""Addresses of a DICOMweb service and of the films and studies in it; what they may hold."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from store import UsageError

#: Hosts that are this machine, so that nobody can listen on the way.
_HERE = ("127.0.0.1", "::1", "localhost")
#: What a UID may be (PS3.5, 9.1).
UID = re.compile(r"[0-9.]{1,64}")
_INSTANCE = re.compile(r"(https?://.+/studies/[0-9.]{1,64})/series/[0-9.]{1,64}/instances/[0-9.]+")


def check_address(url: str, insecure_http: bool = False) -> str:
    """The address of a service as links are built from it, without a slash at its end.

    Args:
        url: as the user gave it, up to where ``/studies`` follows.
        insecure_http: whether films and token may travel where others on the way can read them.

    Raises:
        UsageError: no http or https address; one with a name and password in it, which would be
            stored with every film; http to another machine. The message never repeats a password.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        shown = "" if "@" in url else f" {url!r:.200}"  # what stands before it may be a password
        raise UsageError(
            f"no address of a DICOMweb service:{shown}; expected one such as "
            "https://pacs.example.org/dicom-web"
        )
    named = f"{host}:{port}" if port else host
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the address of {named} holds a name or password, which would be stored with every "
            "film; leave it out and set CXR_DICOMWEB_TOKEN, or CXR_DICOMWEB_USER and "
            "CXR_DICOMWEB_PASSWORD"
        )
    if parts.query or parts.fragment:
        raise UsageError(f"the address of {named} ends in a query; write it as --query KEY=VALUE")
    if ":" in host:  # the client takes no IPv6 address
        raise UsageError(f"{host} is an IPv6 address; write the name of the machine")
    if parts.scheme == "http" and host not in _HERE and not insecure_http:
        raise UsageError(
            f"http to {named}: films with names of patients and your token could be read on the "
            "way; use https, or --insecure-http where the network itself is safe"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def instance_link(address: str, study: str, series: str, instance: str) -> str:
    """The address of a film, by which a row names its source."""
    return f"{address}/studies/{study}/series/{series}/instances/{instance}"


def study_link(source: str) -> str | None:
    """The address of the study that a film from a DICOMweb service belongs to.

    Args:
        source: of a row.

    Returns:
        None for films from anywhere else.
    """
    found = _INSTANCE.fullmatch(source)
    return found[1] if found else None
