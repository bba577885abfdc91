"""The recipes of scripts/train-all: every run can be started as written, teachers before their students."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from faces import folder_of_pictures

from edge.errors import InputError
from train.augment import PRESETS
from train.cli.fit import fit_command
from train.config import FitConfig
from train.runs import load_toml
from train_all import RECIPES, commands

ROOT = Path(__file__).resolve().parent.parent
NAMED = {"votes": "ferplus_votes.csv", "aligned": "aligned"}


def test_an_empty_recipe_has_no_runs() -> None:
    with pytest.raises(InputError, match=r"no \[runs"):
        commands({"runs": {}}, {})


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_run_can_be_started(path: Path) -> None:
    recipe = load_toml(path)
    runs = commands(recipe, NAMED)
    seen = set(recipe.get("restored", ()))
    assert all((ROOT / parent).is_file() for parent in recipe.get("restored", {}).values())
    for name, options in runs.items():
        given = fit_command.make_context("fit", ["DATA", "--name", name, *options]).params
        teachers = given.pop("teacher")
        assert set(teachers) <= seen, f"{name} is taught by a run that comes later"
        seen.add(name)
        settings = {key: value for key, value in given.items() if value is not None and value != ()}
        for key in ("name", "tensorboard"):
            settings.pop(key)
        if "augmentation" in settings:
            settings["augmentation"] = PRESETS[settings["augmentation"]]
        replace(FitConfig(data=settings.pop("data")), teachers=teachers, **settings)  # it checks each value
    assert set(recipe.get("compare", runs)) <= {*runs, *seen}


KEPT = sorted(path for path in (ROOT / "docs" / "training").glob("*/*.json") if path.stem != "comparison")


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_figures_that_are_kept_are_of_the_recipe_as_it_is(path: Path) -> None:
    """And they say nothing of the machine that they were made on."""
    recipe = load_toml(RECIPES / f"{path.parent.name}.toml")
    restored = recipe.get("restored", {})
    wanted = [restored[path.stem]] if path.stem in restored else commands(recipe, NAMED)[path.stem]
    kept = json.loads(path.read_text())
    assert kept["recipe"] == wanted, "the recipe has changed since: train it anew"
    assert kept["run"]["name"] == path.stem
    assert not re.search(r'"/|\\\\', path.read_text())


def test_seeds_and_what_is_not_named() -> None:
    recipe = {"seeds": [0, 7], "options": {"votes": "{votes}", "size": 64}, "runs": {"a": {"size": 48}}}
    assert commands(recipe, {"votes": None}) == {
        "a-seed0": ["--size", "48", "--seed", "0"],
        "a-seed7": ["--size", "48", "--seed", "7"],
    }
    assert commands(recipe, {"votes": "v.csv"})["a-seed0"][:2] == ["--votes", "v.csv"]


def test_a_small_recipe_from_end_to_end(tmp_path: Path) -> None:
    """Two tiny runs, one taught by the other, evaluated and compared; the same command again has nothing left to do."""
    data = folder_of_pictures(tmp_path / "faces" / "train", 20).parent
    folder_of_pictures(data / "test", 4, seed=1)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        '[options]\nnetwork = "cnn"\nepochs = 1\nsize = 32\nbatch = 16\nthreads = 1\n[runs.first]\n'
        '[runs.second]\nteacher = ["first"]\n'
    )
    environment = {**os.environ, "EMOTION_EDGE_HOME": str(tmp_path / "home"), "PYTHON": sys.executable}
    command = [str(ROOT / "scripts" / "train-all"), str(recipe), str(data), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "second" in (tmp_path / "out" / "comparison.md").read_text()
    weights = tmp_path / "home" / "runs" / "second" / "best.safetensors"
    before = weights.stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    assert weights.stat().st_mtime_ns == before
    keeping = [*command, "--keep", str(tmp_path / "kept")]
    assert subprocess.run(keeping, capture_output=True, env=environment, timeout=300, check=False).returncode == 0
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["first.json", "second.json"]
    (tmp_path / "home").rename(tmp_path / "gone")
    elsewhere = subprocess.run(keeping, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert not (tmp_path / "home" / "runs").exists(), "what is kept is not trained again on another machine"
    recipe.write_text(recipe.read_text().replace("epochs = 1", "epochs = 2"))
    subprocess.run([*keeping, "--only", "first"], capture_output=True, env=environment, timeout=300, check=False)
    assert (tmp_path / "home" / "runs" / "first").exists(), "a recipe that asks otherwise is trained anew"
    wrong = subprocess.run([*command, "--only", "nobody"], capture_output=True, text=True, env=environment, check=False)
    assert wrong.returncode == 2
    assert "no run nobody" in wrong.stderr
    (tmp_path / "file").write_text("in the way")
    wrong = subprocess.run(
        [*command, "--keep", str(tmp_path / "file" / "kept")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    for text, says in (
        ("[", "not readable as TOML"),
        ("a = 1", "no [runs.NAME] tables"),
        (None, "not readable"),
        ("seeds = 3\n[runs.a]", "seeds are no list"),
        ("[runs]", "no [runs.NAME] tables"),
        ('[runs.a]\nvotes = "{vote}"', "a recipe may name {votes}"),
    ):
        recipe.unlink() if text is None else recipe.write_text(text)
        wrong = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert wrong.returncode == 2
        assert says in wrong.stderr
        assert "Traceback" not in wrong.stderr
