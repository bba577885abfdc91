"""Training: data and its split, augmentation, a run that is killed and goes on, export, int8. Small, but all real."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from faces import EDGE, edge_train, folder_of_pictures, picture
from safetensors.torch import load_file, save

from calibrate.data import balanced_order
from edge.align import Crop
from edge.cli import call
from edge.errors import InputError, OutsideError
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier
from edge.values import EMOTIONS
from train.augment import Augmentation, augment, sample_generator
from train.config import FitConfig, config_from
from train.datasets import FaceSet, as_crops, open_faces
from train.datasets.duplicates import duplicate_groups
from train.datasets.split import split_faces
from train.export import choose_on_dev, deployable, to_onnx
from train.fit import logits
from train.framing import measure_framing
from train.networks import build
from train.runs import Run, load_tensors, save_tensors


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a set of train and test pictures."""
    root = tmp_path_factory.mktemp("faces")
    folder_of_pictures(root / "train", 40)
    folder_of_pictures(root / "test", 5, seed=1)
    return root


FIT = ["--network", "tf_mobilenetv3_small_minimal_100", "--epochs", "3", "--early-epochs", "1", "--early-size", "32",
       "--size", "48", "--batch", "32", "--threads", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the finished run `whole`."""
    home = tmp_path_factory.mktemp("home")
    done = edge_train(home, "train", "fit", str(small), "--name", "whole", *FIT)
    assert done.returncode == 0, done.stderr
    return home


class TestData:
    """Reading and splitting."""

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no picture in it"):
            open_faces(tmp_path)

    def test_gray_stays_gray_and_splits_are_kept(self, small: Path) -> None:
        faces = open_faces(small)
        assert faces.images.shape == (7 * 45, 48, 48)
        assert faces.gray
        assert (np.bincount(faces.targets) == 45).all()
        assert (faces.splits == "test").sum() == 35

    def test_mixed_sizes_and_colours_become_crops(self, tmp_path: Path) -> None:
        for index, shape in enumerate([(30, 40, 3), (64, 64, 3)]):
            (tmp_path / "happy").mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / "happy" / f"{index}.png"), np.full(shape, (255, 0, 0), np.uint8))
        (tmp_path / "happy" / "broken.jpg").write_bytes(b"x")
        faces = open_faces(tmp_path, size=96)
        assert faces.images.shape == (2, 96, 96, 3)
        assert faces.images[0, 0, 0].tolist() == [0, 0, 255], "RGB"
        assert faces.unreadable == ("happy/broken.jpg",)

    def test_the_official_csv(self, tmp_path: Path) -> None:
        pixels = " ".join(["7"] * 2304)
        path = tmp_path / "fer2013.csv"
        path.write_text(
            f"\ufeffemotion,pixels,Usage\n3,{pixels},Training\n0,{pixels},PublicTest\n6,{pixels},PrivateTest\n"
        )
        faces = open_faces(path)
        assert faces.images.shape == (3, 48, 48)
        assert faces.targets.tolist() == [3, 0, 6]
        assert faces.splits.tolist() == ["train", "test", "private"]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "no column"),
            ("a,b\n1,2\n", "no column"),
            ("emotion,pixels,Usage\n", "it has no rows"),
            ("emotion,pixels,Usage\n3,1 2 3,Training\n", "line 2: 3 pixels instead of 2304"),
            ("emotion,pixels,Usage\n3\n", "line 2: 0 pixels"),
            ("emotion,pixels,Usage\n7,PIXELS,Training\n", 'line 2: emotion "7"'),
            ("emotion,pixels,Usage\n3,PIXELS,Dev\n", 'line 2: usage "Dev"'),
            ("emotion,pixels,Usage\n3,a b,Training\n", "not whole numbers"),
            ("emotion,pixels,Usage\n²,PIXELS,Training\n", 'line 2: emotion "²"'),
            ("emotion,pixels,Usage\n3," + "9" * 30 + ",Training\n", "line 2"),
            ("emotion,pixels,Usage\n3,PIXELS 900,Training\n", "2305 pixels"),
        ],
    )
    def test_a_wrong_csv_names_the_line(self, tmp_path: Path, text: str, says: str) -> None:
        path = tmp_path / "fer2013.csv"
        path.write_text(text.replace("PIXELS", " ".join(["0"] * 2304)))
        with pytest.raises(InputError, match=re.escape(says)):
            open_faces(path)

    def test_near_duplicates_are_found_and_strangers_are_not(self) -> None:
        rng = np.random.default_rng(0)
        base = np.stack([cv2.resize(rng.integers(0, 256, (6, 6), np.uint8), (48, 48)) for _ in range(4)])
        coded = cv2.imdecode(cv2.imencode(".jpg", base[0], [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
        brighter = cv2.convertScaleAbs(base[1], alpha=0.7, beta=20)
        blank = np.zeros((48, 48), np.uint8)
        groups = duplicate_groups(np.stack([*base, coded, brighter, base[2][:, ::-1], blank, blank]))
        assert groups[4] == groups[0]
        assert groups[5] == groups[1]
        assert groups[6] == groups[2], "a mirror image"
        assert len(set(groups[[0, 1, 2, 3, 7, 8]])) == 6, "strangers, and blank pictures, stay alone"

    def test_dev_is_a_tenth_and_shares_no_photograph(self, small: Path) -> None:
        faces = open_faces(small)
        doubled = FaceSet(
            np.concatenate([faces.images, faces.images[:50]]), np.concatenate([faces.targets, faces.targets[:50]]),
            np.concatenate([faces.names, faces.names[:50]]), np.concatenate([faces.splits, np.full(50, "train")]),
        )  # fmt: skip
        split = split_faces(doubled)
        seen = [{image.tobytes() for image in part.images} for part in (split.train, split.dev, split.test)]
        assert not seen[0] & seen[1]
        assert not seen[0] & seen[2]
        assert not seen[1] & seen[2]
        assert 0.05 < len(split.dev) / (len(split.train) + len(split.dev)) < 0.16
        again = split_faces(doubled.take(np.random.default_rng(0).permutation(len(doubled))))
        assert {i.tobytes() for i in again.dev.images} == seen[1], "the order of the pictures does not matter"

    def test_the_real_split(self, shared_data: Path) -> None:
        """Whoever reads FER2013 anywhere gets the dev split that the shipped model was chosen on."""
        split = split_faces(open_faces(shared_data / "fer2013.zip"))
        assert (len(split.train), len(split.dev), len(split.test)) == (25083, 2784, 3589)
        assert split.left_out == {"near-duplicates of test pictures": 831, "blank": 11}
        assert split.dev.fingerprint() == "16411ec8b3c9ec3090eaa43fc151a6d9573a361d511c8a702e585d6382d6f0e7"


class TestAugmentation:
    """Each picture from its own generator."""

    def test_nothing_asked_for_is_a_plain_resize(self) -> None:
        still = Augmentation(0, (1, 1), 0, 0, 0, 0, 0, 0, 0)
        image = picture(np.random.default_rng(0), 2)
        out = augment(image, 96, still, np.random.default_rng(0))
        # warpAffine leaves the half pixel outside the source black, resize repeats its edge: compare inside it
        difference = np.abs(out.astype(int) - cv2.resize(image, (96, 96)).astype(int))
        assert difference[2:-2, 2:-2].max() <= 3

    @pytest.mark.parametrize("shape", [(48, 48), (96, 96, 3)])
    def test_same_generator_same_picture(self, shape: tuple[int, ...]) -> None:
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        a, b, c = (augment(image, 64, Augmentation(), sample_generator(1, 2, index)) for index in (3, 3, 4))
        assert a.shape == (64, 64, *shape[2:])
        assert a.dtype == np.uint8
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


class TestRuns:
    """`edge train fit` as a person runs it."""

    def test_it_learns_and_leaves_a_whole_folder(self, trained: Path) -> None:
        run = Run(trained / "runs" / "whole")
        rows = run.read_metrics(3)
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]
        assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
        assert {"config.toml", "data.json", "metrics.csv", "best.safetensors", "last.safetensors", "dev.json"} <= {
            path.name for path in run.folder.iterdir()
        }

    def test_what_will_fall_short_is_said_at_the_start(self, small: Path, tmp_path: Path) -> None:
        """Pictures without a test split, few steps, and what came of them."""
        done = edge_train(
            tmp_path, "train", "fit", str(small / "train"), "--name", "few", "--network", "cnn", "--size", "48",
            "--batch", "200", "--epochs", "1", "--rate", "1e-9", "--threads", "1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        faces, no_test, few, epoch, nothing, following = done.stderr.splitlines()
        assert re.fullmatch(r"\d+ training and \d+ dev faces; cnn at 48 px; epochs: 1, steps in each: 1", faces)
        assert no_test.startswith("there is no test split")
        assert few.startswith("steps in all: 1, few for a network that begins anew")
        assert epoch.startswith("epoch 1/1: loss ")
        assert nothing.startswith("it has learned nothing yet: whoever always says the same is right on 1")
        assert following == "next: edge train evaluate few"

    def test_killed_in_an_epoch_it_ends_with_the_same_weights(self, small: Path, trained: Path, tmp_path: Path) -> None:
        environment = {**os.environ, "EMOTION_EDGE_HOME": str(tmp_path)}
        command = [*EDGE, "train", "fit", str(small), "--name", "killed", *FIT]
        last = tmp_path / "runs" / "killed" / "last.safetensors"
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(
                    "epoch 1"
                ):  # printed when the first epoch's checkpoint is written: it is in the second
                    break
            process.send_signal(signal.SIGKILL)
        assert last.exists()
        assert int(load_tensors(last)[1]["epoch"]) < 3, "it was killed before its last epoch"
        done = edge_train(tmp_path, "train", "fit", str(small), "--name", "killed", *FIT)
        assert done.returncode == 0, done.stderr
        assert "going on with" in done.stderr
        ours, theirs = load_tensors(last)[0], load_tensors(trained / "runs" / "whole" / "last.safetensors")[0]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["DATA", "--name", "a/b"], "use a plain name"),
            (["missing.zip", "--name", "x"], "no such folder or zip"),
            (["DATA", "--name", "x", "--network", "resnet_18"], 'no network "resnet_18" in timm'),
            (["DATA", "--name", "x", "--pretrained", "none.safetensors"], "no such weights file"),
            (["DATA", "--name", "x", "--epochs", "0"], "epochs is 0"),
            (["DATA", "--name", "x", "--batch", "4096"], "are too few"),
            (
                ["DATA", "--name", "whole", "--epochs", "5"],
                "begun otherwise (epochs 3, now 5)",
            ),
            (["DATA/train", "--name", "whole"], "is not what"),
            (["DATA", "--name", "x", "--rate", "nan"], "rate is nan"),
            (["DATA", "--name", "x", "--seed", "-1"], "seed is -1"),
            (["DATA", "--name", "x", "--start", "nothing"], "no finished epoch in it to start from"),
            (
                ["DATA", "--name", "x", "--network", "vit_tiny_patch16_224", "--size", "48"],
                "takes no pictures of 48 x 48",
            ),
            (["DATA", "--name", "a\nb"], "use a plain name"),
        ],
    )
    def test_mistakes_are_one_line(self, arguments: list[str], says: str, small: Path, trained: Path) -> None:
        done = edge_train(trained, "train", "fit", *(a.replace("DATA", str(small)) for a in arguments))
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_run_begins_with_anothers_weights(self, small: Path, trained: Path) -> None:
        """With a rate of nearly nothing the weights that come out are the ones that went in."""
        options = [*FIT[:2], "--size", "48", "--batch", "32", "--threads", "1", "--epochs", "1", "--rate", "1e-9"]
        command = ["train", "fit", str(small), "--name", "fine", "--start", "whole", "--head-rate", "1e-9", *options]
        done = edge_train(trained, *command, "--augmentation", "light")
        assert done.returncode == 0, done.stderr
        before = load_tensors(trained / "runs" / "whole" / "best.safetensors")[0]
        after = load_tensors(trained / "runs" / "fine" / "best.safetensors")[0]
        assert torch.allclose(after["classifier.weight"], before["classifier.weight"], atol=1e-5)

    def test_a_spoiled_checkpoint_is_named(self, small: Path, trained: Path, tmp_path: Path) -> None:
        shutil.copytree(trained / "runs" / "whole", tmp_path / "runs" / "whole")
        (tmp_path / "runs" / "whole" / "last.safetensors").write_bytes(b"half a file")
        done = edge_train(tmp_path, "train", "fit", str(small), "--name", "whole", *FIT)
        assert done.returncode == 2
        assert "not readable as safetensors" in done.stderr

    def test_weights_of_another_network_do_not_load(self, trained: Path) -> None:
        with pytest.raises(InputError, match="do not fit"):
            build("resnet18", 7, pretrained=str(trained / "runs" / "whole" / "best.safetensors"))

    def test_no_network_to_download_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(OutsideError, match="could not be downloaded"):
            build("tf_efficientnet_lite4", 7, pretrained="hub")


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """The shipped architecture, with random weights."""
    torch.manual_seed(0)
    return build("tf_efficientnet_lite0", 7).eval()


class TestExport:
    """What is exported answers as the network that was trained."""

    @staticmethod
    def info(**changes: Any) -> ModelInfo:
        template = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
        facts = {
            "name": "t", "network": "n", "precision": "fp32", "labels": EMOTIONS, "crop": Crop(64, template, 1.0),
            "gray": True, "temperature": 1.3, "threshold": 0.4, "trained_on": "x", "accuracy": {}, "licence": "x",
            "parent_sha256": "0",
        }  # fmt: skip
        return ModelInfo(**{**facts, **changes})

    def test_onnx_equals_torch_on_gray_and_colour(self, network: torch.nn.Module) -> None:
        """Static pads, folded gray, normalisation, temperature and softmax, against the plain network by hand."""
        model = deployable(network, size=64, gray=True, temperature=1.3)
        graph = to_onnx(model, self.info())
        rng = np.random.default_rng(0)
        colour = np.stack([cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 3) for _ in range(3)])
        luma = (colour.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)) / 127.5 - 1
        with torch.inference_mode():
            plain = network(torch.from_numpy(luma)[:, None].expand(-1, 3, -1, -1))
        expected = torch.softmax(plain / 1.3, dim=1).numpy()
        classifier = OnnxClassifier.from_bytes(graph, "t")
        assert np.abs(classifier.classify(colour) - expected).max() < 1e-4
        assert np.abs(classifier.classify(colour[:1]) - expected[:1]).max() < 1e-4
        kinds = {node.op_type for node in onnx.load_model_from_string(graph).graph.node}
        assert not kinds & {"Shape", "Ceil", "Slice"}, "no arithmetic on sizes is left for a quantizer to stumble on"

    def test_temperature_and_threshold(self) -> None:
        """Logits three times too loud get a temperature of three; the threshold is where right becomes likelier."""
        rng = np.random.default_rng(0)
        honest = rng.normal(0, 2, (20_000, 7))
        shares = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
        targets = (shares.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
        choice = choose_on_dev(honest * 3, targets)
        assert choice.temperature == pytest.approx(3, rel=0.05)
        assert choice.dev_nll_after < choice.dev_nll_before
        assert choice.threshold == pytest.approx(0.5, abs=0.04)

    def test_too_few_faces_for_a_template(self) -> None:
        from edge.detect import load_detector

        with pytest.raises(InputError, match="too few for a template"):
            measure_framing(np.zeros((3, 48, 48), np.uint8), load_detector(), 96)


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float file of the run. Bars are no faces, so its template is made up; a measured one comes below."""
    out = tmp_path_factory.mktemp("out")
    run = Run(trained / "runs" / "whole")
    network = build("tf_mobilenetv3_small_minimal_100", 7)
    network.load_state_dict(load_tensors(run.best)[0])
    model = deployable(network, size=48, gray=True, temperature=1.0)
    info = TestExport.info(crop=Crop(48, TestExport.info().crop.template, 1.0), temperature=1.0)
    (out / "bars-fp32.onnx").write_bytes(to_onnx(model, info))
    return out


class TestDelivery:
    """From the run to int8."""

    @pytest.mark.parametrize("method", ["auto", "minmax"])
    def test_int8_keeps_the_contract_and_nearly_all_answers(self, exported: Path, small: Path, method: str) -> None:
        out = exported / f"{method}-int8.onnx"
        done = edge_train(
            exported, "calibrate", "quantize", str(exported / "bars-fp32.onnx"), "--data", str(small),
            "--out", str(out), "--method", method, "--count", "70",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        small_one = OnnxClassifier(out)
        assert small_one.info.precision == "int8"
        assert set(small_one.info.accuracy) == {"dev", "test"}
        assert out.stat().st_size < 0.5 * (exported / "bars-fp32.onnx").stat().st_size
        crops = as_crops(open_faces(small).images, 48)
        agreed = small_one.classify(crops).argmax(1) == OnnxClassifier(exported / "bars-fp32.onnx").classify(
            crops
        ).argmax(1)
        assert agreed.mean() > 0.8, "a three-epoch network on bars is unsure, but not another network"

    def test_the_float_parent_is_not_written_over(self, exported: Path, small: Path) -> None:
        parent = exported / "bars-fp32.onnx"
        before = parent.read_bytes()
        done = edge_train(exported, "calibrate", "quantize", str(parent), "--data", str(small), "--out", str(parent))
        assert done.returncode == 2
        assert "would write over the float model" in done.stderr
        assert parent.read_bytes() == before

    def test_quantizing_twice_is_refused(self, exported: Path, small: Path) -> None:
        done = edge_train(
            exported, "calibrate", "quantize", str(exported / "minmax-int8.onnx"), "--data", str(small), "--out",
            str(exported / "x.onnx"),
        )  # fmt: skip
        assert done.returncode == 2
        assert "is int8 already" in done.stderr

    def test_export_and_card_on_real_faces(self, shared_data: Path, tmp_path: Path) -> None:
        """The whole way on 1,000 faces of FER2013: fit, export, quantize, card, evaluate."""
        data = str(shared_data / "fer2013.zip")
        steps = [
            ["train", "fit", data, "--name", "tiny", *FIT[:2], "--epochs", "1", "--size", "48", "--limit", "1000"],
            ["train", "export", "tiny", "--out", str(tmp_path), "--faces", "150"],
            ["calibrate", "quantize", str(tmp_path / "tiny-fp32.onnx"), "--data", data, "--method", "minmax", "--count",
             "70", "--out", str(tmp_path / "tiny-int8.onnx")],
            ["calibrate", "card", str(tmp_path / "tiny-fp32.onnx"), str(tmp_path / "tiny-int8.onnx"), "--data", data,
             "--split", "test", "--out", str(tmp_path / "tiny.md")],
        ]  # fmt: skip
        for step in steps:
            done = edge_train(tmp_path, *step)
            assert done.returncode == 0, done.stderr
        card = (tmp_path / "tiny.md").read_text()
        assert "3589 pictures" in card
        assert str(tmp_path) not in card
        assert str(shared_data) not in (tmp_path / "tiny.json").read_text()
        classifier = OnnxClassifier(tmp_path / "tiny-int8.onnx")
        eyes, mouth = classifier.info.crop.template[:2], classifier.info.crop.template[3:]
        assert eyes[0, 0] < 0.5 < eyes[1, 0]
        assert eyes[:, 1].max() < 0.5 < mouth[:, 1].min(), "eyes above, mouth below"
        parent = tmp_path / "tiny.fp16.safetensors"
        for step in (
            ["train", "restore", str(parent), "--name", "again", "--data", data],
            ["train", "export", "again", "--out", str(tmp_path / "again"), "--name", "tiny", "--faces", "150"],
        ):
            done = edge_train(tmp_path, *step)
            assert done.returncode == 0, done.stderr
        (ours, said), (theirs, told) = load_tensors(tmp_path / "again" / parent.name), load_tensors(parent)
        assert said == told, "it is the same run"
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        record = json.loads((tmp_path / "again" / "tiny.export.json").read_text())
        assert record["restored_from"] == parent.name


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run `edge …` in this process; return the one line with which it ends with exit code 2."""
    capsys.readouterr()
    code = call([str(argument) for argument in arguments])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code == 2, lines
    assert len([line for line in lines if "━" not in line and not line.startswith("going on")]) == 1, lines
    return lines[-1]


@pytest.fixture
def copied(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run's folder, in a home of its own."""
    monkeypatch.setenv("EMOTION_EDGE_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(trained / "runs" / "whole", tmp_path / "home" / "runs" / "whole"))


class TestDamage:
    """Sources, options, run folders and places that are not as they should be."""

    def test_validation_folders_are_left_out_and_strays_refused(self, small: Path, tmp_path: Path) -> None:
        source = Path(shutil.copytree(small, tmp_path / "faces"))
        shutil.copytree(source / "test", source / "valid")
        split = split_faces(open_faces(source))
        assert split.left_out["of other splits"] == 35
        assert len(split.train) + len(split.dev) == len(split_faces(open_faces(small)).train) + len(split.dev)
        shutil.copytree(source / "test" / "happy", source / "happy")
        with pytest.raises(InputError, match="outside of its split folders"):
            open_faces(source)

    @pytest.mark.parametrize(
        "data",
        ["emotion,pixels,Usage\n".encode("utf-16"), b"\x89PNG\xff\x00\x01\n",
         b"emotion,pixels,Usage\n" + b"1" * 5000 + b"," + b"0 " * 2304 + b",Training\n"],
    )  # fmt: skip
    def test_a_csv_that_is_none(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "fer2013.csv"
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"fer2013\.csv") as caught:
            open_faces(path)
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        "values",
        [
            {}, {"data": "x", "size": 48.5}, {"data": "x", "rate": "fast"}, {"data": "x", "seed": 2**80},
            {"data": "x", "epochs": True}, {"data": "x", "early_epochs": -1}, {"data": "x", "size": 7}, {"data": 5},
            {"data": "x", "ema": 1.5}, {"data": "x", "clip": 0}, {"data": "x", "smoothing": float("nan")},
            {"data": "x", "augmentation": 1}, {"data": "x", "augmentation": {"turn": 1}},
            {"data": "x", "augmentation": {"rotate": "x"}}, {"data": "x", "augmentation": {"scale": [1.0]}},
        ],
    )  # fmt: skip
    def test_a_wrong_configuration(self, values: dict[str, object]) -> None:
        with pytest.raises(InputError):
            config_from(values)

    @pytest.mark.parametrize("damage", ["text", "other keys", "half a safetensors"])
    def test_spoiled_weights_to_start_from(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / ("x.safetensors" if "safetensors" in damage else "x.pth")
        path.write_bytes(b"no weights")
        if damage == "other keys":
            torch.save([1, 2], path)
        with pytest.raises(InputError, match="do not fit"):
            build("tf_mobilenetv3_small_minimal_100", 7, pretrained=str(path))

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("metrics.csv", b""), ("metrics.csv", None), ("metrics.csv", b"epoch,dev_accuracy\n1,a\n2,b\n3,c\n"),
            ("data.json", None), ("data.json", b"[1]"), ("data.json", b"{}"), ("config.toml", b""),
            ("config.toml", b"data = 1"), ("last.safetensors", save({"a": torch.zeros(1)})),
            ("best.safetensors", save({"a": torch.zeros(1)})),
        ],
    )  # fmt: skip
    def test_a_damaged_run(
        self, name: str, content: bytes | None, copied: Path, small: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (copied / name).unlink() if content is None else (copied / name).write_bytes(content)
        out = copied.parent / "out"
        line = refused(capsys, "train", "export", "whole", "--out", out)
        assert name in line or "config.toml" in name
        assert not list(out.glob("*"))
        if name not in ("best.safetensors", "config.toml"):
            assert name in refused(capsys, "train", "fit", small, "--name", "whole", "--threads", "1")

    def test_other_data_changes_nothing(self, copied: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = {path.name: path.read_bytes() for path in copied.iterdir()}
        assert "was begun with" in refused(capsys, "train", "fit", small / "train", "--name", "whole", "--threads", "1")
        assert {path.name: path.read_bytes() for path in copied.iterdir()} == before

    def test_a_worse_epoch_does_not_replace_the_best(self, copied: Path, small: Path) -> None:
        """The checkpoint is lost and the metrics with it; what was best is still known."""
        tensors, said = load_tensors(copied / "best.safetensors")
        save_tensors(copied / "best.safetensors", tensors, {**said, "epoch": "9", "dev_accuracy": "1.0"})
        kept = (copied / "best.safetensors").read_bytes()
        (copied / "last.safetensors").unlink()
        (copied / "metrics.csv").unlink()
        assert call(["train", "fit", str(small), "--name", "whole", "--threads", "1"]) == 0
        assert (copied / "best.safetensors").read_bytes() == kept

    def test_the_files_of_a_run_have_equal_rights(self, trained: Path) -> None:
        folder = trained / "runs" / "whole"
        assert len({path.stat().st_mode for path in folder.iterdir() if path.name != ".lock"}) == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            ["missing.zip"], ["DATA", "--network", "resnet_18"], ["DATA", "--pretrained", "DATA/train/happy/0.png"],
            ["DATA", "--seed", str(2**70)], ["DATA", "--threads", "100000"], ["DATA", "--batch", "4096"],
        ],
    )  # fmt: skip
    def test_what_cannot_begin_leaves_no_run(
        self, arguments: list[str], small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.setenv("EMOTION_EDGE_HOME", str(tmp_path / "home"))
        given = [argument.replace("DATA", str(small)) for argument in arguments]
        refused(capsys, "train", "fit", *given, "--name", "x", *(["--threads", "1"] * ("--threads" not in given)))
        assert not (tmp_path / "home").exists()

    def test_data_that_names_a_class_otherwise_now(
        self, copied: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With the map it is the run's own data, in which no face is found to measure a crop on: they are bars."""
        renamed = Path(shutil.copytree(small, tmp_path / "renamed"))
        for folder in renamed.rglob("happy"):
            folder.rename(folder.with_name("joyful"))
        run = ["calibrate", "run", "whole", "--data", renamed, "--out", tmp_path / "candidate"]
        assert "too few for a template" not in refused(capsys, *run)
        assert "too few for a template" in refused(capsys, *run, "--label-map", "joyful=happy")

    def test_ctrl_c_keeps_the_epochs(self, small: Path, tmp_path: Path) -> None:
        environment = {**os.environ, "EMOTION_EDGE_HOME": str(tmp_path)}
        command = [*EDGE, "train", "fit", str(small), "--name", "stopped", *FIT, "--epochs", "5"]
        # What a shell starts behind an & ignores Ctrl-C, and so does all that it starts, unless it handles it itself.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            signal.signal(signal.SIGINT, before)
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("epoch 1"):
                    break
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        assert process.returncode == 130
        assert "stopped; the same command goes on after" in rest
        assert "Traceback" not in rest
        done = edge_train(tmp_path, *command[3:])
        assert done.returncode == 0, done.stderr
        assert "going on with" in done.stderr

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write")
    def test_places_that_cannot_be_written(
        self, copied: Path, exported: Path, small: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        nope, model = Path("/proc/nope"), exported / "bars-fp32.onnx"
        assert "/proc/nope" in refused(capsys, "train", "export", "whole", "--out", nope)
        assert "/proc/nope" in refused(
            capsys, "calibrate", "quantize", model, "--data", small, "--out", nope / "x.onnx"
        )
        assert "/proc/nope" in refused(capsys, "train", "export-mtcnn", "--out", nope)
        (copied / "folder.onnx").mkdir()
        line = refused(capsys, "calibrate", "quantize", model, "--data", small, "--out", copied / "folder.onnx")
        assert "is a folder" in line
        monkeypatch.setenv("EMOTION_EDGE_HOME", str(nope))
        assert "/proc/nope" in refused(capsys, "train", "fit", small, "--name", "x")

    def test_quantizing_asks_for_enough_and_spares_its_parent(
        self, exported: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model, few = exported / "bars-fp32.onnx", folder_of_pictures(tmp_path / "few", 2)
        quantize = ["calibrate", "quantize", model, "--data"]
        assert "too few" in refused(capsys, *quantize, few, "--out", tmp_path / "x.onnx")
        assert "--seed" in refused(capsys, *quantize, small, "--out", tmp_path / "x.onnx", "--seed", "-1")
        (tmp_path / "link.onnx").symlink_to(model)
        assert "link.onnx" in refused(capsys, *quantize, small, "--out", tmp_path / "link.onnx")

    @pytest.mark.parametrize(
        "record",
        ["{}", "[1]", '{"run": 1, "config": 1, "template": 1, "started_from": 1}',
         '{"run": {}, "config": {}, "template": {}, "started_from": []}'],
    )  # fmt: skip
    def test_a_card_from_no_record(
        self, record: str, exported: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = exported / "bars-fp32.onnx"
        path = tmp_path / "f.export.json"
        path.write_text(record)
        card = ["calibrate", "card", model, model, "--data", small, "--split", "test", "--record", path, "--out"]
        assert "no record" in refused(capsys, *card, tmp_path / "f.md")
        assert "write over" in refused(capsys, *card, tmp_path / "f.export.md")
        (tmp_path / "g.json").symlink_to(path)
        assert "write over" in refused(capsys, *card, tmp_path / "g.md")
        assert path.read_text() == record
        assert not (tmp_path / "f.md").exists()


class TestShipped:
    """The files in edge/models and their parent."""

    def test_the_parent_is_the_one_named_and_answers_alike(self, portrait: Path) -> None:
        import hashlib

        from edge.align import align
        from edge.detect import load_detector
        from edge.model import DEFAULT_MODEL, load_model

        parent = DEFAULT_MODEL.with_name("lite2.fp16.safetensors")
        model = load_model()
        assert hashlib.sha256(parent.read_bytes()).hexdigest() == model.info.parent_sha256
        network = build(model.info.network, 7)
        network.load_state_dict(
            {key: v.float() if v.is_floating_point() else v for key, v in load_file(parent).items()}
        )
        image = cv2.imread(str(portrait))
        (face,) = load_detector().detect(image)
        crop = align(image, face.box, face.landmarks, model.info.crop)
        gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[None]
        faces = FaceSet(gray, np.zeros(1, np.int64), np.array(["a"]), np.array(["test"]))
        raw = logits(network, faces, model.info.crop.size, torch.device("cpu")) / model.info.temperature
        float_answer = torch.softmax(torch.from_numpy(raw), dim=1).numpy()[0]
        assert np.abs(model.classify(crop[None])[0] - float_answer).max() < 0.1, "int8 costs a little, not the answer"

    def test_balanced_order(self) -> None:
        targets = np.repeat([0, 1, 2], [100, 5, 50])
        chosen = balanced_order(targets)[:25]
        assert np.bincount(targets[chosen]).tolist() == [10, 5, 10]
        assert len(balanced_order(targets)) == 155

    def test_configuration_is_checked(self) -> None:
        with pytest.raises(InputError, match='precision is "fp8"'):
            FitConfig(data="x", precision="fp8")
