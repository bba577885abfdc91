"""Reports of real runs, tiny ones: the scorer's figures, one file that needs no other, no faces when none are asked."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

from edge.cli import call
from edge.errors import InputError
from edge.measure.evaluate import classify_all, score_crops
from edge.measure.scores import score
from edge.model import DEFAULT_MODEL, load_model
from edge.values import EMOTIONS
from train.datasets import as_crops, open_faces
from train.report.arms import ABOVE, BELOW, SAME, UNDECIDED, Evaluated, differing, judge, make_arms
from train.report.command import without_paths
from train.report.cost import latencies, multiply_adds, parameters
from train.report.curves import precision_recall, receiver_operating, reliability
from train.report.page import render
from train.runs import Run, load_tensors

FIT = ["--network", "tf_mobilenetv3_small_minimal_100", "--epochs", "2", "--size", "48", "--batch", "8", "--rate",
       "0.003", "--warmup", "5", "--augmentation", "light", "--threads", "1"]  # fmt: skip
"""Little, but enough for more answers than one."""
NO_CASE = "disgust"
"""A class that the test pictures do not hold."""


def picture(rng: np.random.Generator, target: int) -> np.ndarray:
    """A bright bar whose angle is the class, on a background of its own."""
    image = cv2.resize(rng.integers(0, 200, (6, 6), np.uint8), (48, 48), interpolation=cv2.INTER_CUBIC)
    angle = np.pi * target / len(EMOTIONS)
    step = np.array([np.cos(angle), np.sin(angle)]) * 16
    middle = 24 + rng.uniform(-3, 3, 2)
    ends = [tuple(int(v) for v in np.round(middle + sign * step)) for sign in (-1, 1)]
    return cv2.line(image, ends[0], ends[1], 255, 5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of train and test pictures; one class has no test picture."""
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 4)):
        for target, label in enumerate(EMOTIONS):
            if split == "test" and label == NO_CASE:
                continue
            (root / split / label).mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(str(root / split / label / f"{index}.png"), picture(rng, target))
    return root


def edge(home: Path, *arguments: object) -> int:
    """Run `edge …` in this process, with runs in a home of the test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTION_EDGE_HOME", str(home))
        return call([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def home(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three runs: two that differ in their seed alone, one with another smoothing. All but that evaluated.

    Bars are no faces: the detector finds none, so that no template can be measured, and alignment falls back.
    """
    home, threads = tmp_path_factory.mktemp("home"), torch.get_num_threads()
    for name, options in (("bars-s0", ["--seed", 0]), ("bars-s1", ["--seed", 1]), ("other", ["--smoothing", 0.3])):
        assert edge(home, "train", "fit", data, "--name", name, *FIT, *options) == 0
    for name in ("bars-s0", "bars-s1"):
        assert edge(home, "train", "evaluate", name, "--align", "--threads", 1) == 0
    torch.set_num_threads(threads)
    return home


@pytest.fixture(scope="module")
def evaluated(home: Path) -> Path:
    """The folder of the first run's evaluation."""
    return home / "runs" / "bars-s0" / "evaluation"


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """A copy of the home, to spoil."""
    return Path(shutil.copytree(home, tmp_path / "home"))


def read(folder: Path) -> Any:
    """The figures that an evaluation wrote."""
    return json.loads((folder / "metrics.json").read_text())


def refused(capsys: pytest.CaptureFixture[str], home: Path, *arguments: object) -> str:
    """Run `edge …`, which must end with exit code 2; return its one line."""
    capsys.readouterr()
    code = edge(home, *arguments)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "━" not in line]
    assert code == 2, lines
    assert len(lines) == 1, lines
    return lines[0]


class Page(HTMLParser):
    """A page's pictures, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[np.ndarray] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "data", "poster", "action"):
                self.addresses.append(value or "")
        if tag == "img":
            data = base64.b64decode(str(dict(attrs)["src"]).partition("base64,")[2])
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            self.pictures.append(image)


def check_alone(text: str) -> None:
    """Make sure that a page needs no other file, no network and no script."""
    page = Page(text)
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|file:|url\(|@import|javascript:", rest)


class TestCurves:
    """Curves and bins, from nothing on."""

    def test_nothing(self) -> None:
        empty, none = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
        assert [curve.area for curve in receiver_operating(empty, none, ("a", "b"))] == [None, None]
        assert [curve.area for curve in precision_recall(empty, none, ("a", "b"))] == [None, None]
        assert [len(part) for part in reliability(empty, none)] == [0, 0, 0]

    def test_areas_by_hand(self) -> None:
        probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.7, 0.3, 0], [0.2, 0.8, 0]])
        targets = np.array([0, 0, 1, 1])
        roc = receiver_operating(probabilities, targets, ("a", "b", "c"))
        # of the four pairs of an a and a b, three are in the right order
        assert [curve.area for curve in roc] == [0.75, 0.75, None]
        # a is found at rank 1 (precision 1) and at rank 3 (precision 2/3)
        assert precision_recall(probabilities, targets, ("a", "b", "c"))[0].area == pytest.approx((1 + 2 / 3) / 2)

    def test_the_bins_are_the_scorers(self) -> None:
        rng = np.random.default_rng(0)
        probabilities = rng.dirichlet(np.ones(3), 400)
        targets = rng.integers(0, 3, 400)
        confidence, accuracy, count = reliability(probabilities, targets)
        assert count.sum() == 400
        gap = float((np.abs(confidence - accuracy) * count).sum() / count.sum())
        assert gap == pytest.approx(score(probabilities, targets, ("a", "b", "c"))["ece"])


class TestEvaluate:
    """`edge train evaluate`."""

    def test_figures_are_the_scorers(self, home: Path, data: Path, evaluated: Path) -> None:
        metrics = read(evaluated)
        (file,) = (home / "runs" / "bars-s0").glob("best-*.onnx")
        model, faces = load_model(file), open_faces(data)
        test = faces.take(faces.splits == "test")
        crops = as_crops(test.images, 48)
        assert metrics["figures"] == json.loads(json.dumps(score_crops(model, crops, test.targets)))
        assert metrics["n"] == metrics["figures"]["n"] == len(test) == 24
        assert metrics["model"] == model.info.id
        assert metrics["data_sha256"] == test.fingerprint()
        assert metrics["split"] == "test"
        assert metrics["command"] == "edge train evaluate bars-s0 --align --threads 1"
        before, after = metrics["before_alignment"], metrics["after_alignment"]
        assert {key: before[key] for key in metrics["figures"]} == metrics["figures"]
        assert before["found"] == after["found"] == before["of_found"]["n"] == after["of_found"]["n"] < 24
        assert after["n"] == 24, "where no face is found the whole picture counts"
        assert metrics["run"]["config"]["network"] == FIT[1]
        assert metrics["run"]["epochs_done"] == 2
        probabilities = classify_all(model, crops)
        assert metrics["roc_auc"]["happy"] == pytest.approx(
            receiver_operating(probabilities, test.targets, EMOTIONS)[3].area
        )

    def test_the_cached_file_is_what_export_would_make_of_these_weights(self, home: Path, data: Path) -> None:
        from train.fit import logits
        from train.networks import build

        folder = home / "runs" / "bars-s0"
        (file,) = folder.glob("best-*.onnx")
        model, faces = load_model(file), open_faces(data)
        network = build(FIT[1], 7)
        network.load_state_dict(load_tensors(folder / "best.safetensors")[0])
        raw = logits(network, faces, 48, torch.device("cpu")) / model.info.temperature
        expected = torch.softmax(torch.from_numpy(raw), dim=1).numpy()
        assert np.abs(model.classify(as_crops(faces.images, 48)) - expected).max() < 0.01, "fp16 rounding, no more"

    def test_the_report_is_one_file_that_needs_nothing(self, evaluated: Path, data: Path) -> None:
        text = (evaluated / "report.html").read_text()
        check_alone(text)
        assert sorted(path.name for path in evaluated.iterdir()) == ["metrics.json", "report.html"]
        metrics = read(evaluated)
        for share in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
            assert f"<b>{100 * metrics['figures'][share]:.1f} %</b>" in text
        assert "Before and after alignment" in text
        assert str(data.parent) not in text
        assert str(data.parent) not in json.dumps(metrics)

    def test_a_class_without_a_case_is_a_dash(self, evaluated: Path) -> None:
        metrics = read(evaluated)
        assert metrics["figures"]["per_class"][NO_CASE]["support"] == 0
        assert metrics["roc_auc"][NO_CASE] is None
        assert metrics["average_precision"][NO_CASE] is None
        row = re.search(rf"<tr><td>{NO_CASE}</td>(.*?)</tr>", (evaluated / "report.html").read_text())
        assert row is not None
        assert re.findall(r"<td>(.*?)</td>", row.group(1))[0] == "0"
        assert re.findall(r"<td>(.*?)</td>", row.group(1))[-2:] == ["–", "–"]

    def test_pictures_are_shown_or_not_at_all(self, home: Path, data: Path, evaluated: Path) -> None:
        """With pictures every sample is on the page to the pixel; without, none is, nor anything of its size."""
        faces = open_faces(data)
        crops = as_crops(faces.images, 48)[..., ::-1]  # (N, 48, 48, 3) BGR

        def held(pictures: list[np.ndarray]) -> int:
            small = [image for image in pictures if image.shape == crops.shape[1:]]
            return sum(any((image == crop).all() for crop in crops) for image in small)

        shown = Page((evaluated / "report.html").read_text())
        assert held(shown.pictures) >= 6, "one of each class that occurs, at the least"
        charts = len(shown.pictures) - held(shown.pictures)
        out = home / "bare"
        assert edge(home, "train", "evaluate", "bars-s0", "--pictures", "none", "--lime", 20, "--out", out) == 0
        text = (out / "report.html").read_text()
        bare = Page(text)
        assert held(bare.pictures) == 0
        assert charts == len(bare.pictures) == 4, "history, ROC, precision and recall, reliability"
        assert all(image.shape[1] == 792 for image in bare.pictures), "charts alone"
        assert "LIME, " not in text
        assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "report.html"]
        check_alone(text)
        assert read(out)["figures"] == read(evaluated)["figures"]

    def test_pictures_that_were_there_go(self, copied: Path) -> None:
        """The same folder again without pictures leaves none of the earlier report's behind."""
        folder = copied / "runs" / "bars-s0" / "evaluation"
        before = len(Page((folder / "report.html").read_text()).pictures)
        assert edge(copied, "train", "evaluate", "bars-s0", "--pictures", "none") == 0
        assert len(Page((folder / "report.html").read_text()).pictures) == 4 < before
        assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "report.html"]

    def test_lime_explains_right_and_wrong_answers(self, home: Path, evaluated: Path, tmp_path: Path) -> None:
        assert edge(home, "train", "evaluate", "bars-s0", "--lime", 30, "--out", tmp_path, "--threads", 1) == 0
        text = (tmp_path / "report.html").read_text()
        confusion = np.array(read(tmp_path)["figures"]["confusion"])
        right, total = np.diag(confusion), confusion.sum(axis=1)
        expected = int((right > 0).sum() + (total - right > 0).sum())
        assert text.count('class="pair"') == expected >= 6, "every class that occurs has an answer"
        drawn = [image for image in Page(text).pictures if image.shape == (192, 192, 3)]
        assert len(drawn) >= expected
        assert any((image[..., 1] > image[..., 0]).any() for image in drawn), "something is green"
        assert "aligned: <b" in text or text.count("No face was found to align.") == expected
        check_alone(text)

    def test_evaluating_again_makes_no_new_file_and_new_weights_do(self, copied: Path) -> None:
        folder = copied / "runs" / "bars-s0"
        (file,) = folder.glob("best-*.onnx")
        before = file.stat().st_mtime_ns
        assert edge(copied, "train", "evaluate", "bars-s0", "--pictures", "none") == 0
        assert file.stat().st_mtime_ns == before
        file.write_bytes(b"half a file")
        assert edge(copied, "train", "evaluate", "bars-s0", "--pictures", "none") == 0
        assert load_model(file).info.name == "bars-s0", "a damaged one is made again"
        shutil.copy(copied / "runs" / "bars-s1" / "best.safetensors", folder / "best.safetensors")
        assert edge(copied, "train", "evaluate", "bars-s0", "--pictures", "none") == 0
        (other,) = folder.glob("best-*.onnx")
        assert other != file
        assert len(list(folder.glob("best-*.onnx.json"))) == 1

    def test_a_model_file_and_its_dev_split(self, home: Path, data: Path, tmp_path: Path) -> None:
        (file,) = (home / "runs" / "other").parent.glob("bars-s1/best-*.onnx")
        model = Path(shutil.copy(file, tmp_path / "some.onnx"))
        out = tmp_path / "report"
        assert edge(home, "train", "evaluate", model, "--data", data, "--split", "dev", "--out", out) == 0
        metrics = read(out)
        assert metrics["split"] == "dev"
        assert metrics["data_sha256"] == Run(home / "runs" / "bars-s1").read_data()["dev_sha256"]
        assert metrics["file"]["name"] == "some.onnx"
        assert "run" not in metrics
        command = f"edge train evaluate some.onnx --data {data.name} --split dev --out report"
        assert metrics["command"] == command
        assert str(tmp_path) not in (out / "report.html").read_text()

    def test_mistakes_are_one_line(
        self, home: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evaluate = ["train", "evaluate"]
        (file,) = (home / "runs" / "bars-s0").glob("best-*.onnx")
        assert "no such run (those that are: " in refused(capsys, home, *evaluate, "nothing")
        assert not (home / "runs" / "nothing").exists(), "nothing is made for a run that is not there"
        assert "use a plain name" in refused(capsys, home, *evaluate, "a/b")
        assert "needs --out" in refused(capsys, home, *evaluate, file, "--data", data)
        assert "needs --data" in refused(capsys, home, *evaluate, file, "--out", tmp_path)
        assert "no such folder" in refused(capsys, home, *evaluate, "bars-s0", "--data", tmp_path / "no.zip")
        assert "no such model" in refused(capsys, home, *evaluate, "no.onnx", "--data", data, "--out", tmp_path)
        assert "--lime 1" in refused(capsys, home, *evaluate, "bars-s0", "--lime", 1)
        no_test = data / "train"
        line = refused(capsys, home, *evaluate, "bars-s0", "--data", no_test, "--split", "test", "--out", tmp_path)
        assert "choose --split dev" in line

    def test_data_that_has_moved_is_given_and_other_data_is_not_taken_for_it(
        self, copied: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        moved = copied / "elsewhere"
        shutil.copytree(data, moved)
        folder = copied / "runs" / "bars-s0"
        config = folder / "config.toml"
        config.write_text(config.read_text().replace(str(data), str(copied / "gone")))
        for file in folder.glob("best-*"):
            if file.suffix != ".safetensors":
                file.unlink()
        assert "gone" in refused(capsys, copied, "train", "evaluate", "bars-s0")
        assert edge(copied, "train", "evaluate", "bars-s0", "--data", moved, "--pictures", "none") == 0
        for file in folder.glob("best-*.onnx*"):
            file.unlink()
        shutil.rmtree(moved / "train" / "happy")
        line = refused(capsys, copied, "train", "evaluate", "bars-s0", "--data", moved)
        assert "is not what bars-s0 was trained on" in line

    def test_names_are_escaped(self) -> None:
        text = render("base.html")
        assert "<script" not in text
        values = {
            "command": "<script>alert(1)</script>", "machine": "<b>", "data": "<i>", "split": "test", "n": 1,
            "arms": [], "data_sha256": "", "kit": "", "labels": [], "keys": [],
        }  # fmt: skip
        text = render(
            "comparison.html", record=values, charts=[], overall=(), views=[], notes=["<u>"], span=lambda _: ""
        )
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert "<u>" not in text


def made_up(name: str, seed: int, accuracy: float, **config: Any) -> Evaluated:
    """An evaluated run with a given accuracy."""
    per_class = {label: {"f1": accuracy} for label in EMOTIONS}
    figures = {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "macro_f1": None,
        "ece": 0.1,
        "per_class": per_class,
    }
    return Evaluated(name, config, config, seed, {"figures": figures})


class TestArms:
    """What is one arm, its range, and which arms can be told apart."""

    def test_none_and_one(self) -> None:
        assert make_arms([]) == []
        assert judge([]) == []
        (arm,) = make_arms([made_up("only", 0, 0.5)])
        assert arm.name == "only"
        assert judge([arm]) == []
        assert differing([arm]) == {}

    def test_two_seeds_make_an_arm_with_mean_and_range(self) -> None:
        runs = [made_up("x-s0", 0, 0.5, loss="focal"), made_up("y", 0, 0.7), made_up("x-s1", 1, 0.6, loss="focal")]
        first, second = make_arms(runs)
        assert (first.name, first.seeds) == ("x", [0, 1])
        assert (second.name, second.seeds) == ("y", [0])
        reach = first.over_seeds("figures", "accuracy")
        assert reach is not None
        assert (reach.mean, reach.low, reach.high, reach.seeds) == (pytest.approx(0.55), 0.5, 0.6, 2)
        assert first.over_seeds("figures", "macro_f1") is None
        assert first.over_seeds("after_alignment", "accuracy") is None
        by_class = first.over_seeds("figures", "f1", "happy")
        assert by_class is not None
        assert by_class.mean == pytest.approx(0.55)
        assert differing([first, second]) == {"loss": ["focal", "–"]}

    @pytest.mark.parametrize(
        ("one", "other", "says"),
        [
            ([0.5, 0.6], [0.55, 0.7], SAME),
            ([0.5, 0.6], [0.6, 0.7], SAME),
            ([0.5, 0.9], [0.6, 0.7], SAME),
            ([0.5, 0.6], [0.61, 0.7], BELOW),
            ([0.8, 0.9], [0.61, 0.7], ABOVE),
            ([0.5, 0.6], [0.55], SAME),
            ([0.5, 0.6], [0.65], UNDECIDED),
            ([0.5], [0.65], UNDECIDED),
        ],
    )
    def test_verdicts(self, one: list[float], other: list[float], says: str) -> None:
        runs = [made_up(f"a{seed}", seed, value, loss="a") for seed, value in enumerate(one)]
        runs += [made_up(f"b{seed}", seed, value, loss="b") for seed, value in enumerate(other)]
        (verdict,) = judge(make_arms(runs))
        assert (verdict.first[0], verdict.second[0], verdict.says) == ("a", "b", says)
        assert ("one seed" in verdict.why) == (says == UNDECIDED)

    def test_one_seed_twice_is_refused(self) -> None:
        with pytest.raises(InputError, match="runs a and b are of one configuration and one seed"):
            make_arms([made_up("a", 3, 0.5), made_up("b", 3, 0.6)])

    def test_names_of_arms_stay_apart(self) -> None:
        runs = [made_up(f"x-s{n}", n % 2, 0.5, loss=("a", "b")[n // 2]) for n in range(4)]
        assert [arm.name for arm in make_arms(runs)] == ["x-s0+x-s1", "x-s2+x-s3"]

    def test_a_preset_of_the_augmentation_has_its_name(self) -> None:
        from train.augment import PRESETS

        runs = [
            made_up(name, 0, 0.5, augmentation=json.loads(json.dumps(dataclasses.asdict(settings))))
            for name, settings in PRESETS.items()
        ]
        assert differing(make_arms(runs)) == {"augmentation": list(PRESETS)}


class TestCost:
    """Parameters, multiply-adds and time."""

    def test_parameters_are_torchs(self, home: Path) -> None:
        from train.networks import build

        network = build(FIT[1], 7)
        weights = (home / "runs" / "bars-s0" / "best.safetensors").read_bytes()
        assert parameters(weights) == sum(value.numel() for value in network.parameters())
        with pytest.raises(InputError, match="no safetensors"):
            parameters(b"half a file")

    def test_multiply_adds_by_hand(self) -> None:
        helper = onnx.helper
        weights = {"conv": (8, 1, 3, 3), "gemm": (5, 8), "matmul": (5, 6)}
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["x", "conv"], ["a"], group=8, strides=[2, 2], pads=[1, 1, 1, 1]),
                helper.make_node("GlobalAveragePool", ["a"], ["b"]),
                helper.make_node("Flatten", ["b"], ["c"]),
                helper.make_node("Gemm", ["c", "gemm"], ["d"], transB=1),
                helper.make_node("MatMul", ["d", "matmul"], ["y"]),
            ],
            "made up",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 8, 10, 10])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 6])],
            [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        # depthwise, 8 channels of 5 x 5 from 9 each; then 8 to 5; then 5 to 6
        assert multiply_adds(model.SerializeToString()) == 8 * 25 * 9 + 8 * 5 + 5 * 6

    def test_multiply_adds_of_the_shipped_network(self) -> None:
        """The int8 graph, with its quantizers and folded norms, needs what torch's own modules do."""
        from train.networks import build

        model, total = load_model(), 0
        network = build(model.info.network, 7).eval()

        def count(module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
            nonlocal total
            weight = module.weight
            assert isinstance(weight, torch.Tensor)
            total += output.numel() * weight[0].numel()

        for module in network.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.register_forward_hook(count)
        with torch.inference_mode():
            network(torch.zeros(1, 3, model.info.crop.size, model.info.crop.size))
        assert multiply_adds(DEFAULT_MODEL.read_bytes()) == total > 50e6

    def test_times_are_medians_and_ratios_of_the_same_round(self, home: Path) -> None:
        (file,) = (home / "runs" / "bars-s0").glob("best-*.onnx")
        model, now = load_model(file), 0.0
        steps = iter([1, 3, 2, 4, 100, 300])  # seconds that each call takes: two models, three rounds

        def clock() -> float:
            nonlocal now, ends
            ends = not ends
            if not ends:
                now += next(steps)
            return now

        ends = False
        done: list[int] = []
        assert latencies([model, model], 3, done.append, clock) == [(2000.0, 1.0), (4000.0, 3.0)]
        assert done == [1, 2, 3]


class TestCompare:
    """`edge train compare`."""

    def test_two_seeds_and_a_run_without_evaluation(
        self, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "c"
        assert edge(home, "train", "compare", "bars-s0", "bars-s1", "other", "--out", out, "--rounds", 5) == 0
        assert sorted(path.name for path in out.iterdir()) == [
            f"comparison.{suffix}" for suffix in ("html", "json", "md", "png")
        ]
        record = json.loads((out / "comparison.json").read_text())
        assert record["command"] == "edge train compare bars-s0 bars-s1 other --out c --rounds 5"
        assert record["not_evaluated"] == ["other"]
        (arm,) = record["arms"]
        assert (arm["name"], arm["seeds"]) == ("bars", [0, 1])
        values = [read(home / "runs" / name / "evaluation")["figures"]["accuracy"] for name in ("bars-s0", "bars-s1")]
        expected = {"mean": pytest.approx(np.mean(values)), "low": min(values), "high": max(values), "seeds": 2}
        assert arm["figures"]["accuracy"] == expected
        assert arm["figures"]["f1"][NO_CASE] is None
        assert arm["after_alignment"]["accuracy"]["seeds"] == 2
        assert arm["ms"] > 0
        assert arm["ms_to_first"] == 1
        (file,) = (home / "runs" / "bars-s0").glob("best-*.onnx")
        assert arm["bytes"] == file.stat().st_size
        text, page = (out / "comparison.md").read_text(), (out / "comparison.html").read_text()
        for written in (text, page):
            assert "Not evaluated, and so not here: other" in written
            assert f"{100 * np.mean(values):.1f} ({100 * min(values):.1f}–{100 * max(values):.1f})" in written
            assert str(tmp_path) not in written
            assert str(home) not in written
            assert record["machine"] in written
        check_alone(page)
        assert cv2.imread(str(out / "comparison.png")) is not None
        shown = capsys.readouterr().out
        assert f"{100 * np.mean(values):.1f} (" in shown, "the table is printed, not only written"
        assert shown.rstrip().endswith("comparison.html")

    def test_an_evaluation_that_was_kept_stands_for_its_run(self, copied: Path, tmp_path: Path) -> None:
        kept, folder = tmp_path / "first.json", copied / "runs" / "bars-s0"
        shutil.copy(folder / "evaluation" / "metrics.json", kept)
        assert edge(copied, "train", "compare", "bars-s0", "bars-s1", "--out", tmp_path / "all", "--rounds", 2) == 0
        shutil.rmtree(folder)
        assert edge(copied, "train", "compare", kept, "bars-s1", "--out", tmp_path / "kept", "--rounds", 2) == 0
        before, after = (json.loads((tmp_path / name / "comparison.json").read_text()) for name in ("all", "kept"))
        for arm in (before["arms"][0], after["arms"][0]):
            assert arm["ms"] > 0
        alike = ("name", "network", "seeds", "parameters", "multiply_adds", "bytes", "figures", "after_alignment")
        assert all(after["arms"][0][key] == before["arms"][0][key] for key in alike)
        assert [run["kept"] for run in after["arms"][0]["runs"]] == [True, False]
        text = (tmp_path / "kept" / "comparison.md").read_text()
        assert "Evaluated earlier, figures as they were kept: bars" in text
        assert str(tmp_path) not in text

    @pytest.mark.parametrize("spoil", ["{", "[]", "{}", '{"run": {}}'])
    def test_a_file_that_is_no_evaluation(
        self, spoil: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.json").write_text(spoil)
        line = refused(capsys, home, "train", "compare", tmp_path / "x.json", "--out", tmp_path / "c")
        assert "is no evaluation of a run; give a metrics.json" in line
        assert "not readable (No such file" in refused(capsys, home, "train", "compare", tmp_path / "none.json")

    def test_arms_with_their_differences_and_verdict(self, copied: Path, tmp_path: Path) -> None:
        """Accuracies are written into the evaluations, so that the verdict is known: 0.5, 0.6 against one of 0.9."""
        assert edge(copied, "train", "evaluate", "other", "--pictures", "none") == 0
        for name, accuracy in (("bars-s0", 0.5), ("bars-s1", 0.6), ("other", 0.9)):
            path = copied / "runs" / name / "evaluation"
            metrics = read(path)
            metrics["figures"]["accuracy"] = accuracy
            (path / "metrics.json").write_text(json.dumps(metrics))
        runs = ["other", "bars-s0", "bars-s1"]
        assert edge(copied, "train", "compare", *runs, "--out", tmp_path, "--rounds", 2, "--by", "size") == 0
        record = json.loads((tmp_path / "comparison.json").read_text())
        assert [arm["name"] for arm in record["arms"]] == ["other", "bars"]
        assert record["keys"] == ["smoothing"]
        assert [arm["settings"] for arm in record["arms"]] == [{"smoothing": "0.3"}, {"smoothing": "0.1"}]
        (verdict,) = record["verdicts"]["figures"]
        assert verdict["says"] == UNDECIDED
        assert record["verdicts"]["after_alignment"] == [], "one of them was not aligned"
        text = (tmp_path / "comparison.md").read_text()
        assert "One seed, so no range: other" in text
        assert "Accuracy, whole picture: other is undecided against bars." in text
        assert "| other | 0.3 |" in text
        assert "| other | 0 | 90.0 |" in text

    def test_runs_with_and_without_aligned_faces_are_compared_as_each_was_trained(
        self, copied: Path, tmp_path: Path
    ) -> None:
        """One seed of either kind; what is written into the evaluations tells which figure is taken."""
        for name, aligned in (("bars-s0", None), ("bars-s1", "faces")):
            path = copied / "runs" / name / "evaluation"
            metrics = read(path)
            metrics["run"]["config"]["aligned"] = aligned
            metrics["figures"]["accuracy"], metrics["after_alignment"]["accuracy"] = 0.5, 0.7
            (path / "metrics.json").write_text(json.dumps(metrics))
        assert edge(copied, "train", "compare", "bars-s0", "bars-s1", "--out", tmp_path, "--rounds", 2) == 0
        record = json.loads((tmp_path / "comparison.json").read_text())
        assert [arm["as_trained"]["accuracy"]["mean"] for arm in record["arms"]] == [0.5, 0.7]
        assert "## Figures, as each was trained" in (tmp_path / "comparison.md").read_text()

    def test_mistakes_are_one_line(
        self, copied: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        compare = ["train", "compare", "--out", tmp_path]
        assert "not evaluated: other" in refused(capsys, copied, *compare, "other")
        assert "no such run (those that are: " in refused(capsys, copied, *compare, "nothing")
        path = copied / "runs" / "bars-s1" / "evaluation" / "metrics.json"
        good = json.loads(path.read_text())
        for spoiled in ("{", "[]", "{}", json.dumps({**good, "run": {}})):
            path.write_text(spoiled)
            assert "is no evaluation of a run" in refused(capsys, copied, *compare, "bars-s1")
        other = copy.deepcopy(good)
        other["data_sha256"] = "0"
        path.write_text(json.dumps(other))
        assert "evaluated on different pictures" in refused(capsys, copied, *compare, "bars-s0", "bars-s1")
        path.write_text(json.dumps(good))
        weights = copied / "runs" / "bars-s1" / "best.safetensors"
        shutil.copy(copied / "runs" / "bars-s0" / "best.safetensors", weights)
        line = refused(capsys, copied, *compare, "bars-s0", "bars-s1")
        assert "its weights are not those that were evaluated" in line

    def test_runs_that_began_with_others_are_told_apart_by_those_and_not_by_their_names(self, copied: Path) -> None:
        from train.report.evaluated import _complete, identity_of

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EMOTION_EDGE_HOME", str(copied))
            starts = [
                identity_of(_complete({"data": "x", "start": name, "seed": seed}), ("self",))
                for seed, name in enumerate(("bars-s0", "bars-s1", "other", "gone"))
            ]
        assert starts[0] == starts[1]
        assert starts[0] != starts[2]
        assert starts[3]["start"] == ["gone"]


def test_a_configuration_says_nothing_of_the_machine() -> None:
    given = {"data": "/a/b/faces.zip", "votes": None, "size": 96, "inner": {"scale": (0.5, 1.0), "path": "../c/d/"}}
    expected = {"data": "faces.zip", "votes": None, "size": 96, "inner": {"scale": [0.5, 1.0], "path": "d"}}
    assert without_paths(given) == expected
    assert without_paths("mqtt://127.0.0.1/x") == "mqtt://127.0.0.1/x"
