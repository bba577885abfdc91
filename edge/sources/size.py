"""How large a picture may be: what looks for faces takes some 40 bytes of memory a pixel, and seconds."""

from __future__ import annotations

MOST_PIXELS = 2**23
"""A picture of a file with more is made smaller: 4K is looked at whole, a telephone's 12 megapixels nearly so."""

MOST_FRAME_PIXELS = 2**24
"""A camera, stream or video whose frames have more is not taken: they would come faster than they can be looked at."""

MOST_DECODED_PIXELS = 2**25
"""A picture with more is not decoded whole: a JPEG at half its sides, a quarter or an eighth, another not at all."""


def why_too_large(width: float, height: float) -> str | None:
    """Say what is wrong with frames of this size, pixels; None where nothing is."""
    if width * height <= MOST_FRAME_PIXELS:
        return None
    most = MOST_FRAME_PIXELS // 10**6
    return f"its frames have {width * height / 1e6:.0f} megapixels, and at most {most} are taken"
