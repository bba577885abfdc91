"""The model file contract: the shipped file keeps it, and a file that breaks it is refused by the key's name."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.align import align
from edge.detect import load_detector
from edge.errors import InputError
from edge.model import DEFAULT_MODEL, load_model
from edge.model.answers import to_emotions
from edge.model.contract import read_metadata


def shipped() -> onnx.ModelProto:
    """The shipped model, to be spoiled."""
    return onnx.load(str(DEFAULT_MODEL))


def written(model: onnx.ModelProto, folder: Path) -> Path:
    """Write a model and return its path."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_no_face_gives_no_rows() -> None:
    model = load_model()
    assert model.classify(np.zeros((0, 96, 96, 3), np.uint8)).shape == (0, 7)


def test_batch_and_single_agree_and_are_probabilities() -> None:
    model = load_model()
    crops = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
    batch = model.classify(crops)
    assert batch.dtype == np.float32
    assert np.allclose(batch.sum(axis=1), 1, atol=1e-5)
    assert batch.min() >= 0
    single = np.concatenate([model.classify(crop[None]) for crop in crops])
    assert np.allclose(batch, single, atol=1e-5)


@pytest.mark.parametrize("cast", [(1, 1, 1), (0.5, 0.8, 1), (1, 0.8, 0.5), (1, 0.6, 1)])
def test_the_shipped_model_sees_gray_whatever_the_colour(portrait: Path, cast: tuple[float, float, float]) -> None:
    """It learned from gray pictures: a face under coloured light and the gray of that picture give the same answer."""
    model = load_model()
    assert model.info.gray
    image = (cv2.imread(str(portrait)) * np.array(cast)).astype(np.uint8)
    (face,) = load_detector().detect(image)
    colour = align(image, face.box, face.landmarks, model.info.crop)
    gray = cv2.cvtColor(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    in_colour, in_gray = model.classify(np.stack([colour, gray]))
    # what is left is the rounding of gray to whole numbers and the int8 grid of the first weights
    assert np.abs(in_colour - in_gray).max() < 0.02


def test_every_key_of_the_contract_is_needed() -> None:
    metadata = load_model().info.to_metadata()
    assert read_metadata("x", metadata, "00").labels[3] == "happy"
    for key in metadata.keys() - {"calibration"}:  # what an older int8 file does not say
        rest = {k: v for k, v in metadata.items() if k != key}
        with pytest.raises(InputError, match=f'model x has no key "{key}" in its metadata'):
            read_metadata("x", rest, "00")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("emotion_edge", "2"), ("labels", "angry,happy"), ("labels", "[]"), ("labels", '["a", "a"]'),
        ("labels", "[1, 2]"),
        ("labels", '["happy", "uncertain"]'), ("labels", '["happy", "sad\\u001b[31m"]'), ("name", "a\nb"),
        ("input_size", "4"), ("input_size", "-96"), ("input_size", "ninety"), ("color_order", "BGR"), ("crop", "{}"),
        ("crop", '{"template": [[0, 0]], "margin": 1, "offset": [0, 0]}'), ("crop", "nonsense"), ("crop", "[" * 5000),
        ("crop", '{"template": [[0,0],[0,0],[0,0],[0,0],[0,0]], "margin": 1, "offset": [0, 0]}'),
        ("gray", "yes"), ("temperature", "0"), ("temperature", "nan"), ("threshold", "1.5"), ("precision", "int4"),
        ("accuracy", '{"dev": 71}'), ("accuracy", "[]"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(key: str, value: str) -> None:
    metadata = load_model().info.to_metadata() | {key: value}
    with pytest.raises(InputError) as caught:
        read_metadata("x", metadata, "00")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert key in str(caught.value) or "contract is version" in str(caught.value)


def test_labels_must_fit_the_output(tmp_path: Path) -> None:
    model = shipped()
    for entry in model.metadata_props:
        if entry.key == "labels":
            entry.value = json.dumps(["happy", "sad"])
    with pytest.raises(InputError, match=r"its output is tensor\(float\).*7.*expected"):
        load_model(written(model, tmp_path))


def answering(folder: Path, values: list[float]) -> Path:
    """A model that keeps the contract and answers `values` whatever it sees."""
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 96, 96, 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 7])
    row = helper.make_tensor("row", TensorProto.FLOAT, [1, 7], values)
    nodes = [
        helper.make_node("Cast", ["crops"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["zeros"]),
        helper.make_node("Unsqueeze", ["zeros", "axis"], ["column"]),
        helper.make_node("Add", ["column", "row"], ["out"]),
    ]
    constants = [
        row,
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(nodes, "g", [crops], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, load_model().info.to_metadata())
    return written(model, folder)


def test_a_model_whose_answers_are_no_probabilities(tmp_path: Path) -> None:
    crops = np.zeros((2, 96, 96, 3), np.uint8)
    good = load_model(answering(tmp_path, [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]))
    assert good.classify(crops).argmax(axis=1).tolist() == [0, 0]
    for wrong in (np.nan, np.inf, 50.0, -5.0):
        with pytest.raises(InputError, match="gives no probabilities"):
            load_model(answering(tmp_path, [wrong, 0, 0, 0, 0, 0, 0])).classify(crops)


def test_a_float_input_is_refused(tmp_path: Path) -> None:
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["N", 96, 96, 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 96, 96, 3])
    graph = helper.make_graph([helper.make_node("Identity", ["crops"], ["out"])], "g", [crops], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, load_model().info.to_metadata())
    with pytest.raises(InputError, match=r"expected tensor\(uint8\)\[N, 96, 96, 3\]"):
        load_model(written(model, tmp_path))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04 a zip perhaps", b"<html>not found</html>"])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no ONNX file|no key"):
        load_model(path)


def test_a_model_cut_off_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(DEFAULT_MODEL.read_bytes()[:100_000])
    with pytest.raises(InputError, match="no ONNX file"):
        load_model(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model file"):
        load_model(tmp_path / "missing.onnx")
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.onnx: (File name too long|no such model file)"):
        load_model(tmp_path / ("x" * 300 + ".onnx"))
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        load_model(tmp_path / "model.pt")


def test_uncertain_below_the_threshold() -> None:
    info = load_model().info
    from dataclasses import replace

    sure, unsure = to_emotions(
        np.array([[0.7, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05], [0.3, 0.25, 0.05, 0.1, 0.1, 0.1, 0.1]], np.float32),
        replace(info, threshold=0.5),
    )
    assert (sure.label, sure.confidence) == ("angry", pytest.approx(0.7))
    assert (unsure.label, unsure.confidence) == ("uncertain", pytest.approx(0.3))
    assert list(unsure.scores) == list(info.labels)
