"""The reader of labelled folders: plain, zipped, with splits, with other names, and with what is wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from edge.measure.folders import find_splits, open_labelled


def put(path: Path, value: int = 100, side: int = 48) -> None:
    """Write a flat gray picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((side, side), value, np.uint8))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture in it"):
        open_labelled(tmp_path)


def test_folder_and_its_zip_read_alike(tmp_path: Path) -> None:
    put(tmp_path / "d" / "happy" / "b.png", 10)
    put(tmp_path / "d" / "Anger" / "a.png", 200)
    (tmp_path / "d" / "happy" / "notes.txt").write_text("not a picture")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for path in (tmp_path / "d").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "d"))
    for source in (tmp_path / "d", tmp_path / "d.zip"):
        pictures = open_labelled(source)
        assert pictures.names == ("Anger/a.png", "happy/b.png")
        assert [pictures.labels[t] for t in pictures.targets] == ["angry", "happy"]
        image = pictures.read(0)
        assert image is not None
        assert image.shape == (48, 48, 3)
        assert image[0, 0, 0] == 200


def test_splits_are_not_guessed(tmp_path: Path) -> None:
    put(tmp_path / "train" / "happy" / "a.png")
    put(tmp_path / "test" / "happy" / "b.png")
    assert find_splits(tmp_path) == ("test", "train")
    with pytest.raises(InputError, match="choose one with --split"):
        open_labelled(tmp_path)
    assert open_labelled(tmp_path, split="test").names == ("test/happy/b.png",)
    with pytest.raises(InputError, match='no split "val"'):
        open_labelled(tmp_path, split="val")


def test_unknown_class_is_named_and_can_be_mapped(tmp_path: Path) -> None:
    put(tmp_path / "contempt" / "a.png")
    put(tmp_path / "froh" / "b.png")
    with pytest.raises(InputError, match='folder "contempt" is no class of'):
        open_labelled(tmp_path)
    pictures = open_labelled(tmp_path, label_map={"contempt": "", "froh": "happy"})
    assert pictures.names == ("froh/b.png",)
    assert pictures.labels[pictures.targets[0]] == "happy"
    with pytest.raises(InputError):
        open_labelled(tmp_path, label_map={"contempt": "joy", "froh": "happy"})


@pytest.mark.parametrize("content", [b"", b"not a picture at all, but long enough to look like one " * 3])
def test_a_broken_picture_reads_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "a.png").write_bytes(content)
    assert open_labelled(tmp_path).read(0) is None


def test_pictures_outside_of_a_class_are_named(tmp_path: Path) -> None:
    put(tmp_path / "loose.png")
    with pytest.raises(InputError, match=r"loose\.png lies in no folder"):
        open_labelled(tmp_path)


def test_no_zip_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK not really")
    with pytest.raises(InputError, match="neither a folder nor a readable zip"):
        open_labelled(tmp_path / "x.zip")
    with pytest.raises(InputError, match="no such folder or zip"):
        open_labelled(tmp_path / "missing")


def test_the_smallest_webp_is_read(tmp_path: Path) -> None:
    """FER2013 has blank pictures whose WebP is 30 bytes; OpenCV alone refuses them."""
    coded = cv2.imencode(".webp", np.zeros((48, 48), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "blank.webp").write_bytes(coded)
    image = open_labelled(tmp_path).read(0)
    assert image is not None
    assert image.shape == (48, 48, 3)


def test_fer2013_counts(shared_data: Path) -> None:
    """The official numbers of the set: 28,709 training pictures and 3,589 of PublicTest, and all decode."""
    pictures = open_labelled(shared_data / "fer2013.zip", split="test")
    assert len(pictures) == 3589
    assert np.bincount(pictures.targets).tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert all(pictures.read(i) is not None for i in range(len(pictures)))
    assert len(open_labelled(shared_data / "fer2013.zip", split="train")) == 28709
