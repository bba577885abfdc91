"""The kit inside a program: `for step in edge.watch("clip.mp4")`."""

from __future__ import annotations

from collections.abc import Iterator

from edge.config import Config
from edge.detect import load_configured
from edge.events import EventMaker, new_stream
from edge.loop import Loop, Step
from edge.model import load_model
from edge.sources import open_source


def watch(source: str, *, model: str | None = None, config: Config | None = None) -> Iterator[Step]:
    """Yield what each frame of a source shows: its faces, their emotions, and the events.

    Args:
        source: a camera index or device, a video file, an image, or a folder of images.
        model: model file; the one that ships with the kit when None.
        config: for everything else, as in `edge.toml`.

    Raises:
        InputError: source or model are missing or wrong.

    Example:
        >>> import edge
        >>> for step in edge.watch("scripts/data/astronaut.png"):
        ...     print([emotion.label for emotion in step.emotions])
        ['happy']
    """
    config = config or Config()
    classifier = load_model(model or config.model, threads=config.classify.threads or 1)
    detector = load_configured(config.detect)
    loop = Loop(detector, classifier, EventMaker(config.device, new_stream(), classifier.info.id), config)
    opened = open_source(source)
    try:
        while (frame := opened.read()) is not None:
            yield loop.step(frame)
    finally:
        opened.close()
