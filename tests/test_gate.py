"""The gate: its statistics against closed forms and SciPy, every edge of its limits, and a check of real candidates."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from faces import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from calibrate.check import check
from calibrate.evidence import (
    FP32_ONNX,
    FP32_TFLITE,
    INT8_ONNX,
    INT8_TFLITE,
    Answers,
    Evidence,
    FileFacts,
    read_answers,
    read_evidence,
    write_answers,
    write_evidence,
)
from calibrate.gate import GateFailed, Limits, Verdict, judge, judge_candidate, limits_from
from calibrate.release import mark_release, sha256_of
from calibrate.report import write_report
from calibrate.report.record import judgement_of
from calibrate.statistics import (
    best_temperature,
    bootstrap_interval,
    brier,
    coverage_curve,
    divergence,
    drop_bound,
    drop_interval,
    labels_of,
    likelihood_loss,
    mcnemar,
    tempered,
    wilson,
)
from edge.errors import InputError
from edge.measure.evaluate import classify_all
from edge.model import DEFAULT_MODEL, load_model
from edge.values import EMOTIONS
from train.datasets import as_crops, open_faces
from train.export import deployable, to_onnx
from train.networks import build

counts = st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, 4000)).filter(sum)
"""Pictures lost, won and neither, one at least."""


def some_answers(seed: int, count: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and targets that are the likeliest class more often than not."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(classes, 0.6), count).astype(np.float32)
    return rows, np.where(rng.random(count) < 0.6, rows.argmax(axis=1), rng.integers(0, classes, count))


class TestStatistics:
    def test_nothing_gives_nothing(self) -> None:
        none = np.zeros((0, 3), np.float32)
        assert labels_of(none).shape == (0,)
        assert divergence(none, none).shape == (0,)
        assert coverage_curve(none, np.zeros(0, np.int64)) == []

    def test_a_row_that_is_no_probabilities_has_no_label(self) -> None:
        rows = np.array([[0.2, 0.8], [np.nan, 1], [np.inf, 0], [-0.5, 1.5], [0.2, 0.2], [0.5, 0.5]], np.float32)
        assert labels_of(rows).tolist() == [1, -1, -1, -1, -1, 0]

    @pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (5, 0), (3, 9), (40, 61), (700, 650), (3000, 10)])
    def test_mcnemar_is_the_binomial_test(self, lost: int, won: int) -> None:
        expected = scipy.stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
        assert mcnemar(lost, won) == pytest.approx(expected, rel=1e-9)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 3000), st.integers(1, 3000))
    def test_wilson_is_scipys(self, part: int, whole: int) -> None:
        part = min(part, whole)
        expected = scipy.stats.binomtest(part, whole).proportion_ci(method="wilson")
        got = wilson(part, whole)
        assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-9)

    @pytest.mark.parametrize("count", [1, 56, 3589])
    def test_bound_without_a_change_knows_the_count(self, count: int) -> None:
        z = scipy.stats.norm.ppf(0.95)
        assert drop_bound(0, 0, count) == pytest.approx(z * z / (count + z * z))
        assert bootstrap_interval(0, 0, count).high == 0  # which is why the gate does not go by it

    @settings(max_examples=30, deadline=None)
    @given(counts)
    def test_bound_is_where_the_score_test_stops_rejecting(self, numbers: tuple[int, int, int]) -> None:
        lost, won, neither = numbers
        count = lost + won + neither
        bound = drop_bound(lost, won, count)
        assert (lost - won) / count <= bound <= 1
        if bound > 1 - 1e-9:
            return

        def surprise(only_second: float) -> float:  # the likelihood, were `bound` the true drop
            shares = np.array([only_second + bound, only_second, 1 - bound - 2 * only_second])
            return -float(scipy.special.xlogy([lost, won, neither], np.maximum(shares, 1e-300)).sum())

        least, most = max(0.0, -bound), (1 - bound) / 2
        likeliest = scipy.optimize.minimize_scalar(surprise, bounds=(least, most), options={"xatol": 1e-12}).x
        deviation = math.sqrt(count * (2 * likeliest + bound * (1 - bound)))
        assert (count * bound - (lost - won)) / deviation == pytest.approx(scipy.stats.norm.ppf(0.95), rel=1e-3)

    @settings(max_examples=50, deadline=None)
    @given(counts)
    def test_intervals_hold_the_drop_and_turn_with_it(self, numbers: tuple[int, int, int]) -> None:
        lost, won, neither = numbers
        count = lost + won + neither
        for interval_of in (drop_interval, bootstrap_interval):
            one, other = interval_of(lost, won, count), interval_of(won, lost, count)
            assert one.low <= (lost - won) / count <= one.high
            assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1.01 / count)
        assert drop_interval(lost, won, count).high >= drop_bound(lost, won, count)

    @pytest.mark.parametrize(("lost_share", "won_share"), [(0.02, 0.02), (0.05, 0.02), (0.1, 0.1), (0.3, 0.1)])
    def test_bound_covers_in_a_class_of_56(self, lost_share: float, won_share: float) -> None:
        # All outcomes there are, each with its chance: no simulation. Score bounds swing about their level.
        count = 56
        outcomes = [(lost, won) for lost in range(count + 1) for won in range(count + 1 - lost)]
        chances = scipy.stats.multinomial.pmf(
            [(lost, won, count - lost - won) for lost, won in outcomes], count,
            [lost_share, won_share, 1 - lost_share - won_share],
        )  # fmt: skip
        likely = chances > 1e-6  # the rest adds up to less than 0.002
        covers = [ok and drop_bound(*each, count) >= lost_share - won_share
                  for each, ok in zip(outcomes, likely, strict=True)]  # fmt: skip
        assert 0.93 < chances[np.array(covers)].sum() <= 1

    def test_bound_and_bootstrap_cover_on_all_of_public_test(self) -> None:
        count, shares = 3589, (0.02, 0.015)
        drawn = np.random.default_rng(0).multinomial(count, [*shares, 1 - sum(shares)], 1000)[:, :2].tolist()
        truth = shares[0] - shares[1]
        bounded = np.mean([drop_bound(lost, won, count) >= truth for lost, won in drawn])
        assert bounded == pytest.approx(0.95, abs=0.025)  # 1000 draws: three standard errors are 0.021
        for interval_of in (drop_interval, bootstrap_interval):
            held = [interval_of(lost, won, count) for lost, won in drawn[:400]]
            assert np.mean([each.low <= truth <= each.high for each in held]) == pytest.approx(0.95, abs=0.035)

    def test_closed_bootstrap_is_what_resampling_pictures_gives(self) -> None:
        lost, won, count = 31, 19, 900
        steps = np.repeat([1, -1, 0], [lost, won, count - lost - won])
        rng = np.random.default_rng(0)
        sums = [steps[rng.integers(0, count, count)].sum() for _ in range(20_000)]
        got = bootstrap_interval(lost, won, count)
        # A quantile of 20,000 draws is off by a picture at the most.
        assert count * np.array([got.low, got.high]) == pytest.approx(np.quantile(sums, [0.025, 0.975]), abs=1.01)

    def test_divergence_is_scipys_entropy_and_zero_of_the_same(self) -> None:
        one, other = some_answers(0, 50)[0], some_answers(1, 50)[0]
        assert divergence(one, other) == pytest.approx(scipy.stats.entropy(one, other, axis=1), rel=1e-4)
        assert divergence(one, one).tolist() == [0.0] * 50
        sure = np.array([[1.0, 0.0]], np.float32)
        assert np.isfinite(divergence(sure, 1 - sure)).all()  # float32 gives zeros; infinity would say nothing

    def test_likelihood_and_brier_by_hand(self) -> None:
        rows, targets = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32), np.array([0, 1])
        assert likelihood_loss(rows, targets) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)
        assert brier(rows, targets) == pytest.approx((0.5 + 2 * 0.81) / 2)

    def test_temperature_is_taken_out_and_found_again(self) -> None:
        rows, targets = some_answers(0, 2000)
        assert tempered(tempered(rows, 2.0), 0.5) == pytest.approx(rows, abs=1e-6)
        found = best_temperature(rows, targets)
        least = scipy.optimize.minimize_scalar(
            lambda each: likelihood_loss(tempered(rows, each), targets), bounds=(0.2, 5)
        )
        assert found == pytest.approx(least.x, rel=1e-3)
        assert best_temperature(tempered(rows, found), targets) == pytest.approx(1, rel=1e-3)

    def test_coverage_by_hand(self) -> None:
        confidence = np.array([0.9, 0.6, 0.8, 0.7])
        rows = np.stack([confidence, 1 - confidence], axis=1)
        right = np.array([0, 1, 0, 1])  # the two surest are right, the others wrong
        expected = [(0.25, 1.0), (0.5, 1.0), (0.75, 2 / 3), (1.0, 0.5)]
        assert coverage_curve(rows, right, points=4) == [pytest.approx(each) for each in expected]


LABELS = EMOTIONS
SUPPORT = (467, 56, 496, 895, 653, 415, 607)
"""Pictures of each class in FER2013's PublicTest."""

LOOSE = Limits(100, 100, 100)


def one_hot(labels: np.ndarray, classes: int = len(LABELS)) -> np.ndarray:
    """Answers that are sure of these labels."""
    return np.eye(classes, dtype=np.float32)[labels]


def wrong(targets: np.ndarray) -> np.ndarray:
    """Another class for each."""
    return (targets + 1) % len(LABELS)


def judged(limits: Limits, *, lost: dict[str, int] | None = None, won: dict[str, int] | None = None,
           support: tuple[int, ...] = SUPPORT) -> Verdict:  # fmt: skip
    """A verdict where so many pictures of a class are lost and won, and the parent has all but the latter right."""
    targets = np.repeat(np.arange(len(support)), support)
    parent, candidate = targets.copy(), targets.copy()
    for changed, labels in ((candidate, lost or {}), (parent, won or {})):
        for label, count in labels.items():
            of_class = np.flatnonzero(targets == LABELS.index(label))
            where = of_class[:count] if changed is candidate else of_class[::-1][:count]
            changed[where] = wrong(targets[where])
    return judge(targets, one_hot(parent), one_hot(candidate), LABELS, limits)


class TestGate:
    def test_nothing_to_judge_by_does_not_pass(self) -> None:
        verdict = judged(Limits(), support=(0,) * 7)
        assert not verdict.passes
        assert verdict.drop is None
        assert verdict.bound is None
        assert verdict.reasons == ("There is no picture to judge by.",)
        assert verdict.overall.says() == "nothing to judge by"

    def test_the_same_answers_pass_on_many_pictures_and_not_on_few(self) -> None:
        many = judged(Limits())
        assert many.passes
        assert many.drop == 0
        assert many.bound == pytest.approx(100 * 1.645**2 / (3589 + 1.645**2), rel=1e-3)
        assert many.overall.says() == "no loss shown, interval −0.11 … 0.11 points"
        few = judged(Limits(), support=(20,) * 7)
        assert not few.passes
        assert "140 pictures are too few" in few.reasons[0]

    @pytest.mark.parametrize(("lost", "passes"), [(10, True), (11, False)])
    def test_half_a_point_of_2000_is_ten_pictures(self, lost: int, passes: bool) -> None:
        verdict = judged(
            Limits(max_bound=100, max_class_drop=100), lost={"happy": lost}, support=(0, 0, 0, 2000, 0, 0, 0)
        )
        assert verdict.passes is passes
        if not passes:
            assert verdict.reasons == (
                "Accuracy falls by 0.55 points, from 100.00 to 99.45 % (11 lost, 0 won); 0.5 points are allowed.",
            )

    def test_pictures_won_count_against_those_lost(self) -> None:
        verdict = judged(Limits(max_bound=100), lost={"happy": 40}, won={"happy": 30})
        assert verdict.passes
        assert (verdict.overall.lost, verdict.overall.won) == (40, 30)
        assert verdict.drop == pytest.approx(1000 / 3589)

    def test_a_small_drop_that_may_be_a_large_one_fails_by_its_bound(self) -> None:
        # As many change as one in six: the drop itself, 0.45, is within its limit.
        verdict = judged(Limits(max_class_drop=100), lost={"happy": 316}, won={"sad": 300})
        assert not verdict.passes
        assert verdict.drop == pytest.approx(0.446, abs=0.001)
        (reason,) = verdict.reasons
        assert reason.startswith("The drop in accuracy may be as large as 1.5")
        assert "too few" not in reason

    @pytest.mark.parametrize(
        ("label", "lost", "passes"),
        [
            ("disgust", 2, True),  # 56 pictures: 2 points are 1.12 pictures, so two pictures are allowed
            ("disgust", 3, False),
            ("happy", 17, True),  # 895 pictures: 17.9
            ("happy", 18, False),
        ],
    )
    def test_a_class_may_lose_two_points_or_two_pictures(self, label: str, lost: int, passes: bool) -> None:
        verdict = judged(Limits(max_drop=100, max_bound=100), lost={label: lost})
        assert verdict.passes is passes
        if not passes:
            assert f"{lost} pictures of {SUPPORT[LABELS.index(label)]}" in verdict.reasons[0]
            assert f"where {lost - 1} are allowed" in verdict.reasons[0]

    @pytest.mark.parametrize(
        ("support", "lost", "passes"),
        [(1, 1, True), (2, 2, True), (3, 3, False), (100, 2, True), (100, 3, False), (150, 3, True), (150, 4, False)],
    )
    def test_the_edge_between_points_and_pictures(self, support: int, lost: int, passes: bool) -> None:
        verdict = judged(Limits(100, 100, 2), lost={"fear": lost}, support=(50, 50, support, 50, 50, 50, 50))
        assert verdict.passes is passes

    def test_a_class_that_gains_hides_none_that_loses(self) -> None:
        verdict = judged(Limits(max_bound=100), lost={"disgust": 10}, won={"happy": 60})
        assert verdict.drop is not None
        assert verdict.drop < 0
        assert not verdict.passes
        assert [each.label for each in verdict.classes if not each.passes] == ["disgust"]

    def test_an_empty_class_is_said_and_not_judged(self) -> None:
        verdict = judged(Limits(), support=(600, 0, 600, 600, 600, 600, 600))
        assert verdict.passes
        disgust = verdict.classes[1]
        assert (disgust.support, disgust.parent, disgust.drop, disgust.interval) == (0, None, None, None)
        assert "Not judged for want of a picture: disgust." in verdict.reasons

    @pytest.mark.parametrize("whose", ["parent", "candidate"])
    def test_an_answer_that_is_no_number_fails(self, whose: str) -> None:
        targets = np.repeat(np.arange(7), SUPPORT)
        answers = {"parent": one_hot(targets), "candidate": one_hot(targets)}
        answers[whose][5, 2] = np.nan
        verdict = judge(targets, answers["parent"], answers["candidate"], LABELS, LOOSE)
        assert not verdict.passes
        assert "1 answer of" in verdict.reasons[0]
        assert (verdict.overall.lost, verdict.overall.won) == ((1, 0) if whose == "candidate" else (0, 1))

    def test_a_shown_loss_and_a_shown_gain_are_called_so(self) -> None:
        assert judged(LOOSE, lost={"happy": 50}).overall.says().startswith("a loss of 1.39 points, interval 1.0")
        gain = judged(LOOSE, won={"happy": 50})
        assert gain.overall.says().startswith("no loss shown, interval −1.8")
        assert gain.reasons[0].startswith("Accuracy rises by 1.39 points on 3,589 pictures")

    @pytest.mark.parametrize(
        ("targets", "rows"),
        [([0, 1], (3, 7)), ([0, 1], (2, 6)), ([0, 7], (2, 7)), ([0, -1], (2, 7)), ([0.0, 1], (2, 7))],
    )
    def test_answers_of_other_pictures_are_refused(self, targets: list[int], rows: tuple[int, int]) -> None:
        with pytest.raises(InputError):
            judge(np.array(targets), np.full(rows, 1 / rows[1]), np.full(rows, 1 / rows[1]), LABELS, LOOSE)

    @pytest.mark.parametrize("value", [-1, math.nan, math.inf, 101, "2"])
    def test_limits_are_points(self, value: float) -> None:
        with pytest.raises(InputError, match="--max-class-drop"):
            Limits(max_class_drop=value)

    def test_limits_of_evidence_fill_up_with_the_usual_ones(self) -> None:
        assert limits_from({"max_drop": 0.2}) == Limits(max_drop=0.2)
        assert limits_from({}) == Limits(0.5, 1.0, 2.0)


class TestCandidate:
    TARGETS = np.repeat(np.arange(7), SUPPORT)

    def judged(self, **spoiled: int) -> tuple[bool, tuple[str, ...]]:
        """The judgement of four files, of which some answer so many pictures wrong."""
        answers = {}
        for name in (FP32_ONNX, INT8_ONNX, FP32_TFLITE, INT8_TFLITE):
            labels = self.TARGETS.copy()
            count = spoiled.get(name.replace(".", "_"), 0)
            labels[:: len(labels) // max(count, 1)][:count] = 3  # spread over the classes, all called happy
            answers[name] = one_hot(labels)
        result = judge_candidate(self.TARGETS, answers, list(answers), LABELS, Limits())
        assert set(result.files) == {INT8_ONNX, FP32_TFLITE, INT8_TFLITE}
        return result.passes, result.reasons

    def test_four_good_files_pass(self) -> None:
        passes, reasons = self.judged()
        assert passes
        assert all(reason.split(": ")[0] in (INT8_ONNX, FP32_TFLITE, INT8_TFLITE) for reason in reasons)

    @pytest.mark.parametrize("bad", ["int8_onnx", "int8_tflite", "fp32_tflite"])
    def test_each_file_but_the_parent_is_judged(self, bad: str) -> None:
        passes, reasons = self.judged(**{bad: 200})
        assert not passes
        assert any(reason.startswith(f"{bad.replace('_', '.')}: Accuracy falls by") for reason in reasons)

    def test_many_reasons_make_one_short_line(self) -> None:
        targets = np.repeat(np.arange(7), SUPPORT)
        answers = {FP32_ONNX: one_hot(targets), INT8_ONNX: one_hot(wrong(targets))}
        result = judge_candidate(targets, answers, list(answers), LABELS, Limits())
        assert len(result.failing()) == 9  # accuracy, its bound, seven classes
        assert result.in_short().count("int8.onnx: ") == 3
        assert result.in_short().endswith(" And 6 more reasons.")

    def test_without_int8_or_parent_or_answers_nothing_passes(self) -> None:
        rows = one_hot(self.TARGETS)
        for files, answered, said in (
            ([FP32_ONNX], [FP32_ONNX], "No int8 file was judged."),
            ([FP32_ONNX, FP32_TFLITE], [FP32_ONNX, FP32_TFLITE], "No int8 file was judged."),
            ([INT8_ONNX], [INT8_ONNX], "fp32.onnx is missing: nothing to hold the others against."),
            ([FP32_ONNX, INT8_ONNX, INT8_TFLITE], [FP32_ONNX, INT8_ONNX], "int8.tflite: it has no answers"),
        ):
            result = judge_candidate(self.TARGETS, dict.fromkeys(answered, rows), files, LABELS, Limits())
            assert not result.passes
            assert any(reason.startswith(said) for reason in result.reasons)


# Real candidates: the shipped int8 file, and its float parent rebuilt from the weights beside it.


def rebuilt_parent() -> bytes:
    """The float ONNX file of the shipped model."""
    info = load_model().info
    (weights,) = DEFAULT_MODEL.parent.glob("*.fp16.safetensors")
    network = build(info.network, len(info.labels))
    network.load_state_dict({key: value.float() for key, value in load_file(weights).items()}, strict=False)
    ready = deployable(network, size=info.crop.size, gray=info.gray, temperature=info.temperature)
    return to_onnx(ready, replace(info, precision="fp32", accuracy={}))


def spoiled(file: Path) -> bytes:
    """An int8 file whose first convolution sees nothing, otherwise sound."""
    model = onnx.load(file)
    first = next(
        each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4
    )
    first.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tuple(first.dims), np.int8), first.name))
    return model.SerializeToString()


def write_candidate(folder: Path, data: Path) -> None:
    """Let the folder's model files answer the data, and write evidence, answers, report and mark."""
    faces = open_faces(data)
    models = {name: load_model(folder / name) for name in (FP32_ONNX, INT8_ONNX)}
    crops = as_crops(faces.images, models[FP32_ONNX].info.crop.size)
    answers = {name: classify_all(model, crops) for name, model in models.items()}
    for part in ("train", "test"):
        chosen = faces.splits == part
        write_answers(
            folder, {"train": "dev"}.get(part, part),
            Answers(tuple(map(str, faces.names[chosen])), faces.targets[chosen],
                    {name: rows[chosen] for name, rows in answers.items()}),
        )  # fmt: skip
    info = models[FP32_ONNX].info
    files = tuple(
        FileFacts(name, sha256_of(folder / name), (folder / name).stat().st_size, model.info.precision, "onnxruntime",
                  model.info.temperature) for name, model in models.items()
    )  # fmt: skip
    write_evidence(folder, Evidence(
        info.name, info.network, info.labels, info.threshold, "a bare float ONNX", data.name, "edge calibrate run",
        "x86", files, {"count": 280}, limits=vars(BARS),
    ))  # fmt: skip
    judge_again(folder)


def judge_again(folder: Path) -> None:
    """Write report and mark of what lies in a folder."""
    write_report(folder, pictures=None)
    mark_release(folder, judgement_of(read_evidence(folder), read_answers(folder, "test")), clock=lambda: NOON)


NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

BARS = Limits(30, 40, 60)
"""What the shipped model may lose on bars, which are no faces: it names them by chance."""


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn pictures in train and test folders, under the labels that the float parent gives to them."""
    root, rng = tmp_path_factory.mktemp("bars"), np.random.default_rng(0)
    parent = root / "parent.onnx"
    parent.write_bytes(rebuilt_parent())
    classifier = load_model(parent)
    images = np.stack([picture(rng, index % 7) for index in range(90)])
    labels = classifier.classify(as_crops(images, classifier.info.crop.size)).argmax(axis=1)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "data" / ("train" if index < 20 else "test") / EMOTIONS[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return root


@pytest.fixture(scope="module")
def marked(bars: Path) -> Path:
    """A candidate that passes, with its report and its mark."""
    folder = bars / "candidate"
    folder.mkdir()
    shutil.copy(bars / "parent.onnx", folder / FP32_ONNX)
    shutil.copy(DEFAULT_MODEL, folder / INT8_ONNX)
    write_candidate(folder, bars / "data")
    return folder


@pytest.fixture
def candidate(marked: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(marked, tmp_path / "candidate"))


def told(folder: Path) -> str:
    """What a check without data finds, which must not pass."""
    result = check(folder)
    assert not result.passes
    with pytest.raises(GateFailed) as refused:
        result.require()
    assert refused.value.exit_code == 4
    assert "\n" not in str(refused.value)
    return str(refused.value)


class TestCheck:
    def test_an_empty_folder_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no evidence\.json in it"):
            check(tmp_path)

    def test_what_was_written_passes_and_the_mark_says_what_it_covers(self, marked: Path) -> None:
        result = check(marked)
        assert result.problems == ()
        assert result.passes
        result.require()
        mark = json.loads((marked / "release.json").read_text())
        assert (mark["date"], mark["contract"], mark["verdict"]["passes"]) == ("2026-03-01", "1", True)
        assert {FP32_ONNX, INT8_ONNX, "evidence.json", "answers-test.npz", "report.json", "report.html"} <= set(
            mark["files"]
        )
        assert mark["files"][INT8_ONNX] == sha256_of(DEFAULT_MODEL)

    def test_with_data_every_file_is_run_again(self, marked: Path, bars: Path) -> None:
        steps = []
        result = check(marked, str(bars / "data"), progress=lambda what, done, total: steps.append((what, done, total)))
        assert result.passes
        assert result.same == {FP32_ONNX: 1.0, INT8_ONNX: 1.0}
        assert result.fresh is not None
        assert result.fresh.files[INT8_ONNX].overall == result.judgement.files[INT8_ONNX].overall
        assert steps[-1] == ("running int8.onnx", 70, 70)
        assert "run again, the same label on 100.00 % of the test pictures" in "\n".join(result.lines())

    def test_other_limits_judge_anew(self, marked: Path) -> None:
        result = check(marked, limits=Limits())  # 70 pictures cannot show less than a point
        assert not result.passes
        assert result.problems == ()
        with pytest.raises(GateFailed, match="70 pictures are too few"):
            result.require()

    @pytest.mark.parametrize("name", [FP32_ONNX, INT8_ONNX])
    def test_a_changed_model_file_is_told_by_name(self, candidate: Path, name: str) -> None:
        content = bytearray((candidate / name).read_bytes())
        content[len(content) // 2] ^= 1
        (candidate / name).write_bytes(content)
        assert f"{name}: it is not the file that was measured" in told(candidate)

    def test_a_model_file_cut_off_is_told_with_data_as_well(self, candidate: Path, bars: Path) -> None:
        (candidate / INT8_ONNX).write_bytes((candidate / INT8_ONNX).read_bytes()[:1000])
        result = check(candidate, str(bars / "data"))
        assert result.same == {FP32_ONNX: 1.0}
        with pytest.raises(GateFailed, match=r"int8\.onnx: it is not the file that was measured"):
            result.require()

    def test_a_missing_and_a_foreign_model_file_are_told(self, candidate: Path) -> None:
        (candidate / INT8_ONNX).rename(candidate / INT8_TFLITE)
        said = told(candidate)
        assert "int8.onnx: it is missing" in said
        assert "int8.tflite: it lies here, but was never measured" in said

    def test_changed_answers_are_told_by_name(self, candidate: Path) -> None:
        answers = read_answers(candidate, "test")
        answers.probabilities[INT8_ONNX][:2] = answers.probabilities[INT8_ONNX][:2, ::-1]
        write_answers(candidate, "test", answers)
        said = told(candidate)
        assert "answers-test.npz: it was changed after the report was written" in said
        assert "report.json: it does not say what evidence and answers say" in said

    @pytest.mark.parametrize(
        ("path", "value", "named"),
        [
            (("verdict", "files", INT8_ONNX, "overall", "drop"), -5.0, "verdict.files.int8.onnx.overall.drop is -5"),
            (("figures", "test", INT8_ONNX, "accuracy"), 1.25, "figures.test.int8.onnx.accuracy is 1.25 instead of"),
            (("verdict", "limits", "max_drop"), 0.5, "verdict.limits.max_drop is 0.5 instead of 30"),
            (("notes",), ["The best there is."], 'notes is ["The best there is."] instead of []'),
        ],
    )
    def test_an_edited_report_is_told_by_figure(
        self, candidate: Path, path: tuple[str, ...], value: object, named: str
    ) -> None:
        report = json.loads((candidate / "report.json").read_text())
        inner = report
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (candidate / "report.json").write_text(json.dumps(report))
        assert named in told(candidate)

    @pytest.mark.parametrize("name", ["report.html", "report.md", "evidence.json"])
    def test_an_edited_page_is_told_by_name(self, candidate: Path, name: str) -> None:
        (candidate / name).write_text((candidate / name).read_text().replace("x86", "arm", 1) + "\n")
        said = told(candidate)
        assert f"{name}: it was changed after the report was written" in said
        assert f"{name}: it is not the file that release.json marks" in said

    @pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"pages": 3, "inputs": 1}', b"\xff"])
    def test_damaged_report_and_mark_are_told(self, candidate: Path, damage: bytes) -> None:
        for name in ("report.json", "release.json"):
            (candidate / name).write_bytes(damage)
        said = told(candidate)
        assert "report.json: it is damaged" in said
        assert "release.json: it is damaged" in said
        (candidate / "report.json").unlink()
        assert "report.json: it is missing" in told(candidate)

    def test_a_forged_mark_is_told(self, candidate: Path) -> None:
        mark = json.loads((candidate / "release.json").read_text())
        mark["verdict"]["reasons"] = ["int8.onnx: nothing is lost"]
        mark["name"] = "another"
        (candidate / "release.json").write_text(json.dumps(mark))
        said = told(candidate)
        assert 'it marks "another" under contract 1' in said
        assert "release.json: its verdict is not what the answers say" in said

    def test_answers_that_fit_no_evidence_are_refused(self, candidate: Path) -> None:
        answers = read_answers(candidate, "dev")
        write_answers(candidate, "dev", replace(answers, targets=answers.targets + 7))
        with pytest.raises(InputError, match=r"answers-dev\.npz: expected a class for each of 20 pictures"):
            check(candidate)

    def test_other_pictures_are_refused(self, candidate: Path, bars: Path, tmp_path: Path) -> None:
        other = Path(shutil.copytree(bars / "data", tmp_path / "other"))
        next((other / "test").rglob("*.png")).unlink()
        with pytest.raises(InputError, match="it does not hold the 70 pictures"):
            check(candidate, str(other))

    def test_a_spoiled_model_fails_the_gate_and_is_not_marked(self, candidate: Path, bars: Path) -> None:
        (candidate / INT8_ONNX).write_bytes(spoiled(candidate / INT8_ONNX))
        with pytest.raises(GateFailed, match=r"int8\.onnx: it is not the file that was measured"):
            mark_release(candidate, judgement_of(read_evidence(candidate), read_answers(candidate, "test")))
        assert not (candidate / "release.json").exists()
        write_candidate(candidate, bars / "data")
        assert not (candidate / "release.json").exists()
        assert "Fails the gate" in (candidate / "report.html").read_text()
        assert "int8.onnx: Accuracy falls by" in told(candidate)

    def test_a_mark_on_what_fails_is_told(self, candidate: Path, bars: Path) -> None:
        kept = (candidate / "release.json").read_bytes()
        (candidate / INT8_ONNX).write_bytes(spoiled(candidate / INT8_ONNX))
        write_candidate(candidate, bars / "data")
        (candidate / "release.json").write_bytes(kept)
        assert "release.json: it is there, but the gate does not pass" in told(candidate)

    def test_a_spoiled_model_under_the_answers_of_a_good_one_is_found_with_data(
        self, candidate: Path, bars: Path
    ) -> None:
        (candidate / INT8_ONNX).write_bytes(spoiled(candidate / INT8_ONNX))
        evidence = read_evidence(candidate)
        files = tuple(replace(facts, sha256=sha256_of(candidate / facts.name)) for facts in evidence.files)
        write_evidence(candidate, replace(evidence, files=files))
        judge_again(candidate)
        assert check(candidate).passes  # all that lies here fits together
        result = check(candidate, str(bars / "data"))
        assert result.same[INT8_ONNX] < 0.9
        with pytest.raises(GateFailed, match=r"int8\.onnx: run again it gives the label of its stored answers on"):
            result.require()


def public_test(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """PublicTest's pictures, as crops, and their classes."""
    faces = open_faces(shared_data / "fer2013.zip")
    chosen = faces.splits == "test"
    return as_crops(faces.images[chosen], load_model().info.crop.size), faces.targets[chosen]


@pytest.mark.slow
def test_the_shipped_model_passes_on_public_test_and_a_spoiled_one_does_not(shared_data: Path, tmp_path: Path) -> None:
    crops, targets = public_test(shared_data)
    files = {"parent": rebuilt_parent(), "shipped": DEFAULT_MODEL.read_bytes(), "spoiled": spoiled(DEFAULT_MODEL)}
    rows = {}
    for name, content in files.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        rows[name] = classify_all(load_model(tmp_path / f"{name}.onnx", threads=2), crops)
    good = judge(targets, rows["parent"], rows["shipped"], EMOTIONS, Limits())
    assert good.passes, good.reasons
    assert good.drop is not None
    assert good.bound is not None
    assert good.drop < good.bound <= 1
    assert [each.support for each in good.classes] == list(SUPPORT)
    bad = judge(targets, rows["parent"], rows["spoiled"], EMOTIONS, Limits())
    assert not bad.passes
    assert bad.reasons[0].startswith("Accuracy falls by")
