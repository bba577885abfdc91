"""Where the MQTT broker is and who we are to it: the URL, its prefix, and credentials that never stand in a URL."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from edge.errors import InputError
from edge.files import read_regular

DEFAULT_PREFIX = "emotion"
DEFAULT_PORTS: Mapping[str, int] = {"mqtt": 1883, "mqtts": 8883}
PASSWORD_VARIABLE = "EDGE_MQTT_PASSWORD"  # noqa: S105 (the name of the variable)
LONGEST_LEVEL = 200
"""Bytes of UTF-8 in one topic level; MQTT allows 65,535 for the whole topic."""

LONGEST_USERNAME = 1000
LONGEST_PASSWORD_FILE = 2**16
"""Bytes; MQTT allows a password as many."""

_EXAMPLE = "expected mqtt://HOST[:PORT][/PREFIX], or mqtts:// for TLS"


@dataclass(frozen=True)
class BrokerAddress:
    """An MQTT broker and the part of its topic tree that is ours.

    Attributes:
        host: name or address; an IPv6 address stands without brackets.
        port: TCP port, 1 to 65535.
        prefix: one or more topic levels, `emotion` or `home/emotion`, without a slash at either end.
        tls: whether the connection is encrypted (`mqtts`).
    """

    host: str
    port: int = 1883
    prefix: str = DEFAULT_PREFIX
    tls: bool = False

    @property
    def server(self) -> str:
        """`mqtt://host:port`, for messages about the connection."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    def __str__(self) -> str:
        """The URL that `parse_broker` reads back to the same address."""
        return f"{self.server}/{quote(self.prefix)}"


@dataclass(frozen=True)
class Credentials:
    """User name and password for a broker; its repr hides the password.

    Attributes:
        username: the name.
        password: the password, or None for a broker that asks for a name only.
    """

    username: str
    password: str | None = field(default=None, repr=False)


def parse_broker(url: str) -> BrokerAddress:
    """Read `mqtt://host[:port][/prefix]` or `mqtts://…`.

    The prefix may have several levels and may be percent-encoded; an IPv6 host stands in brackets.

    Raises:
        InputError: another scheme, no host, a bad port, a user or password, a query, or a prefix with a wildcard, an
            empty level or a control character. The message never shows a password.
    """
    shown = _without_secrets(url)
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in DEFAULT_PORTS:
        raise InputError(f"broker {shown}: {_EXAMPLE}")
    # Any "@" counts: a password may hold "/", and "mqtt://bob:1/x@host" must not pass as host "bob", prefix "x@host".
    if "@" in rest:
        raise InputError(
            f"broker {shown}: a URL must not hold a user or password: set username and password_file under [mqtt] in "
            f"edge.toml, or the environment's {PASSWORD_VARIABLE} (an @ in the prefix is written %40)"
        )
    if "?" in rest:
        raise InputError(f"broker {shown}: a broker URL takes no ?options: {_EXAMPLE}")
    authority, _, path = rest.partition("/")
    host, port = _host_and_port(authority, scheme, shown)
    if not path:
        return BrokerAddress(host, port, DEFAULT_PREFIX, scheme == "mqtts")
    try:
        prefix = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise InputError(f"broker {shown}: its prefix is not UTF-8 when percent-decoded") from None
    for level in prefix.split("/"):
        check_level(level, f"broker {shown}: a level of the prefix")
    if prefix.startswith("$"):
        raise InputError(f"broker {shown}: a prefix must not start with $, which brokers keep for themselves")
    return BrokerAddress(host, port, prefix, scheme == "mqtts")


def check_level(name: str, what: str) -> None:
    """Make sure that a name can be one level of an MQTT topic.

    Args:
        name: a device's, camera's or prefix level's name.
        what: what it is, for the message: `"camera"`.

    Raises:
        InputError: it is empty, longer than 200 bytes, holds `/`, `+`, `#` or an unprintable character, or has a space
            at an end.
    """
    if not name:
        raise InputError(f"{what} is empty: give it a name, for example front")
    bad = sorted({letter for letter in name if letter in "/+#" or not letter.isprintable()})
    if bad:
        found = " ".join(letter if letter in "/+#" else f"U+{ord(letter):04X}" for letter in bad)
        raise InputError(
            f'{what} "{_printable(name)}": {found} cannot stand in a topic level: use letters, digits, dash, underscore'
        )
    if name != name.strip():
        raise InputError(f"{what} {name!r}: it has a space at an end: take it away")
    if len(name.encode()) > LONGEST_LEVEL:
        raise InputError(f"{what} {name[:20]!r}…: longer than {LONGEST_LEVEL} bytes: choose a shorter name")


def read_credentials(
    username: str | None, password_file: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> Credentials | None:
    """Put the credentials together from the name and a password file or the environment.

    Args:
        username: the name, or None for a broker that lets everyone in.
        password_file: file whose first line is the password; it wins over the environment.
        environ: where `EDGE_MQTT_PASSWORD` is looked up; the process's environment when None.

    Returns:
        The credentials, or None without a user name.

    Raises:
        InputError: a password file without a user name, or one that is missing, unreadable or empty.
    """
    if username and (len(username.encode(errors="replace")) > LONGEST_USERNAME or not username.isprintable()):
        raise InputError(f"username {username[:20]!a}: give at most {LONGEST_USERNAME} printable characters")
    if not username:
        if password_file is not None:
            raise InputError(f"password file {password_file}: a password needs a user name: set username beside it")
        return None
    if password_file is None:
        return Credentials(username, (os.environ if environ is None else environ).get(PASSWORD_VARIABLE) or None)
    try:
        lines = read_regular(password_file, LONGEST_PASSWORD_FILE).decode().splitlines()
    except OSError as error:
        raise InputError(f"password file {password_file}: {error.strerror or error}: make it readable") from None
    except UnicodeDecodeError:
        raise InputError(f"password file {password_file}: not text in UTF-8") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"password file {str(password_file)!a}: {error}") from None
    if not lines or not lines[0]:
        raise InputError(f"password file {password_file}: its first line is empty; expected the password there")
    return Credentials(username, lines[0])


def _host_and_port(authority: str, scheme: str, shown: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; the scheme's own port where none is given."""
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", authority, re.DOTALL)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise InputError(f"broker {shown}: what stands in brackets is no IPv6 address") from None
    else:
        if authority.count(":") > 1:
            raise InputError(f"broker {shown}: an IPv6 address stands in brackets, as in mqtt://[::1]:1883")
        host, colon, given = authority.partition(":")
        port = given if colon else None
        if not host:
            raise InputError(f"broker {shown}: it names no host: {_EXAMPLE}")
        _check_host(host, shown)
    if port is None:
        return host, DEFAULT_PORTS[scheme]
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise InputError(f"broker {shown}: its port is no number from 1 to 65535")
    return host, int(port)


def _check_host(host: str, shown: str) -> None:
    """Refuse what no resolver takes, so that the connection's thread meets only errors of the network."""
    try:
        host.encode("idna")
    except UnicodeError:
        fits = False
    else:
        fits = all(letter.isalnum() or letter in ".-_" for letter in host)
    if not fits:
        raise InputError(f"broker {shown}: its host is no name or address of a machine")


def _without_secrets(url: str) -> str:
    """The URL fit to be shown: what stands before an `@`, in a query, or as a port that is no number is hidden."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    rest, query, _ = rest.partition("?")
    if query:
        rest += "?***"
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    # "mqtt://user:secret" reads as a host with a bad port.
    if colon and not authority.endswith("]") and not re.fullmatch(r"-?[0-9]*", port):
        authority = f"{host}:***"
    return _printable(scheme + separator + authority + slash + path)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
