"""What a person may call a source: of which kind it is, and how it is shown without the secrets in it."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

from edge.broker import Credentials
from edge.errors import InputError

Kind = Literal["usb", "csi", "network", "file"]

SCHEMES = ("rtsp", "rtsps", "http", "https")
"""What a stream over the network may begin with."""

_MISTYPED = re.compile(rf"\s*({'|'.join(SCHEMES)})\s*(:|//)", re.IGNORECASE)
"""What is meant as a URL, by its beginning, whether it is one or not."""

_SECRET = re.compile(r"((?:pass\w*|pwd|token|key|secret|auth\w*)=)[^&/]*", re.IGNORECASE)


def kind_of(source: str) -> Kind:
    """Tell the kind of a source by its name alone.

    Raises:
        InputError: the name is empty or no plain text, or a URL of a scheme that is not read.
    """
    if not source or not _encodable(source):
        raise InputError(f"source {shown(source)!a}: give a camera, a file or a folder whose name is plain text")
    if re.fullmatch(r"[0-9]{1,4}|/dev/video[0-9]+|/dev/v4l/by-(id|path)/[^/]+", source):
        return "usb"
    if re.fullmatch(r"csi(:[0-9]{1,2})?", source):
        return "csi"
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", source)
    if scheme is None and _MISTYPED.match(source):
        raise InputError(f"source {shown(source)}: a stream is written {SCHEMES[0]}://HOST[:PORT]/PATH")
    if scheme is None:
        return "file"
    if scheme[1].lower() not in SCHEMES:
        raise InputError(
            f"source {shown(source)}: {scheme[1]}:// is not read; give a camera, a file, a folder, or a URL that "
            f"begins with {', '.join(name + '://' for name in SCHEMES)}"
        )
    authority = re.split(r"[/?#]", source[scheme.end() :], maxsplit=1)[0]
    if not authority.rpartition("@")[2].partition(":")[0]:
        raise InputError(f"source {shown(source)}: it names no host: expected {scheme[1]}://HOST[:PORT]/PATH")
    return "network"


def shown(source: str) -> str:
    """The source fit to be shown: in a URL the password, the query, and what its path calls a password are ***.

    What is no URL but might be meant as one is hidden up to its last "@".
    """
    scheme, separator, rest = source.partition("://")
    if not separator:
        return _shown_mistyped(source)
    rest, query, options = rest.partition("?")
    if "@" in options and ":" in rest:  # the question mark is a password's
        return f"{scheme}{separator}***@{_without_query(options.rpartition('@')[2])}"
    # Up to the last "@": a password that holds "/" or "@" itself is hidden whole.
    user, at, place = rest.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        user = f"{name}:***" if colon else name
    else:
        host, colon, port = place.partition("/")[0].rpartition(":")
        if colon and not port.endswith("]") and not re.fullmatch("[0-9]*", port):  # "rtsp://bob:secret" names no host
            place = f"{host}:***"
    place = _SECRET.sub(r"\1***", place)
    return scheme + separator + user + at + place + ("?***" if query else "")


def _shown_mistyped(source: str) -> str:
    before, at, after = source.rpartition("@")
    if at and (":" in before or "//" in before):
        return f"***@{_without_query(after)}"
    return _without_query(source) if _MISTYPED.match(source) else source


def _without_query(place: str) -> str:
    place, query, _ = place.partition("?")
    return _SECRET.sub(r"\1***", place) + ("?***" if query else "")


def with_credentials(url: str, credentials: Credentials | None) -> str:
    """The URL with user name and password in it, percent-encoded, as FFmpeg wants them.

    Raises:
        InputError: the URL holds a user already.
    """
    if credentials is None:
        return url
    scheme, _, rest = url.partition("://")
    if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
        raise InputError(f"source {shown(url)}: it holds a user, and username is set beside it: keep one of them")
    password = "" if credentials.password is None else ":" + quote(credentials.password, safe="")
    return f"{scheme}://{quote(credentials.username, safe='')}{password}@{rest}"


def _encodable(text: str) -> bool:
    """Whether a name is UTF-8 throughout: OpenCV dies of one that is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
