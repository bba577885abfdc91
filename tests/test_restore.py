"""A run made again from the parent file that ships beside a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from faces import edge_train, folder_of_pictures
from safetensors.torch import save_file

from edge.cli import call
from edge.model import DEFAULT_MODEL
from train.runs import Run, load_tensors

PARENT = DEFAULT_MODEL.with_name(DEFAULT_MODEL.name.replace("-int8.onnx", ".fp16.safetensors"))
STUDENT = ["--network", "tf_mobilenetv3_small_minimal_100", "--epochs", "1", "--size", "32", "--batch", "32",
           "--threads", "1"]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the shipped model's run in it."""
    monkeypatch.setenv("EMOTION_EDGE_HOME", str(tmp_path / "home"))
    assert call(["train", "restore", str(PARENT), "--name", "shipped"]) == 0
    return tmp_path / "home"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run `edge …`, which must end with exit code 2; return its one line."""
    capsys.readouterr()
    code = call([str(argument) for argument in arguments])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "━" not in line]
    assert (code, len(lines)) == (2, 1), lines
    return lines[0]


def test_it_holds_the_shipped_weights_and_how_they_came_to_be(home: Path) -> None:
    run = Run(home / "runs" / "shipped")
    theirs, said = load_tensors(PARENT)
    ours = load_tensors(run.best)[0]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key].to(theirs[key].dtype), theirs[key]) for key in ours)
    config = run.read_config()
    assert config is not None
    assert config["network"] == said["network"]
    assert run.read_data()["dev_sha256"] == json.loads(said["data"])["dev_sha256"]


def test_it_teaches(home: Path, tmp_path: Path) -> None:
    data = folder_of_pictures(tmp_path / "faces", 30)
    done = edge_train(home, "train", "fit", str(data), "--name", "student", *STUDENT, "--teacher", "shipped")
    assert done.returncode == 0, done.stderr
    (answers,) = (home / "cache" / "answers").rglob("*.npy")
    said = np.exp(np.load(answers))
    assert np.allclose(said.sum(axis=1), 1, atol=1e-4)
    assert said.max(axis=1).mean() > 2 / 7, "it is no network of random weights, which says the same of everything"


def test_the_same_again_changes_nothing_and_another_run_is_kept(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = Run(home / "runs" / "shipped").best
    before = best.read_bytes()
    assert call(["train", "restore", str(PARENT), "--name", "shipped", "--data", "moved.zip"]) == 0
    assert best.read_bytes() == before
    assert Run(home / "runs" / "shipped").read_config()["data"] == "moved.zip"  # type: ignore[index]
    (home / "runs" / "mine").mkdir()
    assert "there is another run of that name" in refused(capsys, "train", "restore", PARENT, "--name", "mine")
    assert list((home / "runs" / "mine").iterdir()) == []
    data = folder_of_pictures(tmp_path / "faces", 30)
    line = refused(capsys, "train", "fit", data, "--name", "shipped", "--epochs", "3")
    assert "it was restored from a shipped model" in line


def test_what_is_no_parent_is_refused(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.safetensors"
    tensors, said = load_tensors(PARENT)
    for content, says in (
        (None, "no such file"),
        ({}, "does not say how it was trained"),
        ({**said, "config": "[]"}, "does not say how it was trained"),
        ({**said, "data": "{}"}, "does not say how it was trained"),
        ({**said, "config": said["config"].replace("lite2", "lite0")}, "its weights are of another network"),
        ({**said, "config": said["config"].replace('"batch": 96', '"batch": "x"')}, "batch is"),
    ):
        wrong.unlink(missing_ok=True) if content is None else save_file(tensors, wrong, content)
        assert says in refused(capsys, "train", "restore", wrong, "--name", "bad")
        assert not (home / "runs" / "bad").exists()
    assert "plain name" in refused(capsys, "train", "restore", PARENT, "--name", "../bad")
    (home / "runs" / "shipped" / "restored.json").write_text("{}")
    assert "does not say what the run was restored from" in refused(
        capsys, "train", "restore", PARENT, "--name", "shipped"
    )
