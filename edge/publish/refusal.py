"""Why a broker cannot be used, in words that say what to do: the network's, TLS's and the broker's own reasons."""

from __future__ import annotations

import ssl
from pathlib import Path

from paho.mqtt.reasoncodes import ReasonCode

from edge.broker import PASSWORD_VARIABLE, BrokerAddress, Credentials
from edge.errors import InputError
from edge.files import read_regular

LONGEST_CA_FILE = 2**22
"""Bytes; all the authorities that browsers know fit into a quarter of a megabyte."""

UNSUPPORTED_VERSION, BAD_PASSWORD, NOT_AUTHORIZED, TAKEN_OVER = 0x84, 0x86, 0x87, 0x8E
"""MQTT 5 reason codes; paho gives the refusals of 3.1.1 by the same numbers."""


def why_not_reached(error: OSError | ValueError) -> str:
    """A failed connect."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted ({error.verify_message}): check the CA file and the host's name"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}): is this its TLS port?"
    if isinstance(error, ConnectionResetError):
        return "hung up on the TLS handshake: is this its TLS port?"
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection: is it running, and does it listen on this address?"
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    return f"cannot be reached ({(error.strerror if isinstance(error, OSError) else None) or error})"


def why_refused(reason: ReasonCode, credentials: Credentials | None) -> str:
    """A broker's answer that is no yes; the password never stands in it."""
    said = str(reason).lower()
    if reason.value not in (BAD_PASSWORD, NOT_AUTHORIZED):
        return f"refused the connection: {said}"
    how = f"user name and password (username and password_file under [mqtt] in edge.toml, or {PASSWORD_VARIABLE})"
    if credentials is None:
        return f"refused a client without a name ({said}): give {how}"
    without = "" if credentials.password is not None else " without a password"
    return f'refused user "{credentials.username}"{without} ({said}): check {how}'


def why_ended(reason: ReasonCode, client_id: str) -> str:
    """A broker's own end of a connection."""
    if reason.value == TAKEN_OVER:
        return why_thrown_out(client_id)
    return f"ended the connection: {str(reason).lower()}"


def why_thrown_out(client_id: str) -> str:
    """What two clients of one name do to each other; not every broker says it (Mosquitto 2.0 just hangs up)."""
    return f'another client may have the same name "{client_id}": give each device a name of its own'


def tls_context(address: BrokerAddress, ca_file: str | Path | None) -> ssl.SSLContext | None:
    """Return the TLS settings for an address, None without TLS.

    Raises:
        InputError: the CA file cannot be used, or is given for a connection without TLS.
    """
    if not address.tls:
        if ca_file is not None:
            raise InputError(
                f"CA file {ca_file}: broker {address.server} is without TLS: write mqtts:// or leave it away"
            )
        return None
    try:
        if ca_file is not None:
            read_regular(ca_file, LONGEST_CA_FILE)  # OpenSSL would wait for whoever writes to a named pipe
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"CA file {ca_file}: {why}: expected certificates in PEM form") from None
