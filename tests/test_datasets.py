"""The collections' official layouts, splits in which nobody stands twice, and `edge train data`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faces import edge_train, folder_of_pictures

from edge.errors import InputError
from edge.values import EMOTIONS
from train.datasets import FaceSet, open_faces
from train.datasets.duplicates import find_copies
from train.datasets.ferplus import VOTES
from train.datasets.packed import read_packed, write_packed
from train.datasets.pictures import letterbox
from train.datasets.split import NEAR_TEST, Split, assign_parts, split_faces
from train.describe import describe, draw_labels

KDEF_CODES = {"AF": "fear", "AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad",
              "SU": "surprise"}  # fmt: skip
EDGE = [sys.executable, "-m", "edge.cli"]


def paint(seed: int | str, side: tuple[int, int] = (40, 40)) -> np.ndarray:
    """A gray picture of its own for every seed: smooth, and like no other."""
    rng = np.random.default_rng(list(str(seed).encode()))
    return cv2.resize(rng.integers(0, 256, (7, 7), np.uint8), side[::-1], interpolation=cv2.INTER_CUBIC)


def put(path: Path, image: np.ndarray | None = None) -> Path:
    """Write a picture; without one, one that its name makes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), paint(path.name) if image is None else image)
    return path


def label(faces: FaceSet, name: str) -> str:
    """The label of the picture whose path ends so."""
    (index,) = [index for index, each in enumerate(faces.names) if each.endswith(name)]
    return faces.labels[faces.targets[index]]


def people(faces: FaceSet) -> set[str]:
    """Who is in a set."""
    assert faces.persons is not None
    return set(faces.persons.tolist())


def set_of(persons: list[str] | None, splits: list[str] | None = None, count: int = 0) -> FaceSet:
    """A set of pictures that are all different, with these persons and splits."""
    count = len(persons or splits or []) or count
    return FaceSet(
        np.stack([paint(index) for index in range(count)]), np.arange(count) % 7,
        np.array([f"{index}.png" for index in range(count)]), np.array(splits or ["train"] * count),
        persons=None if persons is None else np.array(persons),
    )  # fmt: skip


@pytest.fixture
def kdef(tmp_path: Path) -> Path:
    """Six people of KDEF, one of them in the first session alone; straight and half left."""
    for subject in ("F01", "F02", "M01", "M02", "M35"):
        for session in "AB":
            for emotion in KDEF_CODES:
                for angle in ("S", "HL"):
                    if (session, subject) != ("B", "M35"):
                        folder = tmp_path / "KDEF" / f"{session}{subject}"
                        put(folder / f"{session}{subject}{emotion}{angle}.JPG")
    put(tmp_path / "KDEF" / "bf09anfr.jpg")
    return tmp_path


@pytest.fixture
def ckplus(tmp_path: Path) -> Path:
    """Three sequences of CK+: anger with six frames, contempt with five, one without a label."""
    for sequence, frames in (("S005_001", 6), ("S010_002", 5), ("S010_004", 4)):
        person, number = sequence.split("_")
        for frame in range(1, frames + 1):
            name = f"{sequence}_{frame:08}.png"
            put(tmp_path / "cohn-kanade-images" / person / number / name, paint(name, (49, 64)))
    for sequence, frame, text in (("S005_001", 6, "   1.0000000e+00\n"), ("S010_002", 5, "   2.0000000e+00\n")):
        folder = tmp_path / "Emotion" / sequence.replace("_", "/")
        folder.mkdir(parents=True)
        (folder / f"{sequence}_{frame:08}_emotion.txt").write_text(text)
    (tmp_path / "Emotion" / "S010" / "004").mkdir()
    return tmp_path


@pytest.fixture
def rafdb(tmp_path: Path) -> Path:
    """Eleven pictures of RAF-DB with its list; two originals beside the aligned ones."""
    lines = [(f"train_{number:05}", str(number)) for number in range(1, 8)] + [
        (f"test_{number:04}", "5") for number in range(1, 5)
    ]
    for name, _ in lines:
        put(tmp_path / "basic" / "Image" / "aligned" / f"{name}_aligned.jpg", np.dstack([paint(name)] * 3))
    for name in ("train_00001", "test_0001"):
        put(tmp_path / "basic" / "Image" / "original" / f"{name}.jpg", paint(name, (80, 60)))
    (tmp_path / "basic" / "EmoLabel").mkdir()
    text = "".join(f"{name}.jpg {number}\n" for name, number in lines)
    (tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt").write_text(text)
    return tmp_path


@pytest.fixture
def jaffe(tmp_path: Path) -> Path:
    """Four women of JAFFE, an emotion each and a neutral face."""
    for index, (person, emotion) in enumerate([("KA", "AN"), ("KL", "FE"), ("KM", "SU"), ("YM", "DI")]):
        put(tmp_path / "jaffe" / f"{person}.{emotion}1.{index}.tiff")
        put(tmp_path / "jaffe" / f"{person}.NE2.{index + 50}.tiff")
    return tmp_path


class TestNothing:
    """Sources that hold nothing."""

    @pytest.mark.parametrize("names", [[], ["notes.txt"], ["happy/notes.txt"]])
    def test_no_picture(self, names: list[str], tmp_path: Path) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("nothing to see")
        with pytest.raises(InputError, match="no picture in it"):
            open_faces(tmp_path)

    def test_no_zip_and_nothing_there(self, tmp_path: Path) -> None:
        (tmp_path / "x.zip").write_bytes(b"PK not really")
        with pytest.raises(InputError, match="neither a folder nor a readable zip"):
            open_faces(tmp_path / "x.zip")
        with pytest.raises(InputError, match="no such folder or zip"):
            open_faces(tmp_path / "missing")

    def test_no_faces_have_no_copies_to_find(self) -> None:
        assert describe(set_of(None, count=1))["copies"]["exact"]["groups"] == 0


class TestKdef:
    """Session, sex, subject, emotion and angle in the name."""

    def test_names_say_everything(self, kdef: Path) -> None:
        faces = open_faces(kdef)
        assert faces.layout == "KDEF"
        assert len(faces) == 5 * 2 * 7 * 2 - 14 + 1
        assert people(faces) == {"F01", "F02", "M01", "M02", "M35", "F09"}, "a person is one over both sessions"
        assert label(faces, "BF09ANFR.JPG".lower()) == "angry"
        assert {code: label(faces, f"BM02{code}HL.JPG") for code in KDEF_CODES} == KDEF_CODES
        assert set(faces.splits) == {"train"}
        assert faces.left_out == {}

    def test_the_official_oddities_are_left_out_and_counted(self, kdef: Path) -> None:
        before = open_faces(kdef).fingerprint()
        put(kdef / "KDEF" / "AF31" / "AF31V.JPG")
        put(kdef / "AKDEF" / "FAFS.JPG")
        put(kdef / "AKDEF" / "MANHL.JPG")
        faces = open_faces(kdef)
        assert faces.left_out == {"of AKDEF, averages over all people": 2, "misnamed in the official release": 1}
        assert faces.fingerprint() == before

    @pytest.mark.parametrize("name", ["AF36ANS.JPG", "AF00ANS.JPG", "CF01ANS.JPG", "AF01XXS.JPG", "AF01ANX.JPG"])
    def test_a_wrong_name_is_named(self, name: str, kdef: Path) -> None:
        put(kdef / "KDEF" / name)
        with pytest.raises(InputError, match=f"{name} lies among pictures of KDEF"):
            open_faces(kdef)

    def test_a_picture_twice_is_refused(self, kdef: Path) -> None:
        put(kdef / "copy" / "af01ans.jpg")
        with pytest.raises(InputError, match="one picture of KDEF by their name"):
            open_faces(kdef)

    def test_an_emotion_can_be_left_out_or_mapped(self, kdef: Path) -> None:
        faces = open_faces(kdef, {"Surprise": "", "disgust": "angry"})
        assert faces.left_out == {"of class surprise": 18}
        assert "surprise" not in {faces.labels[target] for target in faces.targets}
        assert label(faces, "AF01DIS.JPG") == "angry"
        with pytest.raises(InputError, match='"sad=gloomy": the label is none of angry'):
            open_faces(kdef, {"sad": "gloomy"})

    def test_sorted_into_classes_the_folders_count_and_the_persons_are_kept(self, tmp_path: Path) -> None:
        for split, name in (("train", "AF01HAS"), ("train", "BM02HAS"), ("test", "AM03SAS")):
            put(tmp_path / split / "happy" / f"{name}.JPG")
        faces = open_faces(tmp_path)
        assert faces.layout == "folder per class"
        assert {faces.labels[target] for target in faces.targets} == {"happy"}
        assert faces.persons is not None
        assert sorted(zip(faces.splits, faces.persons, strict=True)) == [
            ("test", "M03"), ("train", "F01"), ("train", "M02"),
        ]  # fmt: skip
        put(tmp_path / "train" / "happy" / "somebody.jpg")
        assert open_faces(tmp_path).persons is None, "not everybody is known"


class TestCkPlus:
    """Sequences with labels in files of their own."""

    def test_the_last_three_frames_carry_the_label_and_the_first_is_neutral(self, ckplus: Path) -> None:
        faces = open_faces(ckplus)
        assert faces.layout == "CK+"
        found = {Path(name).stem: faces.labels[target] for name, target in zip(faces.names, faces.targets, strict=True)}
        assert found == {
            "S005_001_00000001": "neutral", "S005_001_00000004": "angry", "S005_001_00000005": "angry",
            "S005_001_00000006": "angry", "S010_002_00000001": "neutral",
        }  # fmt: skip
        assert people(faces) == {"S005", "S010"}
        assert faces.left_out == {
            "between a neutral face and the peak": 2 + 1,
            "of class contempt": 3,
            "of sequences without a label": 4,
        }
        assert faces.images.shape == (5, 96, 96), "64 x 49 is brought to one size, and gray stays gray"

    def test_frames_are_ordered_by_number_and_numbers_may_have_gaps(self, ckplus: Path) -> None:
        folder = ckplus / "cohn-kanade-images" / "S005" / "001"
        (folder / "S005_001_00000006.png").rename(folder / "S005_001_00000123.png")
        assert label(open_faces(ckplus), "S005_001_00000123.png") == "angry"

    def test_a_short_sequence_has_a_neutral_face_still(self, ckplus: Path) -> None:
        for frame in (3, 4, 5, 6):
            (ckplus / "cohn-kanade-images" / "S005" / "001" / f"S005_001_{frame:08}.png").unlink()
        faces = open_faces(ckplus)
        assert label(faces, "S005_001_00000001.png") == "neutral"
        assert label(faces, "S005_001_00000002.png") == "angry"

    def test_contempt_can_be_wanted(self, ckplus: Path) -> None:
        faces = open_faces(ckplus, {"contempt": "disgust"})
        assert [label(faces, f"S010_002_0000000{frame}.png") for frame in (3, 4, 5)] == ["disgust"] * 3

    @pytest.mark.parametrize(("gone", "says"), [("Emotion", "no labels"), ("cohn-kanade-images", "no pictures")])
    def test_half_of_it_is_said(self, gone: str, says: str, ckplus: Path) -> None:
        (ckplus / gone).rename(ckplus.parent / f"{ckplus.name}-gone")
        with pytest.raises(InputError, match=f"CK.*{says}: unpack"):
            open_faces(ckplus)

    def test_a_label_without_its_sequence_is_named(self, ckplus: Path) -> None:
        (ckplus / "cohn-kanade-images" / "S005").rename(ckplus.parent / f"{ckplus.name}-gone")
        with pytest.raises(InputError, match="sequence S005_001 has a label, but no pictures"):
            open_faces(ckplus)

    @pytest.mark.parametrize("text", ["", "8", "1.5", "anger", "nan", "-1"])
    def test_an_unknown_label_is_named(self, text: str, ckplus: Path) -> None:
        (ckplus / "Emotion" / "S005" / "001" / "S005_001_00000006_emotion.txt").write_text(text)
        with pytest.raises(InputError, match=r'S005_001_00000006_emotion\.txt holds ".*" instead of a number'):
            open_faces(ckplus)

    def test_the_cut_out_version_in_class_folders(self, tmp_path: Path) -> None:
        """As it goes round: folders anger to surprise, contempt too, and names that say who it is."""
        put(tmp_path / "CK+48" / "anger" / "S010_004_00000017.png")
        put(tmp_path / "CK+48" / "contempt" / "S138_008_00000007.png")
        faces = open_faces(tmp_path)
        assert faces.layout == "folder per class"
        assert faces.left_out == {"of class contempt": 1}
        assert people(faces) == {"S010"}


class TestRafDb:
    """A list of labels, an official split."""

    def test_the_official_split_and_labels(self, rafdb: Path) -> None:
        faces = open_faces(rafdb)
        assert faces.layout == "RAF-DB"
        assert Counter(faces.splits.tolist()) == {"train": 7, "test": 4}
        assert [label(faces, f"train_{number:05}_aligned.jpg") for number in range(1, 8)] == [
            "surprise", "fear", "disgust", "happy", "sad", "angry", "neutral",
        ]  # fmt: skip
        assert faces.persons is None
        assert faces.left_out == {"originals of aligned pictures": 2}
        split = split_faces(faces)
        assert sorted(split.test.names.tolist()) == [
            f"basic/Image/aligned/test_{number:04}_aligned.jpg" for number in range(1, 5)
        ]

    def test_originals_stand_in_where_there_is_nothing_else(self, rafdb: Path) -> None:
        for path in (rafdb / "basic" / "Image" / "aligned").iterdir():
            path.unlink()
        faces = open_faces(rafdb)
        assert len(faces) == 2
        assert faces.left_out == {"in the list of labels, but not there": 9}

    def test_a_picture_without_a_line_is_counted(self, rafdb: Path) -> None:
        put(rafdb / "basic" / "Image" / "aligned" / "train_00099_aligned.jpg")
        assert open_faces(rafdb).left_out["without a line in the list of labels"] == 1

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("train_00001.jpg", 'line 12: "train_00001.jpg" is not like'),
            ("somebody.jpg 3", "line 12"),
            ("train_00008.jpg 8", 'line 12: label "8" is no number from 1 to 7; is it the list of the compound'),
            ("train_00008.jpg happy", 'label "happy"'),
        ],
    )
    def test_a_wrong_line_is_named(self, line: str, says: str, rafdb: Path) -> None:
        with (rafdb / "basic" / "EmoLabel" / "list_patition_label.txt").open("a") as file:
            file.write(line + "\n")
        with pytest.raises(InputError, match=re.escape(says)):
            open_faces(rafdb)

    def test_half_of_it_is_said(self, rafdb: Path) -> None:
        listed = rafdb / "basic" / "EmoLabel" / "list_patition_label.txt"
        text = listed.read_text()
        listed.unlink()
        with pytest.raises(InputError, match=r"there is no EmoLabel/list_patition_label\.txt"):
            open_faces(rafdb)
        for path in rafdb.rglob("*.jpg"):
            path.unlink()
        listed.write_text(text)
        with pytest.raises(InputError, match="labels of RAF-DB, but no pictures"):
            open_faces(rafdb)

    def test_basic_beside_compound_is_not_guessed(self, rafdb: Path) -> None:
        (rafdb / "compound" / "EmoLabel").mkdir(parents=True)
        (rafdb / "compound" / "EmoLabel" / "list_patition_label.txt").write_text("train_0001.jpg 11\n")
        with pytest.raises(InputError, match="the folder of the basic emotions alone"):
            open_faces(rafdb)

    def test_a_wrong_name_is_named(self, rafdb: Path) -> None:
        put(rafdb / "basic" / "Image" / "aligned" / "somebody.jpg")
        with pytest.raises(InputError, match=r"somebody\.jpg lies among pictures of RAF-DB"):
            open_faces(rafdb)

    def test_folders_of_numbers(self, tmp_path: Path) -> None:
        put(tmp_path / "DATASET" / "train" / "1" / "train_00001_aligned.jpg")
        put(tmp_path / "DATASET" / "train" / "7" / "train_00002_aligned.jpg")
        put(tmp_path / "DATASET" / "test" / "4" / "test_0001_aligned.jpg")
        faces = open_faces(tmp_path)
        assert label(faces, "train_00001_aligned.jpg") == "surprise"
        assert label(faces, "train_00002_aligned.jpg") == "neutral"
        assert label(faces, "test_0001_aligned.jpg") == "happy"
        assert Counter(faces.splits.tolist()) == {"train": 2, "test": 1}
        put(tmp_path / "DATASET" / "test" / "4" / "train_00003_aligned.jpg")
        with pytest.raises(InputError, match="of the official train split and lies in the other's folder"):
            open_faces(tmp_path)

    def test_numbers_alone_are_not_taken_for_it(self, tmp_path: Path) -> None:
        put(tmp_path / "train" / "1" / "a.jpg")
        put(tmp_path / "test" / "1" / "b.jpg")
        with pytest.raises(InputError, match='folder "1" is no class'):
            open_faces(tmp_path)
        assert len(open_faces(tmp_path, {"1": "happy"})) == 2


class TestJaffe:
    """Person, emotion and number in the name."""

    def test_names_say_everything(self, jaffe: Path) -> None:
        faces = open_faces(jaffe)
        assert (faces.layout, len(faces)) == ("JAFFE", 8)
        assert people(faces) == {"KA", "KL", "KM", "YM"}
        assert label(faces, "KA.AN1.0.tiff") == "angry"
        assert label(faces, "KL.FE1.1.tiff") == "fear"
        assert label(faces, "YM.NE2.53.tiff") == "neutral"
        assert faces.images.shape == (8, 40, 40), "square pictures of one size stay as they are"
        (index,) = np.flatnonzero(faces.names == "jaffe/KA.AN1.0.tiff")
        assert np.array_equal(faces.images[index], paint("KA.AN1.0.tiff"))

    def test_a_wrong_name_is_named(self, jaffe: Path) -> None:
        put(jaffe / "jaffe" / "KA.XX1.39.tiff")
        with pytest.raises(InputError, match=r"KA\.XX1\.39\.tiff lies among pictures of JAFFE"):
            open_faces(jaffe)


class TestAnyLayout:
    """What holds for all of them."""

    @pytest.mark.parametrize("layout", ["kdef", "ckplus", "rafdb", "jaffe"])
    def test_a_zip_reads_like_its_folder(
        self, layout: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder: Path = request.getfixturevalue(layout)
        path = tmp_path_factory.mktemp("zip") / "faces.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder))
            archive.writestr("__MACOSX/KDEF/._AF01ANS.JPG", b"what a Mac adds")
        plain, zipped = open_faces(folder), open_faces(path)
        assert zipped.fingerprint() == plain.fingerprint()
        assert zipped.names.tolist() == plain.names.tolist()
        assert (zipped.layout, zipped.left_out, zipped.unreadable) == (plain.layout, plain.left_out, ())
        assert plain.persons is None or zipped.persons is not None
        assert plain.persons is None or zipped.persons.tolist() == plain.persons.tolist()  # type: ignore[union-attr]

    @pytest.mark.parametrize("content", [b"", b"\xff\xd8 not a jpeg at all, but long enough to look like one" * 3])
    def test_a_broken_picture_is_listed_and_skipped(self, content: bytes, jaffe: Path) -> None:
        (jaffe / "jaffe" / "KL.FE1.1.tiff").write_bytes(content)
        faces = open_faces(jaffe)
        assert faces.unreadable == ("jaffe/KL.FE1.1.tiff",)
        assert len(faces) == 7
        assert label(faces, "KM.SU1.2.tiff") == "surprise", "what follows keeps its own label"
        assert faces.persons is not None
        assert faces.persons.tolist() == [Path(name).name[:2] for name in faces.names]

    def test_nothing_that_decodes_is_an_error(self, jaffe: Path) -> None:
        for path in (jaffe / "jaffe").iterdir():
            path.write_bytes(b"x")
        with pytest.raises(InputError, match="none of its 8 pictures can be decoded"):
            open_faces(jaffe)

    def test_nothing_left_is_an_error_that_says_why(self, jaffe: Path) -> None:
        for path in (jaffe / "jaffe").glob("*.NE*"):
            path.unlink()
        with pytest.raises(InputError, match=r"no picture of JAFFE to learn from \(1 of class"):
            open_faces(jaffe, dict.fromkeys(("angry", "fear", "surprise", "disgust"), ""))

    def test_two_collections_are_not_guessed_apart(self, jaffe: Path) -> None:
        put(jaffe / "AF01" / "AF01ANS.JPG")
        with pytest.raises(InputError, match=r"KDEF \(AF01/AF01ANS\.JPG\) and JAFFE \(jaffe/KA\.AN1"):
            open_faces(jaffe)

    def test_a_collection_beside_class_folders_is_refused(self, kdef: Path) -> None:
        put(kdef / "happy" / "somebody.png")
        with pytest.raises(InputError, match=r"happy/somebody\.png lies among pictures of KDEF"):
            open_faces(kdef)

    def test_an_empty_class_folder_is_no_mistake(self, tmp_path: Path) -> None:
        put(tmp_path / "happy" / "a.png")
        (tmp_path / "disgust").mkdir()
        faces = open_faces(tmp_path)
        assert describe(faces)["counts"]["train"]["disgust"] == 0
        assert len(faces.labels) == 7

    def test_an_unknown_class_is_named_and_contempt_is_counted(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            for name in ("happy", "Contempt", "unknown"):
                put(tmp_path / split / name / "a.png", paint(split + name))
        faces = open_faces(tmp_path)
        assert len(faces) == 2
        assert faces.left_out == {"of class contempt": 2, "of class unknown": 2}
        assert len(open_faces(tmp_path, {"contempt": "disgust"})) == 4
        put(tmp_path / "train" / "joy" / "a.png")
        with pytest.raises(InputError, match='folder "joy" is no class of'):
            open_faces(tmp_path)

    def test_large_pictures_of_many_sizes_become_crops_in_rgb(self, tmp_path: Path) -> None:
        """The first ones are kept whole until one of another size comes: they are made small then, alike."""
        blue = np.zeros((30, 30, 3), np.uint8)
        blue[..., 0] = 255  # BGR
        put(tmp_path / "happy" / "a.png", blue)
        put(tmp_path / "happy" / "b.png", blue)
        put(tmp_path / "happy" / "c.png", np.ascontiguousarray(np.tile(blue, (1, 2, 1))))
        put(tmp_path / "happy" / "d.png", paint(1))
        faces = open_faces(tmp_path, size=24)
        assert faces.images.shape == (4, 24, 24, 3)
        assert (faces.images[:3] == [0, 0, 255]).all(), "RGB, all three"

    def test_upper_case_endings_and_bitmaps(self, tmp_path: Path) -> None:
        put(tmp_path / "sad" / "a.JPG")
        put(tmp_path / "sad" / "b.BMP")
        put(tmp_path / "sad" / "c.TIF")
        assert len(open_faces(tmp_path)) == 3


class TestPersons:
    """Nobody stands in two parts."""

    def test_take_keeps_who_it_is(self) -> None:
        faces = set_of(["a", "b", "c"])
        assert faces.take(np.array([2, 0])).persons.tolist() == ["c", "a"]  # type: ignore[union-attr]
        assert set_of(None, count=3).take(np.array([2])).persons is None
        assert faces.fingerprint() == set_of(None, count=3).fingerprint(), "a run's data is its pixels and labels"

    @pytest.mark.parametrize("seed", [0, 1])
    def test_over_all_folds_everybody_is_tested_once_and_never_learned_from(self, kdef: Path, seed: int) -> None:
        faces = open_faces(kdef)
        tested: list[str] = []
        for fold in range(5):
            split = split_faces(faces, fold=fold, seed=seed)
            train, dev, test = people(split.train), people(split.dev), people(split.test)
            assert train
            assert dev
            assert test
            assert not train & dev
            assert not train & test
            assert not dev & test
            assert len(split.train) + len(split.dev) + len(split.test) + sum(split.left_out.values()) == len(faces)
            assert dev == people(split_faces(faces, fold=(fold + 1) % 5, seed=seed).test), "dev is the next fold's test"
            tested += sorted(test)
        assert sorted(tested) == sorted(people(faces))

    def test_the_seed_shuffles_and_the_order_of_the_pictures_does_not(self) -> None:
        faces = set_of([f"p{index % 12}" for index in range(36)])
        tests = {frozenset(people(split_faces(faces, seed=seed).test)) for seed in range(6)}
        assert len(tests) > 1
        mixed = faces.take(np.random.default_rng(3).permutation(len(faces)))
        assert people(split_faces(mixed, seed=4).test) == people(split_faces(faces, seed=4).test)

    @pytest.mark.parametrize(
        ("persons", "folds", "fold", "says"),
        [
            (["a", "b"], 5, 0, "too few persons (a, b) for train, dev and test"),
            (["a", "b", "c", "d"], 5, 0, "5 folds of 4 persons: ask for 3 to 4 folds"),
            (["a", "b", "c", "d"], 2, 0, "2 folds of 4 persons"),
            (["a", "b", "c", "d"], 4, 4, "fold 4 is none of 4 folds: ask for 0 to 3"),
            (["a", "b", "c", "d"], 4, -1, "fold -1"),
        ],
    )
    def test_too_few_is_said(self, persons: list[str], folds: int, fold: int, says: str) -> None:
        with pytest.raises(InputError, match=re.escape(says)):
            split_faces(set_of(persons * 3), folds=folds, fold=fold)

    def test_a_copy_of_a_test_picture_leaves_training_and_drags_nobody_along(self) -> None:
        faces = set_of([f"p{index % 6}" for index in range(30)])
        plain = split_faces(faces, folds=3)
        source = int(np.flatnonzero(np.isin(faces.names, plain.test.names))[0])
        victim = int(np.flatnonzero(np.isin(faces.names, plain.train.names))[0])
        images = faces.images.copy()
        coded = cv2.imencode(".jpg", images[source], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        images[victim] = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
        assert (images[victim] != images[source]).any(), "near, not the same"
        doubled = FaceSet(images, faces.targets, faces.names, faces.splits, persons=faces.persons)
        split = split_faces(doubled, folds=3)
        assert split.left_out == {NEAR_TEST: 1}
        assert set(split.train.names) == set(plain.train.names) - {faces.names[victim]}
        assert split.dev.names.tolist() == plain.dev.names.tolist()
        assert split.test.names.tolist() == plain.test.names.tolist()

    def test_copies_of_dev_and_train_do_not_pull_a_person_across(self) -> None:
        faces = set_of([f"p{index % 6}" for index in range(30)])
        plain = split_faces(faces, folds=3)
        one = int(np.flatnonzero(np.isin(faces.names, plain.train.names))[0])
        other = int(np.flatnonzero(np.isin(faces.names, plain.dev.names))[0])
        images = faces.images.copy()
        images[one] = images[other]
        split = split_faces(FaceSet(images, faces.targets, faces.names, faces.splits, persons=faces.persons), folds=3)
        assert split.train.names.tolist() == plain.train.names.tolist()
        assert split.dev.names.tolist() == plain.dev.names.tolist()

    def test_an_official_test_split_stays_and_dev_is_whole_persons(self) -> None:
        persons = [f"p{index % 10}" for index in range(100)] + ["q"] * 5
        faces = set_of(persons, ["train"] * 100 + ["test"] * 5)
        split = split_faces(faces)
        assert people(split.test) == {"q"}
        assert len(people(split.dev)) == 1, "ten of a hundred pictures are a tenth"
        assert not people(split.train) & people(split.dev)
        assert len(split.train) == 90
        with pytest.raises(InputError, match=r"too few persons \(a\) for train and dev"):
            split_faces(set_of(["a", "a", "b"], ["train", "train", "test"]))

    def test_without_persons_folds_change_nothing(self) -> None:
        faces = set_of(None, ["train"] * 60 + ["test"] * 10)
        one, other = split_faces(faces), split_faces(faces, folds=3, fold=2, seed=9)
        assert one.describe() == other.describe()
        assert len(one.test) == 10

    def test_parts_are_the_split(self) -> None:
        faces = set_of(None, ["train"] * 60 + ["test"] * 10 + ["private"] * 3)
        parts, split = assign_parts(faces, find_copies(faces.images)), split_faces(faces)
        assert isinstance(split, Split)
        assert split.left_out == {"of other splits": 3}
        for part, held in (("train", split.train), ("dev", split.dev), ("test", split.test)):
            assert faces.names[parts == part].tolist() == held.names.tolist()


def edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    return subprocess.run([*EDGE, *arguments], capture_output=True, text=True, timeout=300, check=False)


class TestDescription:
    """`edge train data`."""

    @pytest.fixture
    def odd(self, tmp_path: Path) -> Path:
        """28 pictures to learn from and 7 to test on, and with them what can be wrong with pictures."""
        root = tmp_path / "odd"
        for index in range(28):
            put(root / "train" / EMOTIONS[index % 7] / f"{index}.png", paint(index))
        for index in range(28, 35):
            put(root / "test" / EMOTIONS[index % 7] / f"{index}.png", paint(index))
        put(root / "train" / "sad" / "same-as-0.png", paint(0))  # 0 is angry: two labels
        put(root / "train" / "angry" / "same-as-28.png", paint(28))  # 28 is a test picture, angry too
        put(root / "train" / "fear" / "blank-1.png", np.full((40, 40), 9, np.uint8))
        put(root / "test" / "happy" / "blank-2.png", np.full((40, 40), 9, np.uint8))
        put(root / "train" / "contempt" / "x.png")
        (root / "train" / "sad" / "broken.png").write_bytes(b"x")
        return root

    def test_counts(self, odd: Path) -> None:
        said = describe(open_faces(odd), source="odd")
        assert (said["pictures"], said["size"], said["colour"]) == (39, [40, 40], "gray")
        assert said["counts"]["test"] == {**dict.fromkeys(EMOTIONS, 1), "happy": 2}
        assert said["counts"]["left out"] == {**dict.fromkeys(EMOTIONS, 0), "angry": 1, "fear": 1}
        assert sum(said["counts"]["train"].values()) == said["split"]["train"]
        assert said["split"]["train"] + said["split"]["dev"] == 29
        assert said["split"]["left_out"] == {NEAR_TEST: 1, "blank": 1, "of class contempt": 1, "unreadable": 1}
        assert said["copies"] == {
            "exact": {"groups": 2, "pictures": 4, "within_a_split": 1, "across_splits": 1},
            "near": {"groups": 2, "pictures": 4, "within_a_split": 1, "across_splits": 1},
            "leave_training": 1,
        }
        assert said["two_labels"] == {
            "groups": 1, "pictures": 2, "names": [["train/angry/0.png", "train/sad/same-as-0.png"]],
        }, "blank pictures are alike and no doubt about a label"  # fmt: skip
        assert sorted(said["blank"]["names"]) == ["test/happy/blank-2.png", "train/fear/blank-1.png"]
        assert said["unreadable"] == ["train/sad/broken.png"]
        assert said["not_taken"] == {"of class contempt": 1}
        assert said["persons"] is None
        assert said["votes"] is None
        assert said["sha256"] == open_faces(odd).fingerprint()

    def test_persons_are_counted_by_part(self, kdef: Path) -> None:
        said = describe(open_faces(kdef), folds=3, fold=1)
        assert said["persons"] == {"all": 6, "train": 2, "dev": 2, "test": 2, "in_several": 0}
        shared = describe(set_of(["a", "b", "c", "a"], ["train", "train", "train", "test"]))
        assert shared["persons"]["in_several"] == 1, "the source's own split has somebody twice: that is said"

    def test_votes_beside_labels(self, odd: Path, tmp_path: Path) -> None:
        """Every picture of angry is voted angry, every one of fear neutral; 2 is a tie, 3 contempt, 4 has no votes."""
        rows = [
            ("train/angry/0.webp", {"anger": 9, "fear": 1}), ("train/angry/7.webp", {"anger": 10}),
            ("train/fear/9.webp", {"neutral": 10}), ("train/fear/2.webp", {"fear": 5, "anger": 5}),
            ("train/happy/3.webp", {"contempt": 10}), ("train/sad/4.webp", dict.fromkeys(VOTES, -1)),
        ]  # fmt: skip
        path = tmp_path / "votes.csv"
        path.write_text(
            f"file,{','.join(VOTES)}\n"
            + "".join(f"{name},{','.join(str(cast.get(vote, 0)) for vote in VOTES)}\n" for name, cast in rows)
        )
        said = describe(open_faces(odd), votes=path)["votes"]
        assert (said["voted_on"], said["with_a_majority"]) == (5, 3)
        assert said["majority"] == {**dict.fromkeys(EMOTIONS, 0), "angry": 2, "neutral": 1}
        assert said["agreement"] == round(2 / 3, 4)
        assert said["agreement_by_label"] == {"angry": 1.0, "fear": 0.0}

    def test_json_stands_alone_and_files_are_written(self, odd: Path, tmp_path: Path) -> None:
        done = edge("train", "data", str(odd), "--json", "--out", str(tmp_path / "out"))
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        assert said == json.loads((tmp_path / "out" / "data.json").read_text())
        assert said["source"] == "odd"
        assert str(tmp_path) not in done.stdout, "no path of this machine goes into a report"
        chart = cv2.imread(str(tmp_path / "out" / "labels.png"))
        assert chart is not None
        assert chart.shape[1] > 1200
        assert (chart != 255).any(axis=2).mean() > 0.05, "bars and figures"

    def test_the_table(self, odd: Path) -> None:
        done = edge("train", "data", str(odd))
        assert done.returncode == 0, done.stderr
        for text in (
            "39 pictures, 40 x 40 gray", "left out of training: 1 near-duplicates of test pictures",
            "not taken: 1 of class contempt", "unreadable: 1 (train/sad/broken.png)",
            "under two labels, pixel by pixel: 2",
        ):  # fmt: skip
            assert text in done.stdout
        assert re.search(r"happy\s*│\s*\d+ │\s*\d+ │\s*2 │\s*0 │\s*6 │", done.stdout)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["missing"], "no such folder or zip"),
            (["ODD", "--label-map", "sad"], "write it as FOLDER=LABEL"),
            (["ODD", "--votes", "missing.csv"], "missing.csv: cannot be read"),
            (["ODD", "--out", "ODD/train/sad/0.png"], "cannot be written"),
        ],
    )
    def test_mistakes_are_one_line(self, arguments: list[str], says: str, odd: Path) -> None:
        put(odd / "train" / "sad" / "0.png")
        done = edge("train", "data", *(argument.replace("ODD", str(odd)) for argument in arguments))
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    def test_a_short_row_of_a_csv_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "fer2013.csv"
        path.write_text(f"emotion,pixels,Usage\n3,{' '.join(['7'] * 2304)},Training\n3,1 2 3,Training\n")
        with pytest.raises(InputError, match="line 3: 3 pixels instead of 2304"):
            open_faces(path)

    def test_a_set_of_other_splits_alone_is_drawn_too(self) -> None:
        assert draw_labels(describe(set_of(None, ["private"] * 3), source="x")).startswith(b"\x89PNG")

    @pytest.mark.slow
    def test_the_real_set(self, shared_data: Path) -> None:
        """FER2013 without its private test: the counts that the shipped model was trained on."""
        votes = shared_data / "ferplus_votes.csv"
        done = edge("train", "data", str(shared_data / "fer2013.zip"), "--votes", str(votes), "--json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["pictures"] == 28709 + 3589
        assert {part: sum(of.values()) for part, of in said["counts"].items()} == {
            "train": 25083, "dev": 2784, "test": 3589, "left out": 842,
        }  # fmt: skip
        assert said["split"]["left_out"] == {NEAR_TEST: 831, "blank": 11}
        assert said["copies"]["leave_training"] == 831
        assert list(said["counts"]["test"].values()) == [467, 56, 496, 895, 653, 415, 607], "the official counts"
        assert said["blank"]["pictures"] == 12, "eleven to learn from, and one of PublicTest"
        assert said["split"]["dev_sha256"].startswith("16411ec8b3c9ec30")
        assert said["votes"]["agreement"] == pytest.approx(0.65, abs=0.02), "as people agree with its labels"
        assert said["unreadable"] == []


class TestPacked:
    """One small file that says who is in which part."""

    def test_it_comes_back_as_it_was_split(self, tmp_path: Path) -> None:
        folder_of_pictures(tmp_path / "faces" / "train", 30)
        folder_of_pictures(tmp_path / "faces" / "test", 4, seed=1)
        done = edge_train(tmp_path, "train", "pack", str(tmp_path / "faces"), "--out", str(tmp_path / "all.faces"))
        assert done.returncode == 0, done.stderr
        before, after = (split_faces(open_faces(tmp_path / name)) for name in ("faces", "all.faces"))
        for ours, theirs in ((before.train, after.train), (before.dev, after.dev), (before.test, after.test)):
            assert ours.names.tolist() == theirs.names.tolist()
            assert ours.targets.tolist() == theirs.targets.tolist()
            assert np.abs(ours.images.astype(int) - theirs.images).mean() < 4, "JPEG changes a little"
        assert len(after.dev) > 10
        again = tmp_path / "again.faces"
        assert edge_train(tmp_path, "train", "pack", str(tmp_path / "faces"), "--out", str(again)).returncode == 0
        assert again.read_bytes() == (tmp_path / "all.faces").read_bytes()

    def test_colour_and_persons(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        images = np.stack([cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (96, 96)) for _ in range(200)])
        faces = FaceSet(
            images, np.arange(200) % 7, np.array([str(i) for i in range(200)]), np.full(200, "train"),
            persons=np.array([f"p{i % 10}" for i in range(200)]),
        )  # fmt: skip
        parts = assign_parts(faces, find_copies(images))
        write_packed(faces, parts, tmp_path / "x.faces", 95)
        packed = read_packed(tmp_path / "x.faces")
        assert packed.persons is not None
        assert packed.splits.tolist() == parts.tolist()
        assert np.abs(packed.images.astype(int) - images).mean() < 3
        split = split_faces(packed)
        assert split.dev.persons is not None
        assert split.train.persons is not None
        assert not set(split.dev.persons) & set(split.train.persons)

    @pytest.mark.parametrize("damage", ["missing", "text", "zip", "short"])
    def test_damaged_ones_are_named(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "x.faces"
        folder_of_pictures(tmp_path / "faces", 10)
        faces = open_faces(tmp_path / "faces")
        write_packed(faces, assign_parts(faces, find_copies(faces.images)), path)
        whole = path.read_bytes()
        if damage == "missing":
            path.unlink()
        elif damage == "text":
            path.write_text("no zip")
        elif damage == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("other.txt", "x")
        else:
            path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"x\.faces"):
            open_faces(path)

    def test_another_ending_is_refused(self, tmp_path: Path) -> None:
        folder_of_pictures(tmp_path / "faces", 10)
        done = edge_train(tmp_path, "train", "pack", str(tmp_path / "faces"), "--out", str(tmp_path / "x.zip"))
        assert done.returncode == 2
        assert "ending .faces" in done.stderr


def test_letterbox_keeps_shapes() -> None:
    """A circle in a picture twice as wide as high stays a circle."""
    image = np.zeros((50, 100, 3), np.uint8)
    cv2.circle(image, (50, 25), 20, (255, 255, 255), -1)
    rows, columns = np.nonzero(letterbox(image, 96)[..., 0] > 127)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)
    assert 36 <= np.ptp(rows) <= 40


@pytest.mark.parametrize(
    "change",
    [
        {"targets": [99] * 70}, {"targets": [-1] * 70}, {"targets": [1.5] * 70}, {"targets": [[1]] * 70},
        {"targets": [0] * 69}, {"faces": 10**9}, {"faces": "70"}, {"side": 0}, {"side": 10**6}, {"labels": []},
        {"labels": [1, 2]}, {"labels": ["angry"] * 7}, {"labels": "abcdefg"}, {"names": ["x"] * 70},
        {"parts": ["foo"] * 70}, {"parts": [None] * 70}, {"persons": ["p"]}, {"persons": {}},
    ],
)  # fmt: skip
def test_a_packed_file_that_lies(tmp_path: Path, change: dict[str, object]) -> None:
    folder_of_pictures(tmp_path / "faces", 10)
    faces = open_faces(tmp_path / "faces")
    path = tmp_path / "x.faces"
    write_packed(faces, np.full(70, "train"), path)
    with zipfile.ZipFile(path) as archive:
        known = {**json.loads(archive.read("faces.json")), **change}
        picture = archive.read("0000.jpg")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("faces.json", json.dumps(known))
        archive.writestr("0000.jpg", picture)
    with pytest.raises(InputError, match=r"x\.faces"):
        open_faces(path)


def test_large_pictures_take_several_mosaics(tmp_path: Path) -> None:
    images = np.stack([cv2.resize(paint(index), (1024, 1024)) for index in range(18)])
    faces = FaceSet(images, np.arange(18) % 7, np.arange(18).astype(str), np.full(18, "train"))
    write_packed(faces, faces.splits, tmp_path / "x.faces")
    back = read_packed(tmp_path / "x.faces")
    assert np.abs(back.images.astype(int) - images).mean() < 3
