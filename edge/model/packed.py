"""The metadata of a TFLite file, packed into the file itself: a zip archive behind the graph, where no runtime looks.

TensorFlow keeps a model's associated files there too; `unzip -p model.tflite emotion_edge.json` shows it. Beside the
metadata lies the graph's sha256: a runtime does not verify a graph before it walks through it, and a damaged one ends
the process. Standard library alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping

from edge.errors import InputError

MEMBER = "emotion_edge.json"
"""The archive's one file: a JSON object of text by key."""

GRAPH_SHA256 = "graph_sha256"
"""The key that `pack` adds and `unpack` takes out again: sha256 of what lies before the archive, in hex."""

LARGEST = 1 << 20
"""Bytes that metadata may take: a thousand times what it does."""

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can state. Each file bears it, so that the same model gives the same bytes."""

DAMAGED = (
    OSError, EOFError, ValueError, KeyError, IndexError, OverflowError, RecursionError, RuntimeError,
    zipfile.BadZipFile, struct.error, zlib.error,
)  # fmt: skip
"""What zipfile and json raise for bytes that are not what they should be (a locked file is a RuntimeError)."""

PACK_ONE = 'make one with "edge calibrate"'


def pack(graph: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a TFLite file with this metadata in it; what was packed into it before goes.

    Args:
        graph: the TFLite file's bytes, with or without metadata.
        metadata: key to text. The same graph and metadata give the same bytes everywhere.
    """
    bare = graph[: _graph_length(graph)]
    values = {**metadata, GRAPH_SHA256: hashlib.sha256(bare).hexdigest()}
    entry = zipfile.ZipInfo(MEMBER, EARLIEST)
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, wherever this runs
    file = io.BytesIO(bare)
    with zipfile.ZipFile(file, "a") as archive:  # stored, not deflated: zlib's versions differ in their output
        archive.writestr(entry, json.dumps(values, indent=2, sort_keys=True) + "\n", zipfile.ZIP_STORED)
    return file.getvalue()


def unpack(data: bytes, name: str) -> dict[str, str]:
    """Return the metadata of a TFLite file, after holding the graph against its hash.

    Args:
        data: the file's bytes.
        name: what stands for it in errors.

    Raises:
        InputError: there is no metadata, it is damaged, too large or no text by key; or the graph is damaged.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entry = archive.getinfo(MEMBER)
    except DAMAGED:
        raise InputError(f"model {name} has no metadata packed into it, or was cut off: {PACK_ONE}") from None
    if entry.file_size > LARGEST:
        raise InputError(f"model {name}: its metadata is {entry.file_size:,} bytes, at most {LARGEST:,} are read")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"model {name}: its metadata is packed in a way that is not read (only stored or deflated)")
    try:
        with archive.open(entry) as file:
            values = json.loads(file.read(LARGEST).decode())
    except DAMAGED as error:
        raise InputError(f"model {name}: its metadata is damaged ({str(error)[:100]}): {PACK_ONE}") from None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise InputError(f"model {name}: its metadata is no JSON object of text by key: {PACK_ONE}")
    expected = values.pop(GRAPH_SHA256, None)
    if expected is None:
        raise InputError(f'model {name} has no key "{GRAPH_SHA256}" in its metadata: {PACK_ONE}')
    if hashlib.sha256(data[: _graph_length(data)]).hexdigest() != expected:
        raise InputError(f"model {name} is damaged (its graph has another sha256 than when it was made): copy it anew")
    return values


def _graph_length(data: bytes) -> int:
    """Return how many bytes lie before the archive; all of them where there is none."""
    try:
        starts = [entry.header_offset for entry in zipfile.ZipFile(io.BytesIO(data)).infolist()]
    except DAMAGED:
        return len(data)
    start = min(starts, default=len(data))
    return start if data[start : start + 4] == b"PK\x03\x04" else len(data)
