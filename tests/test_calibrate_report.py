"""The calibration's report: what is missing is said, figures come from the answers, the page stands alone."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calibrate.evidence import (
    FP32_ONNX,
    FP32_TFLITE,
    INT8_ONNX,
    INT8_TFLITE,
    MODEL_FILES,
    Answers,
    Cost,
    Evidence,
    FileFacts,
    Layer,
    Rung,
    Trial,
    write_answers,
    write_evidence,
)
from calibrate.report import write_report
from calibrate.report.layers import short
from calibrate.report.write import read_record
from calibrate.statistics import divergence
from edge.errors import InputError
from edge.values import EMOTIONS

TEMPERATURE = 1.6
"""Inside every file that is made here."""

SIZES = {FP32_ONNX: 13_467_963, INT8_ONNX: 3_835_958, FP32_TFLITE: 13_400_000, INT8_TFLITE: 3_700_000}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Float32 probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def made_answers(count: int, files: tuple[str, ...], seed: int, noise: float = 0.05) -> tuple[Answers, np.ndarray]:
    """Answers of a model that is right on most pictures, a little noise in each file but the first; its logits."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 7, count)
    logits = rng.normal(size=(count, 7)) + 2.2 * np.eye(7)[targets]
    rows = {
        name: softmax((logits + (0 if name == FP32_ONNX else noise) * rng.normal(size=(count, 7))) / TEMPERATURE)
        for name in files
    }
    return Answers(tuple(f"Test_{i}.png" for i in range(count)), targets, rows), logits


def evidence_of(files: tuple[str, ...], **more: Any) -> Evidence:
    """Evidence with no more than it must have."""
    facts = tuple(
        FileFacts(name, f"{index:x}" * 64, SIZES[name], name[:4], "onnxruntime 1.31.1", TEMPERATURE)
        for index, name in enumerate(files, 10)
    )
    values: dict[str, Any] = {
        "name": "small", "network": "tf_efficientnet_lite0", "labels": EMOTIONS, "threshold": 0.5,
        "source": "a bare float ONNX", "data": "faces.zip",
        "command": "edge calibrate run small-fp32.onnx --data faces.zip --out small", "target": "x86", "files": facts,
        "calibration": {"count": 280, "seed": 0, "sha256": "ab" * 32, "per_class": dict.fromkeys(EMOTIONS, 40)},
        "limits": {"max_drop": 0.5, "max_class_drop": 2.0},
    }  # fmt: skip
    return Evidence(**{**values, **more})


def everything() -> dict[str, Any]:
    """What a run finds out besides answers: one of each kind at least."""
    rng = np.random.default_rng(3)
    rungs = [
        Rung(
            "plain",
            kind,
            "ranges by percentile, everything int8",
            0.681,
            60,
            38,
            0.964,
            0.0061,
            3_800_000,
            20.5,
            False,
            True,
        )
        for kind in ("onnx", "tflite")
    ]
    rungs += [
        Rung(
            "equalize", "onnx", "scales moved across layers", 0.679, 66, 37, 0.961, 0.0065, 3_800_000, 11, False, False
        ),
        Rung(
            "bias correction",
            "onnx",
            "means of outputs put back",
            0.689,
            41,
            40,
            0.977,
            0.0031,
            3_835_958,
            31,
            True,
            True,
        ),
        Rung("mixed precision", "onnx", "2 layers float", 0.689, 30, 30, 0.98, 0.0021, 4_100_000, 60, True, False),
    ]
    layers = [
        Layer(f"/network/blocks/blocks.{i // 4}/blocks.{i // 4}.{i % 4}/conv_dw/Conv", "Conv", 4000 + i, 8 + 0.6 * i,
              0.66 + 0.0008 * i, 0.01 / (i + 1), i < 2, -1.5, 4.0,
              tuple(np.linspace(-2, 6, 33)) if i < 6 else (), tuple(rng.integers(1, 900, 32).tolist()) if i < 6 else ())
        for i in range(49)
    ]  # fmt: skip
    trials = [
        Trial(method, kind, channel, 280, 0.68 + 0.004 * rng.random(), 0.006 * rng.random(), chosen)
        for method, kind, channel, chosen in (
            ("minmax", "uint8", True, False), ("entropy", "uint8", True, False), ("percentile", "uint8", True, True),
            ("minmax", "int8", True, False), ("minmax", "uint8", False, False),
        )
    ]  # fmt: skip
    curve = [
        Trial("percentile", "uint8", True, count, 0.681 + 0.002 * math.log(count / 70), 0.4 / count, count == 280)
        for count in (35, 70, 140, 280, 560)
    ]
    costs = [
        Cost(name, "onnxruntime 1.31.1" if name.endswith("onnx") else "ai-edge-litert 2.3.0", threads,
             5.1, ms / threads**0.7, 1.3 * ms / threads**0.7, 90.5 + ms)
        for threads in (1, 2)
        for name, ms in ((FP32_ONNX, 1.71), (INT8_ONNX, 0.96), (FP32_TFLITE, 1.82), (INT8_TFLITE, 2.04))
    ]  # fmt: skip
    return {
        "ladder": tuple(rungs), "layers": tuple(layers), "layers_on": {"count": 500, "accuracy": 0.69},
        "sweep": tuple(trials), "curve": tuple(curve), "costs": tuple(costs), "source": "run small",
        "machine": {"processor": "Some CPU", "cores": 2}, "notes": ("Nothing fell back.",),
    }  # fmt: skip


def write_all(folder: Path, *, noise: float = 0.05, parts: bool = True) -> None:
    """Write a folder with all answers that a report can have, and all other parts or none."""
    write_evidence(folder, evidence_of(MODEL_FILES, **(everything() if parts else {})))
    for seed, (name, size) in enumerate((("dev", 2000), ("test", 3589), ("unlabelled", 5000))):
        answers, _ = made_answers(size, MODEL_FILES, seed, noise)
        write_answers(
            folder, name, answers if name != "unlabelled" else replace(answers, targets=np.zeros(0, np.int64))
        )


class Page(HTMLParser):
    """A page's tags, addresses, pictures and the text that a person reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.pictures: list[tuple[str, np.ndarray]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        assert not any(name.startswith("on") for name in given)
        self.addresses += [
            value for name, value in given.items() if name in ("src", "srcset", "href", "data", "action")
        ]
        if tag == "img":
            data = base64.b64decode(given["src"].partition("base64,")[2])
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            self.pictures.append((given["alt"], image))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads, without breaks."""
        return " ".join(" ".join(self.words).split())


def read(folder: Path) -> tuple[Page, Any, str]:
    """The page, the figures, and the Markdown."""
    texts = [(folder / name).read_text() for name in ("report.html", "report.json", "report.md")]
    assert "NaN" not in texts[1]
    for text in texts:
        assert "lossless" not in text.lower()
        assert "None" not in text
    return Page(texts[0]), json.loads(texts[1]), texts[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything in it, and its report without pictures."""
    folder = tmp_path_factory.mktemp("whole")
    write_all(folder)
    write_report(folder, pictures=None)
    return folder


class TestMissing:
    def test_a_folder_without_evidence_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no evidence\.json in it"):
            write_report(tmp_path, pictures=None)

    def test_without_any_answer_the_report_says_so(self, tmp_path: Path) -> None:
        write_evidence(tmp_path, evidence_of((FP32_ONNX, INT8_ONNX)))
        paths = write_report(tmp_path, pictures=None)
        assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
        page, record, markdown = read(tmp_path)
        assert not record["verdict"]["passes"]
        for said in (
            "Fails the gate", "it has no answers on the test pictures", "No labelled pictures were answered",
            "No int8 file was judged", "Sensitivity was not measured", "Latency and memory were not measured",
            "No rung was recorded", "No set of unlabelled pictures was answered", "time not measured", "not judged",
        ):  # fmt: skip
            assert said in page.text
        assert page.pictures == []
        assert "**Fails the gate**" in markdown

    @pytest.mark.parametrize("count", [0, 1, 14])
    def test_few_test_pictures_fail_and_are_said(self, tmp_path: Path, count: int) -> None:
        write_evidence(tmp_path, evidence_of((FP32_ONNX, INT8_ONNX)))
        answers, _ = made_answers(max(count, 1), (FP32_ONNX, INT8_ONNX), 0)
        cut = {name: rows[:count] for name, rows in answers.probabilities.items()}
        write_answers(tmp_path, "test", Answers(answers.names[:count], answers.targets[:count], cut))
        write_report(tmp_path, pictures=None)
        page, record, _ = read(tmp_path)
        assert record["sets"] == {"test": count}
        assert ("no picture to judge by" if not count else "too few") in page.text

    def test_a_bare_float_onnx_without_tflite(self, tmp_path: Path) -> None:
        evidence = evidence_of((FP32_ONNX, INT8_ONNX), notes=("No fine-tuning: a bare ONNX has no network to train.",))
        write_evidence(tmp_path, evidence)
        write_answers(tmp_path, "test", made_answers(3589, (FP32_ONNX, INT8_ONNX), 0)[0])
        write_report(tmp_path, pictures=None)
        page, record, markdown = read(tmp_path)
        assert record["verdict"]["passes"]
        assert record["missing"] == [FP32_TFLITE, INT8_TFLITE]
        assert "Not made, and so not judged: fp32.tflite , int8.tflite ." in page.text
        assert evidence.notes[0] in page.text
        assert evidence.notes[0] in markdown
        assert [(row["first"], row["second"]) for row in record["agreement"]["test"]] == [(FP32_ONNX, INT8_ONNX)]
        assert record["figures"]["test"][INT8_ONNX]["asked_for"] is None  # there is no dev to ask

    def test_answers_that_are_no_numbers_have_no_figures(self, tmp_path: Path) -> None:
        write_evidence(tmp_path, evidence_of((FP32_ONNX, INT8_ONNX)))
        answers, _ = made_answers(3589, (FP32_ONNX, INT8_ONNX), 0)
        answers.probabilities[INT8_ONNX][7, 0] = np.nan
        write_answers(tmp_path, "test", answers)
        write_report(tmp_path, pictures=None)
        page, record, _ = read(tmp_path)
        assert set(record["figures"]["test"]) == {FP32_ONNX}
        assert "int8.onnx: 1 answer of this file is no probabilities." in record["verdict"]["reasons"]
        assert "int8.onnx: 1 answers on test are no probabilities, so it has no figures." in page.text


class TestFigures:
    def test_a_passing_candidate_says_what_a_person_asks_first(self, whole: Path) -> None:
        page, record, markdown = read(whole)
        first = page.text[: page.text.index("The judgement")]
        change = record["verdict"]["files"][INT8_ONNX]
        assert record["verdict"]["passes"]
        assert "Passes the gate." in first
        assert change["says"].startswith("no loss shown, interval −")
        for said in (
            change["says"], change["in_words"], "0.28 of the size 3.84 MB", "0.56 of the time 0.96 ms a face",
            "onnxruntime 1.31.1, 1 thread", "bias correction rung 3 of 4 tried",
            # TFLite is slower here, and only its first rung was tried:
            "1.12 of the time", "plain rung 1 of 1 tried",
        ):  # fmt: skip
            assert said in first
        assert change["says"] in markdown
        assert "0.56 of the time of its float file (onnxruntime 1.31.1, one thread); rung: bias correction" in markdown

    def test_the_page_stands_alone(self, whole: Path) -> None:
        page, _, _ = read(whole)
        assert page.addresses
        assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
        assert {"script", "link", "iframe", "object"} & set(page.tags) == set()
        text = (whole / "report.html").read_text()
        assert "prefers-color-scheme: dark" in text
        assert "@media print" in text
        assert "url(" not in text

    def test_every_chart_has_words_and_two_themes(self, whole: Path) -> None:
        page, _, _ = read(whole)
        titles = (
            "What changed, class by class", "Saying less, and being right more often", "The ladder, onnx",
            "The ladder, tflite", "Ways to take ranges", "How many calibration pictures", "How much each layer suffers",
            "What the worst layers see", "Time for one face",
        )  # fmt: skip
        assert len(page.pictures) == len(titles) == page.text.count("Why it matters:") == page.tags.count("source")
        for title in titles:
            assert title in page.text
        for alt, image in page.pictures:
            assert len(alt) > 40
            assert image.std() > 5  # something is drawn

    def test_figures_are_those_of_the_answers(self, whole: Path) -> None:
        _, record, _ = read(whole)
        answers, logits = made_answers(3589, MODEL_FILES, 1)
        rows, targets = answers.probabilities[FP32_ONNX], answers.targets
        figures = record["figures"]["test"][FP32_ONNX]
        assert figures["accuracy"] == (rows.argmax(axis=1) == targets).mean()
        before = softmax(logits)  # the same logits, not divided by a temperature
        assert figures["before"]["nll"] == pytest.approx(-np.log(before[np.arange(3589), targets]).mean(), rel=1e-4)
        assert figures["before"]["nll"] != pytest.approx(figures["nll"], rel=1e-2)
        assert figures["asked_for"] == pytest.approx(0.45, abs=0.1)  # logits of height 2.2 under unit noise: 1 / 2.2
        parity = {(row["first"], row["second"]): row for row in record["agreement"]["unlabelled"]}
        assert {(INT8_ONNX, INT8_TFLITE), (FP32_ONNX, FP32_TFLITE), (FP32_ONNX, INT8_ONNX)} <= set(parity)
        other = made_answers(5000, MODEL_FILES, 2)[0].probabilities
        row = parity[FP32_ONNX, INT8_ONNX]
        assert row["share"] == (other[FP32_ONNX].argmax(axis=1) == other[INT8_ONNX].argmax(axis=1)).mean()
        assert row["kl"] == pytest.approx(divergence(other[FP32_ONNX], other[INT8_ONNX]).mean())

    def test_what_is_only_compared_is_never_scored(self, whole: Path) -> None:
        _, record, _ = read(whole)
        assert record["sets"] == {"dev": 2000, "test": 3589, "unlabelled": 5000}
        assert set(record["figures"]) == {"dev", "test"}

    def test_coverage_at_the_threshold_lies_on_the_curve(self, whole: Path) -> None:
        _, record, _ = read(whole)
        rows = made_answers(3589, MODEL_FILES, 1)[0].probabilities[INT8_ONNX]
        found = record["uncertain"][INT8_ONNX]
        assert found["coverage"] == (rows.max(axis=1) >= 0.5).mean()
        shares, accuracies = zip(*found["curve"], strict=True)
        assert found["accuracy"] == pytest.approx(np.interp(found["coverage"], shares, accuracies), abs=0.01)
        assert found["accuracy"] > record["figures"]["test"][INT8_ONNX]["accuracy"] > found["accuracy_of_rest"]

    def test_the_ladder_says_which_rung_met_the_budget_and_which_was_taken(self, whole: Path) -> None:
        page, record, _ = read(whole)
        rungs = {row["name"]: row for row in record["ladder"] if row["format"] == "onnx"}
        assert [name for name, row in rungs.items() if row["met"]] == ["bias correction"]
        assert [name for name, row in rungs.items() if row["taken"]] == ["bias correction"]
        assert rungs["plain"]["drop"] == pytest.approx(100 * 22 / 2000)
        assert "First good enough on dev: bias correction; the candidate is bias correction." in page.text
        assert "No rung is good enough on dev; the candidate is plain." in page.text

    def test_a_layers_drop_is_from_what_the_float_file_has_right_on_the_same_pictures(self, whole: Path) -> None:
        page, record, _ = read(whole)
        assert record["layers"][0]["drop"] == pytest.approx(100 * (0.69 - 0.66))
        assert "judged on 500 pictures of dev" in page.text
        assert (
            "Worst: blocks.0.0/conv_dw, 8.0 dB, −3.00 points. Hatched: left float in the candidate (2 of 49)."
            in page.text
        )

    def test_ranges_that_cut_and_ranges_that_waste_are_told_apart(self, tmp_path: Path) -> None:
        edges = tuple(float(edge) for edge in range(11))
        layers = (
            Layer("/cut/Conv", "Conv", 1, 5, 0.6, 0.1, low=0, high=5, edges=edges, counts=(10,) * 10),
            Layer("/wide/Conv", "Conv", 1, 9, 0.6, 0.1, low=0, high=10, edges=edges, counts=(1000, *(0,) * 8, 1)),
        )
        write_evidence(tmp_path, evidence_of((FP32_ONNX, INT8_ONNX), layers=layers))
        write_report(tmp_path, pictures=None)
        page, record, _ = read(tmp_path)
        assert [layer["outside"] for layer in record["layers"]] == [0.5, 0.0]
        assert [layer["used"] for layer in record["layers"]] == [1.0, 0.1]
        assert "most in cut (50.000 % of its values)" in page.text
        assert "most in wide: 99 % of its values use 10 % of the range" in page.text

    def test_every_figure_of_page_and_summary_is_in_the_json(self, whole: Path) -> None:
        page, record, markdown = read(whole)
        known = set(said(record))
        for text in (page.text, markdown):
            figures = re.findall(r"(?<![\w.])−?\d[\d,]*\.\d+(?![\w.])", html.unescape(text))
            assert len(figures) > 100
            unknown = [figure for figure in figures if figure.replace(",", "").lstrip("−") not in known]
            # what is part of a limit, a version or a rule of reading
            assert set(unknown) <= {"0.05", "0.001"}

    def test_writing_again_gives_the_same_figures(self, whole: Path, tmp_path: Path) -> None:
        write_all(tmp_path)
        written = json.loads((whole / "report.json").read_text())
        assert set(written.pop("pages")) == {"report.html", "report.md"}
        assert set(written.pop("inputs")) == {"evidence.json", *(f"answers-{name}.npz" for name in written["sets"])}
        assert json.loads(json.dumps(read_record(tmp_path))) == written

    def test_markdown_tables_are_even(self, whole: Path) -> None:
        _, _, markdown = read(whole)
        rows = [line for line in markdown.splitlines() if line.startswith("|")]
        assert len(rows) > 30
        for before, after in pairwise(rows):
            if markdown.index(after) == markdown.index(before) + len(before) + 1:
                assert before.count("|") == after.count("|")


def said(value: Any) -> Iterator[str]:
    """Every way in which the page may write the numbers of a record, without signs and commas."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from said(each)
    elif isinstance(value, str):
        yield from (each.replace(",", "") for each in re.findall(r"\d[\d,]*\.\d+", value))
    elif isinstance(value, (int, float)):
        size = abs(float(value))
        yield from (f"{scaled:.{digits}f}" for scaled in (size, 100 * size, size / 1e6) for digits in range(1, 6))
        yield f"{size:g}"


class TestFailing:
    def test_a_candidate_that_lost_too_much(self, tmp_path: Path) -> None:
        write_all(tmp_path, noise=1.5, parts=False)
        write_report(tmp_path, pictures=None)
        page, record, markdown = read(tmp_path)
        assert not record["verdict"]["passes"]
        first = page.text[: page.text.index("The judgement")]
        assert "Fails the gate. Not to be released:" in first
        assert "int8.onnx: Accuracy falls by" in first
        assert first.count("Recall of ") < 3 <= page.text.count("int8.onnx: Recall of ")
        assert f"And {len(record['verdict']['against']) - 3} more, below." in first
        assert re.search(r"int8\.onnx : a loss of \d+\.\d\d points, interval", first)
        assert "Passes" not in markdown

    def test_only_what_stands_against_it_is_on_the_first_screen(self, tmp_path: Path) -> None:
        write_evidence(tmp_path, evidence_of((FP32_ONNX, INT8_ONNX, INT8_TFLITE)))
        answers, _ = made_answers(3589, (FP32_ONNX, INT8_ONNX), 0)
        rows = answers.probabilities[FP32_ONNX]
        write_answers(
            tmp_path, "test", replace(answers, probabilities={**answers.probabilities, INT8_TFLITE: rows[::-1]})
        )
        write_report(tmp_path, pictures=None)
        _, record, _ = read(tmp_path)
        assert record["verdict"]["files"][INT8_ONNX]["passes"]
        assert record["verdict"]["against"]
        assert all(reason.startswith("int8.tflite: ") for reason in record["verdict"]["against"])
        assert any(reason.startswith("int8.onnx: ") for reason in record["verdict"]["reasons"])


class TestPictures:
    def test_the_strongest_disagreements_are_shown_in_order(self, tmp_path: Path) -> None:
        write_all(tmp_path, parts=False)
        asked: list[int] = []

        def read_picture(index: int) -> np.ndarray:
            asked.append(index)
            return np.full((48, 48, 3), (index % 251, 7, 9), np.uint8)

        write_report(tmp_path, pictures=read_picture)
        page, record, _ = read(tmp_path)
        rows = made_answers(3589, MODEL_FILES, 1)[0].probabilities
        expected = np.argsort(-divergence(rows[FP32_ONNX], rows[INT8_ONNX]), kind="stable")[:24].tolist()
        assert asked[:24] == expected == [row["index"] for row in record["disagreement"][INT8_ONNX]]
        faces = [image for alt, image in page.pictures if alt.startswith("a face labelled")]
        assert len(faces) == 48  # 24 of each int8 file
        assert faces[0][0, 0].tolist() == [9, 7, expected[0] % 251]  # OpenCV reads BGR
        assert record["disagreement"][INT8_ONNX][0]["name"] == f"Test_{expected[0]}.png"

    def test_without_pictures_none_is_in_the_page(self, whole: Path) -> None:
        page, _, _ = read(whole)
        assert not any(alt.startswith("a face") for alt, _ in page.pictures)
        assert "Pictures are left out ( --pictures none )" in page.text


def test_foreign_words_cannot_break_page_or_tables(tmp_path: Path) -> None:
    labels = ("<b>a</b>", "b|c", *EMOTIONS[2:])
    named = {"name": "<script>alert(1)</script>", "data": "a & b.zip", "notes": ("<img src=x>",)}
    write_evidence(tmp_path, evidence_of((FP32_ONNX, INT8_ONNX), labels=labels, **named))
    write_answers(tmp_path, "test", made_answers(500, (FP32_ONNX, INT8_ONNX), 0)[0])
    write_report(tmp_path, pictures=None)
    page, _, markdown = read(tmp_path)
    assert "script" not in page.tags
    assert page.tags.count("img") == len(page.pictures) == 2
    assert "<script>alert(1)</script>: what int8 cost" in page.text
    assert "b\\|c" in markdown


@pytest.mark.parametrize(
    ("name", "op", "expected"),
    [
        ("/network/blocks/blocks.3/blocks.3.2/conv_dw/conv_dw.1/Conv", "Conv", "blocks.3.2/conv_dw.1"),
        ("/network/conv_stem/conv_stem.1/Conv", "Conv", "conv_stem.1"),
        ("/network/classifier/Gemm", "Gemm", "classifier"),
        ("Conv", "Conv", "Conv"),
        ("node_conv2d_7", "Conv", "node_conv2d_7"),
        ("", "Conv", ""),
    ],
)
def test_layer_names_are_cut_to_what_tells_them_apart(name: str, op: str, expected: str) -> None:
    assert short(name, op) == expected
