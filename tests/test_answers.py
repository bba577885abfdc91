"""Teachers' answers are kept for the next student, and are the same as those that are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from faces import edge_train, folder_of_pictures

from train.answers import KeptAnswers, answers_folder
from train.config import FitConfig
from train.runs import Run, load_tensors, save_tensors

FIT = ["--network", "tf_mobilenetv3_small_minimal_100", "--epochs", "2", "--size", "32", "--batch", "32",
       "--threads", "1"]  # fmt: skip


class Teacher:
    """Answers with the pictures' means, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Answer a batch."""
        self.asked += 1
        return inputs.mean(dim=(2, 3))


def epoch_of(kept: KeptAnswers, pictures: torch.Tensor, epoch: int, begin: int = 0) -> torch.Tensor:
    """Ask for an epoch's pictures, three at a time."""
    return torch.cat([kept(pictures[place : place + 3], epoch, place) for place in range(begin, len(pictures), 3)])


class TestKeptAnswers:
    """Asked once, read from then on."""

    PICTURES = torch.rand(9, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def test_nothing_is_kept_without_a_folder(self) -> None:
        teacher = Teacher()
        kept = KeptAnswers(teacher, None, 9)
        for _ in range(2):
            assert torch.equal(epoch_of(kept, self.PICTURES, 0), self.PICTURES.mean(dim=(2, 3)))
        assert teacher.asked == 6

    def test_the_second_student_does_not_ask(self, tmp_path: Path) -> None:
        teacher = Teacher()
        first = [epoch_of(KeptAnswers(teacher, tmp_path, 9), self.PICTURES, epoch) for epoch in (0, 1)]
        assert teacher.asked == 6
        student = KeptAnswers(teacher, tmp_path, 9)
        assert all(torch.equal(epoch_of(student, self.PICTURES, epoch), first[epoch]) for epoch in (0, 1))
        assert teacher.asked == 6
        epoch_of(student, self.PICTURES, 2)
        assert teacher.asked == 9, "an epoch that no student has seen"

    def test_an_epoch_that_was_not_whole_is_asked_anew(self, tmp_path: Path) -> None:
        teacher = Teacher()
        epoch_of(KeptAnswers(teacher, tmp_path, 9), self.PICTURES, 0, begin=3)
        epoch_of(KeptAnswers(teacher, tmp_path, 9), self.PICTURES[:6], 0)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("content", [b"", b"half", None], ids=["empty", "damaged", "of another length"])
    def test_what_is_damaged_is_asked_anew(self, tmp_path: Path, content: bytes | None) -> None:
        file, teacher = tmp_path / "00000.npy", Teacher()
        np.save(file, np.zeros((4, 3), np.float32)) if content is None else file.write_bytes(content)
        answers = epoch_of(KeptAnswers(teacher, tmp_path, 9), self.PICTURES, 0)
        assert torch.equal(answers, self.PICTURES.mean(dim=(2, 3)))
        assert np.array_equal(np.load(file), answers.numpy()), "and kept whole"

    def test_a_folder_that_cannot_be_written_costs_nothing_but_time(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        answers = epoch_of(KeptAnswers(Teacher(), tmp_path / "file" / "folder", 9), self.PICTURES, 0)
        assert torch.equal(answers, self.PICTURES.mean(dim=(2, 3)))


def test_what_changes_pictures_or_teachers_changes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_EDGE_HOME", str(tmp_path))
    save_tensors(Run(tmp_path / "runs" / "t").best, {"a": torch.zeros(2)})
    save_tensors(Run(tmp_path / "runs" / "u").best, {"a": torch.ones(2)})

    def folder(fingerprint: str = "f", **settings: object) -> Path | None:
        return answers_folder(FitConfig(data="d", **{"teachers": ("t",), **settings}), fingerprint)  # type: ignore[arg-type]

    same = folder()
    assert same is not None
    assert same == folder(network="resnet18", rate=0.1, precision="bf16", loss="focal")
    others = [
        folder("g"), folder(teachers=("u",)), folder(size=64), folder(seed=1), folder(epochs=3), folder(batch=48),
        folder(teacher_temperature=3.0), folder(sampling="over"), folder(finish_epochs=1),
    ]  # fmt: skip
    assert len({same, *others}) == 1 + len(others)
    assert folder(mixup=0.2) is folder(cutmix=1.0) is folder(aligned="x") is None


def test_two_students_of_one_teacher(tmp_path: Path) -> None:
    """The second reads what the first one asked for, and ends with the weights that it would have had without."""
    data, home = folder_of_pictures(tmp_path / "faces", 30), tmp_path / "home"
    for name, options in (("teacher", []), ("first", ["--teacher", "teacher"]), ("second", ["--teacher", "teacher"])):
        done = edge_train(home, "train", "fit", str(data), "--name", name, *FIT, *options)
        assert done.returncode == 0, done.stderr
    files = sorted((home / "cache" / "answers").rglob("*.npy"))
    assert [path.name for path in files] == ["00000.npy", "00001.npy"]
    first, second = (load_tensors(home / "runs" / name / "last.safetensors")[0] for name in ("first", "second"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    written = [path.stat().st_mtime_ns for path in files]
    for path in files:
        np.save(path, np.roll(np.load(path), 1, axis=1))
    done = edge_train(home, "train", "fit", str(data), "--name", "third", *FIT, "--teacher", "teacher")
    assert done.returncode == 0, done.stderr
    third = load_tensors(home / "runs" / "third" / "last.safetensors")[0]
    assert any(not torch.equal(first[key], third[key]) for key in first), "what is kept is what is learned from"
    assert written != [path.stat().st_mtime_ns for path in files]
