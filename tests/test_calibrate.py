"""Calibration: folding, the choice of pictures, ranges, fine-tuning, the ladder, and a candidate from end to end."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
import torch
from faces import edge_train, folder_of_pictures
from onnx import numpy_helper

from calibrate.cli import quantize_command
from calibrate.data import balanced_order, choose_calibration, refuse_test_pictures, unlabelled
from calibrate.dev import Dev, Figures
from calibrate.evidence import Layer, Rung, Trial, read_answers, read_evidence, write_answers
from calibrate.finetune import Course, Rounded, finetune, round_layers
from calibrate.folding import Norm, carry_back, fold_batch_norms
from calibrate.gate import Limits
from calibrate.ladder import Climb, Stand
from calibrate.onnx_int8 import Settings, prepare
from calibrate.parent import unfinished
from calibrate.ranges import METHODS
from calibrate.release import mark_release
from calibrate.report import write_report
from calibrate.report.record import judgement_of
from calibrate.statistics import divergence
from calibrate.sweep import Sweep
from calibrate.work import CLIMB, GRAPH, Work
from edge.align import Crop
from edge.errors import InputError
from edge.model import DEFAULT_MODEL
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier
from edge.model.tflite import TfliteClassifier
from edge.values import EMOTIONS
from train.cnn import Cnn
from train.datasets import FaceSet, as_crops, open_faces
from train.datasets.split import Split, split_faces
from train.export import Deployed, deployable, parent_bytes, to_onnx
from train.networks import build
from train.runs import Run, save_tensors

SIZE = 32
TEMPLATE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def info_of(network: str, **changes: Any) -> ModelInfo:
    """Facts of a small model."""
    facts = ModelInfo(
        name="bars", network=network, precision="fp32", labels=EMOTIONS, crop=Crop(SIZE, TEMPLATE, 1.0), gray=True,
        temperature=1.0, threshold=0.0, trained_on="bars", accuracy={}, licence="Apache-2.0", parent_sha256="",
    )  # fmt: skip
    return replace(facts, **changes)


def unsettled(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give every weight and every norm values of its own, as training does."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=random))
        for module in network.modules():
            if isinstance(module, Norm) and module.running_mean is not None and module.running_var is not None:
                module.running_mean.copy_(0.2 * torch.randn(module.num_features, generator=random))
                module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=random))
    return network.eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bars: 60 a class to learn from, 45 a class to be judged on."""
    root = tmp_path_factory.mktemp("bars")
    folder_of_pictures(root / "train", 60)
    folder_of_pictures(root / "test", 45, seed=1)
    return root


@pytest.fixture(scope="module")
def split(pictures: Path) -> Split:
    """The same, split."""
    return split_faces(open_faces(pictures))


@pytest.fixture(scope="module")
def learned(split: Split) -> Cnn:
    """A plain CNN that knows the bars."""
    torch.manual_seed(0)
    network = Cnn(len(EMOTIONS), drop=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    images = torch.from_numpy(as_crops(split.train.images, SIZE)).permute(0, 3, 1, 2).float() / 127.5 - 1
    targets = torch.from_numpy(split.train.targets)
    for step in range(60):
        chosen = torch.from_numpy(np.random.default_rng(step).permutation(len(targets))[:96])
        loss = torch.nn.functional.cross_entropy(network(images[chosen]), targets[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def folded(learned: Cnn) -> Deployed:
    """The same, ready for export, folded."""
    return fold_batch_norms(deployable(learned, size=SIZE, gray=True, temperature=1.0), SIZE)


@pytest.fixture(scope="module")
def exported(learned: Cnn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the float ONNX and, beside it, the weights it was made from, as `edge train export` leaves them."""
    out = tmp_path_factory.mktemp("exported")
    export_to(out, learned)
    return out


def export_to(out: Path, network: Cnn) -> None:
    """Write a network's float ONNX and its weights into a folder."""
    weights = parent_bytes(network, {"network": "cnn", "config": json.dumps({"folds": 5, "fold": 0})})
    info = info_of("cnn", parent_sha256=hashlib.sha256(weights).hexdigest())
    (out / "bars.fp16.safetensors").write_bytes(weights)
    (out / "bars-fp32.onnx").write_bytes(to_onnx(deployable(network, size=SIZE, gray=True, temperature=1.0), info))


def dev_of(folded: Deployed, faces: FaceSet, limits: Limits | None = None) -> Dev:
    """Faces with the float network's answers on them."""
    crops = as_crops(faces.images, SIZE)
    with torch.inference_mode():
        answers = folded(torch.from_numpy(crops)).numpy()
    return Dev(crops, faces.targets, faces.labels, answers, limits or Limits())


def silent(text: str) -> Callable[[int], None]:
    """Show nothing."""
    return lambda done: None


class TestFolding:
    """Batch norms into convolutions, and weights back from a graph."""

    @pytest.mark.parametrize(
        "name",
        ["cnn", "mobilenetv3_small_100", "resnet18", "tf_efficientnet_lite0", "legacy_xception", "efficientnet_b0"],
    )
    def test_no_norm_is_left_and_no_answer_moves(self, name: str) -> None:
        model = deployable(unsettled(build(name, 7)), size=64, gray=True, temperature=1.5)
        folded = fold_batch_norms(model, 64)
        assert not [module for module in folded.modules() if isinstance(module, Norm)]
        crops = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            assert (folded(crops) - model(crops)).abs().max() < 1e-4

    def test_a_norm_that_shares_its_input_stays(self) -> None:
        class Shared(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.norm, self.other = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()
                self.head = torch.nn.Linear(4, 7)

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                seen = self.conv(images)
                answers: torch.Tensor = self.head((self.norm(seen) + self.other(seen)).mean(dim=(2, 3)))
                return answers

        folded = fold_batch_norms(Deployed(unsettled(Shared()), 1.0).eval(), SIZE)
        assert [module for module in folded.modules() if isinstance(module, Norm)]

    def test_weights_come_back_from_the_graph(self, folded: Deployed) -> None:
        graph = prepare(to_onnx(folded, info_of("cnn")))
        changed = {}
        for each in graph.graph.initializer:
            if each.name.endswith(".bias"):
                changed[each.name] = numpy_helper.to_array(each) + 0.25
                each.CopyFrom(numpy_helper.from_array(changed[each.name], each.name))
        assert len(changed) == 9
        back = dict(carry_back(graph, folded).named_parameters())
        for name, values in changed.items():
            assert np.array_equal(back[name].detach().numpy(), values)

    def test_a_graph_of_another_network(self, folded: Deployed) -> None:
        other = prepare(to_onnx(deployable(unsettled(build("resnet18", 7)), size=SIZE, gray=True, temperature=1.0),
                                info_of("resnet18")))  # fmt: skip
        with pytest.raises(InputError, match="holds no weight"):
            carry_back(other, folded)


class TestData:
    """Which pictures ranges are taken from."""

    def test_every_beginning_is_even(self) -> None:
        targets = np.repeat([0, 1, 2], [100, 5, 50])
        order = balanced_order(targets)
        assert sorted(order) == list(range(155))
        assert np.bincount(targets[order[:25]]).tolist() == [10, 5, 10]
        assert np.bincount(targets[order[:9]]).tolist() == [3, 3, 3]

    def test_described_and_repeatable(self, split: Split) -> None:
        first, again = (choose_calibration(split, 70, 3, SIZE) for _ in range(2))
        other = choose_calibration(split, 70, 4, SIZE)
        assert first.described == again.described
        assert first.described["sha256"] != other.described["sha256"]
        assert set(first.described["per_class"].values()) == {10}
        assert first.crops.shape == (70, SIZE, SIZE, 3)
        assert np.array_equal(choose_calibration(split, 35, 3, SIZE).crops, first.crops[:35])

    def test_a_test_picture_is_refused(self, split: Split) -> None:
        spoilt = replace(split, train=split.test.take(np.arange(40)))
        with pytest.raises(InputError, match="40 calibration pictures are test pictures"):
            choose_calibration(spoilt, 40, 0, SIZE)
        refuse_test_pictures(split.train, split.test)

    def test_pictures_without_labels_are_others(self, split: Split) -> None:
        drawn = choose_calibration(split, 70, 0, SIZE)
        free = unlabelled(split, drawn.indices, 10_000, 0)
        assert len(free) == len(split.train) - 70
        assert not set(free.names) & set(split.train.names[drawn.indices])

    def test_no_pictures(self, split: Split) -> None:
        with pytest.raises(InputError, match="no training faces"):
            choose_calibration(replace(split, train=split.train.take(np.arange(0))), 10, 0, SIZE)


class TestFinetune:
    """Training with rounding in place."""

    def test_rounding_is_what_int8_does(self) -> None:
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(3, 5, 3, padding=1)
        values = torch.rand(2, 3, 8, 8) * 3 - 1
        rounded = Rounded(layer, -1.0, 2.0, per_channel=True)
        scale, zero = 3 / 255, round(255 / 3)
        steps = np.clip(np.round(values.numpy() / np.float32(scale)) + zero, 0, 255)
        weight = layer.weight.detach().numpy()
        sizes = np.abs(weight).reshape(5, -1).max(axis=1)[:, None, None, None] / 127
        expected = torch.nn.functional.conv2d(
            torch.from_numpy(((steps - zero) * scale).astype(np.float32)),
            torch.from_numpy((np.round(weight / sizes) * sizes).astype(np.float32)), layer.bias, padding=1,
        )  # fmt: skip
        assert (rounded(values) - expected).abs().max() < 1e-4

    def test_every_layer_but_the_classifier_is_rounded(self, folded: Deployed, split: Split) -> None:
        network = fold_batch_norms(folded, SIZE).network
        found = round_layers(network, torch.from_numpy(as_crops(split.dev.images, SIZE)), per_channel=True)
        assert len(found) == 8
        assert isinstance(network.head, torch.nn.Linear)

    def test_answers_come_nearer_to_the_parents(self, folded: Deployed, split: Split) -> None:
        """A network whose weights were jolted learns its parent's answers again, from pictures without labels."""
        jolted = fold_batch_norms(folded, SIZE)
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in jolted.parameters():
                parameter.mul_(1 + 0.3 * torch.randn(parameter.shape, generator=random))
        dev, crops = dev_of(folded, split.dev), choose_calibration(split, 35, 0, SIZE).crops

        def kl(model: Deployed) -> float:
            with torch.inference_mode():
                return float(divergence(dev.parent, model(torch.from_numpy(dev.crops)).numpy()).mean())

        told: list[tuple[int, int]] = []
        taught = finetune(folded, jolted, split.train, crops, Course(steps=30, batch=32, rate=1e-3),
                          progress=lambda done, of: told.append((done, of)))  # fmt: skip
        assert kl(taught) < 0.8 * kl(jolted)
        assert told[-1] == (30, 30)
        assert not [module for module in taught.modules() if isinstance(module, Rounded)], "nothing of it is exported"

    def test_a_rate_that_is_too_high(self, folded: Deployed, split: Split) -> None:
        crops = choose_calibration(split, 20, 0, SIZE).crops
        with pytest.raises(InputError, match="lower the rate"):
            finetune(folded, folded, split.train, crops, Course(steps=20, batch=16, rate=1e18))


def test_the_quick_way_offers_every_method() -> None:
    (option,) = [each for each in quantize_command.params if each.name == "method"]
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == ["auto", *METHODS]


class TestSweep:
    """Ways to take ranges."""

    @pytest.mark.parametrize(("target", "activation"), [("x86", "uint8"), ("arm", "int8")])
    def test_methods(self, folded: Deployed, split: Split, target: str, activation: str) -> None:
        graph = prepare(to_onnx(folded, info_of("cnn")))
        crops = choose_calibration(split, 35, 0, SIZE).crops
        sweep = Sweep(graph, info_of("cnn"), dev_of(folded, split.dev), crops, silent)
        trials = sweep.methods(target, 35)
        assert len(trials) == 2 * len(METHODS) + 1
        (chosen,) = [trial for trial in trials if trial.chosen]
        allowed = [t for t in trials if t.activation == activation or target == "arm"]
        assert chosen.kl == min(trial.kl for trial in allowed)
        curve = sweep.counts(chosen)
        assert [trial.count for trial in curve] == [35]
        assert sum(trial.chosen for trial in curve) == 1

    def test_the_curve_marks_the_most_that_are_as_near(self, folded: Deployed, split: Split) -> None:
        graph = prepare(to_onnx(folded, info_of("cnn")))
        crops = choose_calibration(split, 140, 0, SIZE).crops
        sweep = Sweep(graph, info_of("cnn"), dev_of(folded, split.dev), crops, silent)
        curve = sweep.counts(Trial("minmax", "uint8", True, 140, 0.0, 0.0))
        assert [trial.count for trial in curve] == [35, 70, 140]
        nearest = min(trial.kl for trial in curve)
        (chosen,) = [trial for trial in curve if trial.chosen]
        assert chosen.kl <= 1.1 * nearest
        assert all(trial.kl > 1.1 * nearest for trial in curve if trial.count > chosen.count)


class TestWork:
    """What lies on disk between two starts."""

    def climb(self, folded: Deployed) -> Climb:
        graph = prepare(to_onnx(folded, info_of("cnn")))
        stand = Stand(graph, graph, {"a": (-1.0, 2.0)}, Settings("int8", False, ("/x/Conv",)))
        rung = Rung("ranges", "onnx", "what", 0.5, 3, 2, 0.9, 0.01, 100, 1.5, True, True)
        layer = Layer("/x/Conv", "Conv", 9, 20.0, 0.5, 0.1, True, -1.0, 1.0, (0.0, 1.0), (3,))
        figures = Figures(0.5, 3, 2, 0.9, 0.01, True)
        return Climb(stand, [rung], [layer], {"onnx": b"model"}, {"onnx": figures}, ["note"], ["ranges"])

    def test_what_was_reached_comes_back(self, folded: Deployed, tmp_path: Path) -> None:
        climb = self.climb(folded)
        Work(tmp_path, {"seed": 1}).write_climb(climb)
        again = Work(tmp_path, {"seed": 1})
        assert again.resumed
        read = again.read_climb()
        assert read is not None
        assert read == climb

    def test_another_plan_begins_anew(self, folded: Deployed, tmp_path: Path) -> None:
        Work(tmp_path, {"seed": 1}).write_climb(self.climb(folded))
        other = Work(tmp_path, {"seed": 2})
        assert not other.resumed
        assert other.read_climb() is None
        assert Work(tmp_path, {"seed": 2}).resumed

    @pytest.mark.parametrize("name", [GRAPH, CLIMB, "int8.onnx"])
    def test_half_written_work_is_not_believed(self, folded: Deployed, tmp_path: Path, name: str) -> None:
        work = Work(tmp_path, {})
        work.write_climb(self.climb(folded))
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-3])
        assert work.read_climb() is None


@pytest.fixture(scope="module")
def candidate(exported: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate's folder, made by the command as a person types it, without TFLite."""
    home = tmp_path_factory.mktemp("home")
    out = home / "candidate"
    done = edge_train(
        home, "calibrate", "run", str(exported / "bars-fp32.onnx"), "--data", str(pictures), "--out", str(out),
        "--count", "70", "--unlabelled", "100", "--seconds", "2", "--no-tflite", "--max-drop", "5", "--max-class-drop",
        "10", "--pictures", "none", "--steps", "10",
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr
    first, *others = done.stdout.splitlines()
    assert first.startswith("bars: cnn, ")
    assert "pictures" in first, "what it is, before the first minute's work"
    assert any(line.startswith("ranges: ") for line in others)
    assert "\nranges, onnx: dev " in done.stdout, "a line for each rung, as it is judged"
    return out


class TestCandidate:
    """`edge calibrate run` and `check`, from end to end."""

    def test_everything_is_there(self, candidate: Path) -> None:
        for name in ("fp32.onnx", "int8.onnx", "report.html", "report.json", "report.md", "evidence.json"):
            assert (candidate / name).stat().st_size > 0, name
        small, whole = OnnxClassifier(candidate / "int8.onnx"), OnnxClassifier(candidate / "fp32.onnx")
        assert (small.info.precision, whole.info.precision) == ("int8", "fp32")
        assert small.info.calibration["per_class"].keys() == set(EMOTIONS)
        assert small.info.accuracy.keys() == {"dev", "test"}
        assert (candidate / "int8.onnx").stat().st_size < 0.4 * (candidate / "fp32.onnx").stat().st_size

    def test_the_evidence(self, candidate: Path) -> None:
        evidence = read_evidence(candidate)
        assert [rung.name for rung in evidence.ladder[:2]] == ["naive", "ranges"]
        assert not evidence.ladder[0].kept
        assert evidence.ladder[1].kept
        assert len(evidence.sweep) == 2 * len(METHODS) + 1
        assert len(evidence.layers) >= 8
        assert {cost.file for cost in evidence.costs} == {"fp32.onnx", "int8.onnx"}
        assert evidence.command.startswith("edge calibrate run ")
        page = (candidate / "report.html").read_text()
        assert "data:image/png" in page
        assert "lossless" not in page.lower()

    def test_it_is_marked_exactly_when_it_passes(self, candidate: Path) -> None:
        verdict = json.loads((candidate / "report.json").read_text())["verdict"]
        assert (candidate / "release.json").exists() == verdict["passes"]

    def test_the_same_command_again_climbs_nothing_anew(self, candidate: Path, exported: Path, pictures: Path) -> None:
        before = (candidate / "work" / CLIMB).stat().st_mtime_ns
        model = (candidate / "int8.onnx").read_bytes()
        done = edge_train(
            candidate.parent, "calibrate", "run", str(exported / "bars-fp32.onnx"), "--data", str(pictures), "--out",
            str(candidate), "--count", "70", "--unlabelled", "100", "--seconds", "2", "--no-tflite", "--max-drop", "5",
            "--max-class-drop", "10", "--pictures", "none", "--steps", "10",
        )  # fmt: skip
        assert done.returncode in (0, 4), done.stderr
        assert (candidate / "work" / CLIMB).stat().st_mtime_ns == before
        assert (candidate / "int8.onnx").read_bytes() == model

    def test_check_agrees_and_runs_the_files_again(self, candidate: Path, pictures: Path) -> None:
        passed = (candidate / "release.json").exists()
        done = edge_train(candidate.parent, "calibrate", "check", str(candidate), "--data", str(pictures))
        assert done.returncode == (0 if passed else 4), done.stderr
        assert "the same label on 100.00 %" in done.stdout

    def test_a_model_file_changed_afterwards(self, candidate: Path, tmp_path: Path) -> None:
        for path in candidate.iterdir():
            if path.is_file():
                (tmp_path / path.name).write_bytes(path.read_bytes())
        model = onnx.load(str(tmp_path / "int8.onnx"))
        model.doc_string = "another"
        onnx.save(model, str(tmp_path / "int8.onnx"))
        done = edge_train(tmp_path, "calibrate", "check", str(tmp_path))
        assert done.returncode == 4
        assert "int8.onnx" in done.stderr

    def test_with_tflite(self, exported: Path, pictures: Path, tmp_path: Path) -> None:
        if find_spec("litert_torch") is None or find_spec("ai_edge_quantizer") is None:
            pytest.skip("the extra tflite is not installed")
        done = edge_train(
            tmp_path, "calibrate", "run", str(exported / "bars-fp32.onnx"), "--data", str(pictures), "--out",
            str(tmp_path / "both"), "--count", "35", "--unlabelled", "50", "--seconds", "1", "--tflite", "--pictures",
            "none", "--steps", "4",
        )  # fmt: skip
        assert done.returncode in (0, 4), done.stderr
        evidence = read_evidence(tmp_path / "both")
        assert {facts.name for facts in evidence.files} == {"fp32.onnx", "int8.onnx", "fp32.tflite", "int8.tflite"}
        assert {(rung.name, rung.format) for rung in evidence.ladder} >= {("ranges", "onnx"), ("ranges", "tflite")}
        for rung in evidence.ladder:
            assert all(other.kept == rung.kept for other in evidence.ladder if other.name == rung.name), rung.name
        rows = read_answers(tmp_path / "both", "unlabelled").probabilities
        np.testing.assert_allclose(rows["fp32.tflite"], rows["fp32.onnx"], atol=1e-4)
        assert (rows["int8.tflite"].argmax(axis=1) == rows["int8.onnx"].argmax(axis=1)).mean() > 0.9
        small = TfliteClassifier(tmp_path / "both" / "int8.tflite")
        assert small.info.calibration == OnnxClassifier(tmp_path / "both" / "int8.onnx").info.calibration

    @pytest.fixture
    def released(self, candidate: Path, tmp_path: Path) -> Path:
        """A copy whose int8 file is said to have answered as its parent did, with the record of a real run."""
        folder = tmp_path / "released"
        folder.mkdir()
        for path in candidate.iterdir():
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        test = read_answers(folder, "test")
        alike = dict.fromkeys(test.probabilities, test.probabilities["fp32.onnx"])
        write_answers(folder, "test", replace(test, probabilities=alike))
        write_report(folder, pictures=None)
        evidence = read_evidence(folder)
        assert mark_release(folder, judgement_of(evidence, read_answers(folder, "test")))
        made = json.loads(DEFAULT_MODEL.with_name("lite2.json").read_text())["made"]
        (folder / "export.json").write_text(json.dumps(made))
        return folder

    def test_what_is_shipped(self, released: Path, tmp_path: Path) -> None:
        done = edge_train(tmp_path, "calibrate", "ship", str(released), "--to", str(tmp_path / "models"))
        assert done.returncode == 0, done.stderr
        written = {Path(line) for line in done.stdout.splitlines()}
        assert {path.name for path in written} == {
            "bars-int8.onnx", "bars.fp16.safetensors", "bars.json", "bars.md", "bars.report.html", "bars.report.json",
        }  # fmt: skip
        for path in written:
            assert str(tmp_path.parent) not in path.read_text(errors="ignore"), path.name
        card = (tmp_path / "models" / "bars.md").read_text()
        assert "edge calibrate run bars-fp32.onnx --data" in card
        assert "## What int8 cost: bars" in card
        shipped = OnnxClassifier(tmp_path / "models" / "bars-int8.onnx").info
        weights = (tmp_path / "models" / "bars.fp16.safetensors").read_bytes()
        assert shipped.parent_sha256 == hashlib.sha256(weights).hexdigest()

    def test_what_is_not_shipped(self, released: Path, tmp_path: Path) -> None:
        def refused(code: int) -> str:
            done = edge_train(tmp_path, "calibrate", "ship", str(released), "--to", str(tmp_path / "models"))
            assert done.returncode == code, done.stderr
            assert not (tmp_path / "models").exists()
            return done.stderr

        mark = (released / "release.json").read_bytes()
        (released / "release.json").unlink()
        assert "no release.json" in refused(4)
        (released / "release.json").write_bytes(mark)
        weights = (released / "parent.fp16.safetensors").read_bytes()
        (released / "parent.fp16.safetensors").write_bytes(weights + b"x")
        assert "not what int8.onnx was made from" in refused(2)
        (released / "parent.fp16.safetensors").write_bytes(weights)
        (released / "export.json").write_text("{}")
        assert "no record" in refused(2)
        (released / "int8.onnx").write_bytes(b"another")
        assert "int8.onnx" in refused(4)

    def test_a_bare_onnx_says_what_it_lacks(self, exported: Path, pictures: Path, tmp_path: Path) -> None:
        """Its data calls a class otherwise, as the check is told, too."""
        named = tmp_path / "named"
        shutil.copytree(pictures, named)
        for part in ("train", "test"):
            (named / part / "happy").rename(named / part / "joyful")
        (tmp_path / "alone-fp32.onnx").write_bytes((exported / "bars-fp32.onnx").read_bytes())
        done = edge_train(
            tmp_path, "calibrate", "run", str(tmp_path / "alone-fp32.onnx"), "--data", str(named), "--out",
            str(tmp_path / "out"), "--count", "35", "--unlabelled", "50", "--seconds", "1", "--all-rungs",
            "--label-map", "joyful=happy",
        )  # fmt: skip
        assert done.returncode in (0, 4), done.stderr
        evidence = read_evidence(tmp_path / "out")
        assert evidence.source == "bare float ONNX alone-fp32.onnx"
        assert any("a bare ONNX file holds no network" in note for note in evidence.notes)
        tried = {rung.name for rung in evidence.ladder}
        assert {"equalization", "bias correction", "adaptive rounding"} <= tried
        assert ("mixed precision" in tried) != any("no layer had to stay float" in note for note in evidence.notes)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["nothing"], "nothing: no run of that name or folder"),
            (["nothing.onnx"], "add --data"),
            (["nothing.onnx", "--data", "DATA"], "nothing.onnx"),
            (["MODEL", "--data", "nowhere"], "nowhere"),
            (["MODEL", "--data", "TRAIN"], "no test faces"),
            (["INT8", "--data", "DATA"], "is int8 already"),
        ],
    )
    def test_bad_input(
        self, exported: Path, candidate: Path, pictures: Path, tmp_path: Path, arguments: list[str], says: str
    ) -> None:
        stands = {"MODEL": exported / "bars-fp32.onnx", "DATA": pictures, "TRAIN": pictures / "train",
                  "INT8": candidate / "int8.onnx"}  # fmt: skip
        given = [str(stands.get(each, each)) for each in arguments]
        done = edge_train(tmp_path, "calibrate", "run", *given, "--out", str(tmp_path / "out"))
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_run_that_is_not_done(tmp_path: Path) -> None:
    run = Run(tmp_path / "young")
    run.folder.mkdir()
    assert unfinished(run, {"epochs": 9}) == (), "a run that was brought here without its last checkpoint"
    save_tensors(run.last, {"weight": torch.zeros(1)}, {"epoch": "2"})
    assert unfinished(run, {"epochs": 2}) == ()
    (note,) = unfinished(run, {"epochs": 9})
    assert note == "Run young is trained for 2 of its 9 epochs: this is the best of those."


def test_a_model_that_knows_nothing(learned: Cnn, pictures: Path, tmp_path: Path) -> None:
    """It is said before the work, and stands in the report."""
    dead = copy.deepcopy(learned)
    with torch.no_grad():
        dead.head.weight.zero_()
    export_to(tmp_path, dead)
    done = edge_train(
        tmp_path, "calibrate", "run", str(tmp_path / "bars-fp32.onnx"), "--data", str(pictures), "--out",
        str(tmp_path / "out"), "--count", "35", "--unlabelled", "10", "--seconds", "1", "--no-tflite", "--steps", "2",
        "--pictures", "none",
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr
    note = read_evidence(tmp_path / "out").notes[0]
    assert re.match(r"The float model is right on 14\.\d % of dev; always saying \w+ is on 14\.\d %", note)
    assert done.stdout.splitlines()[1] == note


@pytest.mark.parametrize(("changed", "passes"), [(0.0, True), (0.015, True), (0.03, False)])
def test_good_enough_is_to_keep_the_labels_too(folded: Deployed, split: Split, changed: float, passes: bool) -> None:
    """Limits that allow everything do not stop the repairs while too many labels change."""

    class Swapping:
        """The float model's answers, but for a share of pictures, spread evenly."""

        def __init__(self) -> None:
            self.seen = 0

        def classify(self, crops: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                answers = folded(torch.from_numpy(crops)).numpy()
            numbers = np.arange(self.seen, self.seen + len(crops))
            self.seen += len(crops)
            other = np.floor((numbers + 1) * changed) > np.floor(numbers * changed)
            return np.where(other[:, None], np.roll(answers, 1, axis=1), answers)

    faces = split.train
    dev = dev_of(folded, faces, Limits(max_drop=100, max_class_drop=100, max_bound=100))
    figures = dev.judge(Swapping())
    assert figures.agreement == pytest.approx(1 - changed, abs=1 / len(dev.targets))
    assert figures.passes == passes


def test_limits_that_nothing_can_meet(exported: Path, pictures: Path, tmp_path: Path) -> None:
    """With 20 test pictures not even unchanged answers prove enough: exit code 4, no mark, but the report."""
    few = tmp_path / "few"
    shutil.copytree(pictures / "train", few / "train")
    folder_of_pictures(few / "test", 3, seed=2)
    done = edge_train(
        tmp_path, "calibrate", "run", str(exported / "bars-fp32.onnx"), "--data", str(few), "--out",
        str(tmp_path / "out"), "--count", "35", "--unlabelled", "10", "--seconds", "1", "--no-tflite", "--steps", "2",
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert "pictures are too few" in done.stderr
    assert not (tmp_path / "out" / "release.json").exists()
    assert (tmp_path / "out" / "report.html").exists()
