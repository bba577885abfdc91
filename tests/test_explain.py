"""LIME: what it does with next to nothing, that it finds where a classifier looks, and its picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from edge.explain import Explanation, explain, heat, load_engine
from edge.explain.pictures import AGAINST, FOR
from edge.model import load_model

SIDE = 48


def noise(seed: int = 0) -> np.ndarray:
    """A crop with something to see everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def corner_contrast(crops: np.ndarray) -> np.ndarray:
    """A classifier of two labels that looks at the contrast of the corner above on the right, and nowhere else."""
    corner = crops[:, : SIDE // 4, -SIDE // 4 :].astype(np.float64)
    seen = np.clip(corner.std(axis=(1, 2, 3)) / 100, 0, 1)
    return np.stack([1 - seen, seen], axis=1)


class TestExplain:
    """The door and its reference engine."""

    def test_one_part_on_a_blank_picture(self) -> None:
        """Nothing to cut and nothing to learn: one part, which weighs nothing for who answers always alike."""
        blank = np.full((SIDE, SIDE, 3), 90, np.uint8)
        result = explain(blank, corner_contrast, 0, samples=20, segments=1)
        assert result.segments.shape == (SIDE, SIDE)
        assert result.segments.max() == 0
        assert result.weights == pytest.approx([0.0], abs=1e-9)
        assert np.isfinite(result.score)
        assert (heat(result) == 90).all(), "no weight, no colour"

    def test_the_heaviest_part_lies_where_the_classifier_looks(self) -> None:
        result = explain(noise(), corner_contrast, 1, samples=400, segments=40)
        count = int(result.segments.max()) + 1
        assert 20 < count <= 60, "about as many parts as asked for"
        assert len(result.weights) == count
        rows, columns = np.nonzero(result.segments == int(result.weights.argmax()))
        assert rows.mean() < SIDE / 4
        assert columns.mean() > 3 * SIDE / 4
        elsewhere = np.unique(result.segments[SIDE // 2 :])
        assert np.abs(result.weights[elsewhere]).max() < 0.1 * result.weights.max()
        assert result.score > 0.5
        assert result.label == 1

    def test_what_speaks_for_one_of_two_labels_speaks_against_the_other(self) -> None:
        one, other = (explain(noise(), corner_contrast, label, samples=200, segments=30) for label in (1, 0))
        assert np.allclose(one.weights, -other.weights, atol=1e-9)

    def test_a_seed_gives_the_same_explanation_again_and_another_seed_another(self) -> None:
        first, again, other = (
            explain(noise(), corner_contrast, 1, samples=60, segments=20, seed=seed) for seed in (3, 3, 4)
        )
        assert (first.weights == again.weights).all()
        assert (first.segments == again.segments).all()
        assert first.score == again.score
        assert (first.weights != other.weights).any()

    def test_the_shipped_model_on_a_real_face(self, portrait: Path) -> None:
        """A smile: the half of the crop that holds the mouth speaks for happy, more than the half above it."""
        from edge.align import align
        from edge.detect import load_detector

        model, image = load_model(), cv2.imread(str(portrait))
        assert image is not None
        (face,) = load_detector().detect(image)
        crop = align(image, face.box, face.landmarks, model.info.crop)
        happy = model.info.labels.index("happy")
        assert model.classify(crop[None]).argmax() == happy
        result = explain(crop, model.classify, happy, samples=300, segments=40)
        weight = result.weights[result.segments]  # (S, S)
        half = len(crop) // 2
        assert weight[half:].mean() > 2 * abs(weight[:half].mean())

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"image": np.zeros((8, 9, 3), np.uint8)}, r"expected uint8\[S, S, 3\]"),
            ({"image": np.zeros((8, 8), np.uint8)}, r"expected uint8\[S, S, 3\]"),
            ({"image": np.zeros((8, 8, 3), np.float32)}, r"float32\[8, 8, 3\]"),
            ({"label": 2}, "label 2 is none of the 2"),
            ({"label": -1}, "label -1 is none of the 2"),
            ({"samples": 1}, "samples is 1: give 2 or more"),
            ({"segments": 0}, "segments is 0"),
            ({"seed": -1}, "seed is -1"),
            ({"engine": "shap"}, 'no engine "shap"'),
        ],
    )
    def test_wrong_arguments_are_named(self, changes: dict[str, object], says: str) -> None:
        arguments: dict[str, object] = {"image": noise(), "classify": corner_contrast, "label": 0, **changes}
        with pytest.raises(InputError, match=says):
            explain(**arguments)  # type: ignore[arg-type]

    @pytest.mark.parametrize("missing", ["lime", "skimage"])
    def test_without_the_package_there_is_one_line(self, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "lime"]:
            monkeypatch.delitem(sys.modules, name)
        for name in [missing, *(name for name in sys.modules if name.partition(".")[0] == missing)]:
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match="pip install lime") as caught:
            load_engine()
        assert "\n" not in str(caught.value)
        assert missing in str(caught.value)

    def test_the_package_is_imported_when_it_is_needed(self) -> None:
        heavy = {"lime", "skimage", "sklearn", "scipy", "matplotlib", "torch"}
        code = "import sys, edge.explain; print(*{name.partition('.')[0] for name in sys.modules})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "edge" in done.stdout.split()
        assert not heavy & set(done.stdout.split())


class TestHeat:
    """The picture of an explanation."""

    @staticmethod
    def halves(left: float, right: float) -> Explanation:
        """A gray crop of two parts."""
        segments = np.zeros((8, 8), np.int64)
        segments[:, 4:] = 1
        return Explanation(np.full((8, 8, 3), 100, np.uint8), segments, np.array([left, right]), 0, 1.0)

    def test_green_for_and_red_against(self) -> None:
        drawn = heat(self.halves(0.2, -0.1))
        assert drawn.shape == (8, 8, 3)
        assert drawn.dtype == np.uint8
        left, right = drawn[0, 0].astype(int), drawn[0, 7].astype(int)
        assert left[1] > left[0], "more green than red"
        assert right[0] > right[1], "more red than green"
        toward = [np.abs(pixel - colour).sum() for pixel, colour in ((left, FOR), (right, AGAINST))]
        assert toward[0] < np.abs(100 - np.array(FOR)).sum() * 0.5, "the heaviest part is coloured the most"
        assert np.abs(100 - np.array(AGAINST)).sum() * 0.5 < toward[1] < np.abs(100 - np.array(AGAINST)).sum()

    def test_a_larger_side(self) -> None:
        drawn = heat(self.halves(1.0, 0.0), side=20)
        assert drawn.shape == (20, 20, 3)
        assert (drawn[:, 10:] == 100).all()
        assert (drawn[:, :10] == drawn[0, 0]).all()
