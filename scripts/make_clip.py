"""Makes the bundled clip from the bundled portrait: a print of it that moves, scales, turns, leaves and comes back.

The pictures are the same on every run; the file is H.264 where ffmpeg is installed and MPEG-4 by OpenCV elsewhere.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

DATA = Path(__file__).resolve().parent / "data"
SIZE = (640, 480)
FPS = 20
FACE = (225.0, 118.0)
"""Centre of the face in the portrait, pixels."""
FACE_HEIGHT = 115.0
"""Chin to hairline in the portrait, pixels."""
BORDER = 14
"""White border of the print, pixels of the portrait."""
FINER = 2
"""Frames are drawn at so many times their size and averaged down, so that edges do not crawl."""


@dataclass(frozen=True)
class Pose:
    """Where the print is at one moment.

    Attributes:
        time: seconds from the start.
        centre: centre of the face in the frame, pixels.
        height: height of the face, pixels.
        turn: turn in the plane, degrees, counter-clockwise.
        light: factor on the brightness of the whole frame.
    """

    time: float
    centre: tuple[float, float]
    height: float
    turn: float
    light: float


POSES = (
    Pose(0.0, (320, 200), 140, 0, 1.00),
    Pose(1.8, (225, 185), 95, -12, 0.88),
    Pose(3.4, (430, 215), 70, 10, 1.06),
    Pose(5.0, (320, 265), 220, 4, 1.12),
    Pose(6.2, (300, 235), 150, -20, 0.82),
    Pose(7.3, (880, 235), 115, -4, 0.90),  # out of the picture, to the right
    Pose(7.7, (880, 225), 115, 6, 0.95),
    Pose(9.1, (390, 220), 120, 20, 1.00),
    Pose(10.8, (250, 215), 165, -8, 1.14),
    Pose(12.0, (320, 200), 140, 0, 1.00),
)


def frame_count() -> int:
    """Number of frames in the clip."""
    return round(POSES[-1].time * FPS)


def pose_at(time: float) -> Pose:
    """Return the pose at `time` seconds, eased between the two poses around it."""
    after = next((i for i, pose in enumerate(POSES) if pose.time > time), len(POSES) - 1)
    a, b = POSES[after - 1], POSES[after]
    share = min(max((time - a.time) / (b.time - a.time), 0.0), 1.0)
    share = share * share * (3 - 2 * share)

    def mix(first: float, second: float) -> float:
        return first + (second - first) * share

    return Pose(
        time=time,
        centre=(mix(a.centre[0], b.centre[0]), mix(a.centre[1], b.centre[1])),
        height=float(np.exp(mix(np.log(a.height), np.log(b.height)))),  # a camera's approach looks even in the log
        turn=mix(a.turn, b.turn),
        light=mix(a.light, b.light),
    )


def wall(seed: int = 7) -> np.ndarray:
    """Return the background, a plastered wall: `(H, W, 3)` float32 BGR at the finer size."""
    rng = np.random.Generator(np.random.PCG64(seed))
    width, height = SIZE[0] * FINER, SIZE[1] * FINER
    texture = np.zeros((height, width), np.float32)
    for cells, strength in ((4, 9.0), (12, 5.0), (48, 2.5), (160, 1.5)):
        coarse = rng.standard_normal((cells * 3 // 4 + 1, cells + 1)).astype(np.float32)
        texture += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    down = np.linspace(12, -18, height, dtype=np.float32)[:, None]  # lit from above
    return np.clip((150 + texture + down)[..., None] + np.array([-14, 0, 8], np.float32), 0, 255)


def draw(portrait: np.ndarray, background: np.ndarray, pose: Pose) -> np.ndarray:
    """Draw one frame.

    Args:
        portrait: `(512, 512, 3)` uint8 BGR.
        background: what `wall` returns.
        pose: where the print is.

    Returns:
        `(480, 640, 3)` uint8 BGR.
    """
    picture = cv2.copyMakeBorder(portrait, *[BORDER] * 4, cv2.BORDER_CONSTANT, value=(238, 242, 244))
    scale = pose.height / FACE_HEIGHT
    matrix = cv2.getRotationMatrix2D((FACE[0] + BORDER, FACE[1] + BORDER), pose.turn, scale * FINER)
    matrix[:, 2] += np.array(pose.centre) * FINER - np.array(FACE) - BORDER
    size = (background.shape[1], background.shape[0])
    flags = cv2.INTER_CUBIC if scale * FINER >= 1 else cv2.INTER_AREA
    print_ = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    inside = cv2.warpAffine(np.ones(picture.shape[:2], np.float32), matrix, size)

    shifted = matrix.copy()
    shifted[:, 2] += 7 * FINER * scale
    shadow = cv2.warpAffine(np.ones(picture.shape[:2], np.float32), shifted, size)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 6 * FINER)
    frame = background * (1 - 0.35 * shadow[..., None])
    frame += (print_ - frame) * inside[..., None]
    frame = cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA) * pose.light
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def frames(portrait: np.ndarray) -> Iterator[np.ndarray]:
    """Draw the whole clip, frame by frame."""
    background = wall()
    for index in range(frame_count()):
        yield draw(portrait, background, pose_at(index / FPS))


def encode(pictures: Iterator[np.ndarray], path: Path) -> str:
    """Write the frames as an mp4 file and return the codec's name."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
        if not writer.isOpened():
            raise SystemExit(f"make_clip: OpenCV cannot write {path}")
        for picture in pictures:
            writer.write(picture)
        writer.release()
        return "mp4v"
    source = f"-f rawvideo -pix_fmt bgr24 -s {SIZE[0]}x{SIZE[1]} -r {FPS} -i -"
    target = "-an -c:v libx264 -preset veryslow -crf 24 -pix_fmt yuv420p -threads 1 -flags +bitexact -fflags +bitexact"
    command = [ffmpeg, "-y", "-v", "error", *source.split(), *target.split(), "-movflags", "+faststart", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for picture in pictures:
            process.stdin.write(picture.tobytes())
        process.stdin.close()
    if process.returncode:
        raise SystemExit(f"make_clip: ffmpeg could not write {path} (exit code {process.returncode})")
    return "h264"


def main() -> None:
    """Read the portrait, write the clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--portrait", type=Path, default=DATA / "astronaut.png")
    parser.add_argument("--out", type=Path, default=DATA / "portrait.mp4")
    arguments = parser.parse_args()
    portrait = cv2.imread(str(arguments.portrait))
    if portrait is None:
        raise SystemExit(f"make_clip: cannot read {arguments.portrait}: expected a picture")
    codec = encode(frames(portrait), arguments.out)
    print(f"{arguments.out.name}: {frame_count()} frames, {codec}, {arguments.out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
