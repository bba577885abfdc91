"""Alignment of a data set: nothing found first, then one real face at many angles, and a folder that goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import EDGE, edge_train, folder_of_pictures

from edge.align import Crop
from edge.detect import load_detector
from edge.errors import InputError
from train.alignment import SHARD, align_images, align_set, crop_of, read_aligned, use_aligned
from train.datasets import FaceSet, open_faces
from train.datasets.split import split_faces
from train.framing import Framing

TEMPLATE = np.array([[0.32, 0.38], [0.68, 0.38], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]], np.float32)
CROP = Crop(96, TEMPLATE, 1.0)


@pytest.fixture(scope="module")
def turned(portrait: Path) -> np.ndarray:
    """One real face as seven 64x64 gray pictures, cut tightly at angles from -24 to 24 degrees."""
    image = cv2.imread(str(portrait))
    (face,) = load_detector().detect(image)
    x1, y1, x2, y2 = face.box
    centre, side = ((x1 + x2) / 2, (y1 + y2) / 2), max(x2 - x1, y2 - y1)
    crops = []
    for angle in range(-24, 25, 8):
        matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, 64 / side)
        matrix[:, 2] += 32 - np.array(centre)
        crops.append(cv2.cvtColor(cv2.warpAffine(image, matrix, (64, 64)), cv2.COLOR_BGR2GRAY))
    return np.stack(crops)


def face_set(images: np.ndarray) -> FaceSet:
    """The pictures with labels that do not matter."""
    count = len(images)
    names = np.array([f"train/happy/{index}.png" for index in range(count)])
    return FaceSet(images, np.arange(count) % 7, names, np.full(count, "train"))


def test_no_picture_and_no_face() -> None:
    assert align_images(np.zeros((0, 48, 48), np.uint8), load_detector(), CROP).images.shape == (0, 96, 96, 3)
    blank = np.full((2, 48, 48), 90, np.uint8)
    aligned = align_images(blank, load_detector(), CROP)
    assert not aligned.found.any()
    assert (aligned.images == 90).all(), "the whole picture stands in"


def test_turned_faces_come_out_upright_and_alike(turned: np.ndarray) -> None:
    aligned = align_images(turned, load_detector(), CROP)
    assert aligned.found.all()
    middle = aligned.images[3, ..., 0].astype(float)
    for index in (0, 1, 2, 4, 5, 6):
        before = np.corrcoef(turned[3].ravel().astype(float), turned[index].ravel())[0, 1]
        after = np.corrcoef(middle.ravel(), aligned.images[index, ..., 0].ravel())[0, 1]
        assert after > max(before, 0.8), f"picture {index}: {before:.2f} before, {after:.2f} after"
    # The landmarks of what came out lie on the template.
    for crop in aligned.images:
        framed = cv2.copyMakeBorder(cv2.resize(crop, (160, 160)), 40, 40, 40, 40, cv2.BORDER_REPLICATE)
        (face,) = load_detector().detect(np.ascontiguousarray(framed[..., ::-1]))
        assert np.abs((face.landmarks - 40) / 160 - TEMPLATE).max() < 0.08


def test_the_folder_goes_on_and_is_read_back(turned: np.ndarray, tmp_path: Path) -> None:
    images = np.concatenate([turned] * (SHARD // len(turned) + 1))
    faces, framing = face_set(images), Framing(CROP, 1, 1, 0.1)

    class Dying:
        """A detector that dies in the second shard."""

        name = "mtcnn"

        def __init__(self) -> None:
            self.real, self.calls = load_detector(), 0

        def detect(self, image: np.ndarray) -> object:
            self.calls += 1
            if self.calls > SHARD + 2:
                raise KeyboardInterrupt
            return self.real.detect(image)

    with pytest.raises(KeyboardInterrupt):
        align_set(faces, tmp_path / "a", Dying(), framing)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"00001\.npz: missing or damaged"):
        read_aligned(tmp_path / "a")
    first = (tmp_path / "a" / "00000.npz").stat().st_mtime_ns
    whole = align_set(faces, tmp_path / "a", load_detector(), framing)
    assert (tmp_path / "a" / "00000.npz").stat().st_mtime_ns == first, "what was done is not done again"
    described, again = read_aligned(tmp_path / "a")
    assert np.array_equal(again.images, whole.images)
    assert np.array_equal(crop_of(described).template, CROP.template)
    (tmp_path / "a" / "00001.npz").write_bytes(b"half a file")
    repaired = align_set(faces, tmp_path / "a", load_detector(), framing)
    assert np.array_equal(repaired.images, whole.images)

    split = split_faces(faces)
    used = use_aligned(faces, split, tmp_path / "a")
    assert used.dev.names.tolist() == split.dev.names.tolist()
    assert used.dev.gray
    assert used.dev.images.shape[1:] == (96, 96)
    row = faces.names.tolist().index(used.dev.names[5])
    assert np.array_equal(used.dev.images[5], whole.images[row, ..., 0])

    other = face_set(images[:, ::-1])
    with pytest.raises(InputError, match="crops of other pictures"):
        use_aligned(other, split, tmp_path / "a")
    with pytest.raises(InputError, match="crops of other faces"):
        align_set(other, tmp_path / "a", load_detector(), framing)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "not readable"), ("[]", "does not say"), ("{}", "does not say"), ("{", "not readable")]
)
def test_no_folder_of_crops(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "align.json").write_text(content)
    with pytest.raises(InputError, match=says):
        read_aligned(tmp_path)


def test_as_a_person_does_it(shared_data: Path, tmp_path: Path) -> None:
    """280 real faces: align, look, train on them, export with the crop that they were made with."""
    source = tmp_path / "faces"
    faces = open_faces(shared_data / "fer2013.zip")
    for split, per_class in (("train", 30), ("test", 10)):
        for target, label in enumerate(faces.labels):
            (source / split / label).mkdir(parents=True)
            for index in np.flatnonzero((faces.splits == split) & (faces.targets == target))[:per_class]:
                cv2.imwrite(str(source / split / label / f"{index}.png"), faces.images[index])
    out = tmp_path / "aligned"
    command = ("train", "align", str(source), "--out", str(out), "--faces", "100")
    done = edge_train(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    said = re.search(r"a face found in (\d+) of 280", done.stdout)
    assert said
    assert int(said[1]) > 200
    report = json.loads((out / "report.json").read_text())
    assert report["found"] == int(said[1])
    assert sum(row["pictures"] for split in report["splits"].values() for row in split.values()) == 280
    assert cv2.imread(str(out / "before-after.png")).shape[1] == 1200
    assert str(tmp_path) not in (out / "report.json").read_text()
    fit = ["--network", "cnn", "--epochs", "1", "--size", "48", "--batch", "32", "--threads", "1"]
    done = edge_train(tmp_path, "train", "fit", str(source), "--name", "upright", "--aligned", str(out), *fit)
    assert done.returncode == 0, done.stderr
    both = ["--name", "both", "--aligned", str(out), "--aligned-share", "0.5"]
    done = edge_train(tmp_path, "train", "fit", str(source), *both, *fit)
    assert done.returncode == 0, done.stderr
    for name in ("upright", "both"):
        done = edge_train(tmp_path, "train", "evaluate", name, "--threads", "1")
        assert done.returncode == 0, done.stderr
    done = edge_train(tmp_path, "train", "export", "upright", "--out", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "model" / "upright.export.json").read_text())
    template = json.loads((out / "align.json").read_text())["crop"]["template"]
    assert np.allclose(made["template"]["points"], template, atol=1e-3)
    other = edge_train(tmp_path, "train", "align", str(source), "--out", str(source), "--faces", "100")
    assert other.returncode == 2
    assert "choose another --out" in other.stderr


def test_too_few_faces_is_one_line(tmp_path: Path) -> None:
    folder_of_pictures(tmp_path / "bars", 3)
    done = subprocess.run(
        [*EDGE, "train", "align", str(tmp_path / "bars"), "--out", str(tmp_path / "out")], capture_output=True,
        text=True, check=False, env={**os.environ, "EMOTION_EDGE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "too few for a template" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_original_detector_frames_alike(turned: np.ndarray) -> None:
    """facenet-pytorch's own MTCNN, for those who want it: the same crops but for rounding."""
    pytest.importorskip(
        "train.torchvision_cpu", reason="torchvision does not import: no facenet-pytorch to compare with"
    )
    pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed: nothing to compare with")
    from train.facenet import FacenetDetector

    ours, theirs = (align_images(turned, detector, CROP) for detector in (load_detector(), FacenetDetector()))
    assert theirs.found.all()
    assert np.abs(ours.images.astype(int) - theirs.images).mean() < 1
    assert not align_images(np.full((1, 48, 48), 90, np.uint8), FacenetDetector(), CROP).found.any()
