"""TFLite: a network becomes a float file and an int8 one under the contract, and both answer as the network does.

The conversion needs litert-torch, which takes two gigabytes; without it the tests that convert skip, and the one that
says what to install runs.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from faces import picture
from torch import nn

from calibrate.folding import fold_batch_norms
from calibrate.onnx_int8 import Ranges, Settings, prepare, quantize
from calibrate.ranges import take_ranges
from calibrate.repair.grid import Rounding
from calibrate.repair.layers import weight_layers
from calibrate.tflite_export import to_tflite, with_weights
from calibrate.tflite_graph import data_of, layers, name_of, operators, read_graph, write_graph
from calibrate.tflite_int8 import quantize_tflite
from calibrate.tflite_ranges import carry_ranges, measure_ranges
from edge.align import Crop
from edge.errors import InputError
from edge.model.contract import ModelInfo
from edge.model.packed import pack, unpack
from edge.model.tflite import TfliteClassifier
from edge.values import EMOTIONS
from train.export import Deployed, deployable, to_onnx
from train.networks import build

SIZE = 48
NETWORK = "tf_mobilenetv3_small_minimal_100"
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")

MISSING = [name for name in ("litert_torch", "ai_edge_quantizer") if find_spec(name) is None]

converts = pytest.mark.skipif(
    bool(MISSING), reason=f'{" and ".join(MISSING)} not installed: pip install "emotion-edge[tflite]"'
)


def info_of(network: str) -> ModelInfo:
    """What a small file says of itself."""
    template = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.75], [0.65, 0.75]], np.float32)
    return ModelInfo(
        name="small", network=network, precision="fp32", labels=tuple(EMOTIONS), crop=Crop(SIZE, template, 1.2),
        gray=True, temperature=1.5, threshold=0.3, trained_on="bars", accuracy={"dev": 0.5}, licence="Apache-2.0",
        parent_sha256="0" * 64,
    )  # fmt: skip


def crops_of(count: int, seed: int) -> np.ndarray:
    """`(count, SIZE, SIZE, 3)` uint8 gray bars at all angles."""
    rng = np.random.default_rng(seed)
    return np.stack([picture(rng, index % len(EMOTIONS), SIZE) for index in range(count)])[..., None].repeat(3, axis=3)


def small_network() -> Deployed:
    """A network that tells bars apart: its batch norms have seen some, its classifier is made to speak up."""
    torch.manual_seed(0)
    network = build(NETWORK, len(EMOTIONS))
    values = torch.from_numpy(crops_of(70, seed=1)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    with torch.no_grad():
        for _ in range(20):
            network.train()(values)
        network.get_classifier().weight.mul_(20.0)
    return deployable(network, size=SIZE, gray=True, temperature=1.5)


def kl(reference: np.ndarray, answer: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of an answer from the reference, in nats."""
    return float((reference * np.log(reference / np.maximum(answer, 1e-9))).sum(axis=1).mean())


@pytest.fixture(scope="module")
def network() -> Deployed:
    """The network that the files are made from."""
    return small_network()


@pytest.fixture(scope="module")
def graph(network: Deployed) -> bytes:
    """Its float file."""
    return to_tflite(network, info_of(NETWORK))


@pytest.fixture(scope="module")
def ranges(graph: bytes) -> Ranges:
    """Its ranges over seventy bars."""
    return measure_ranges(graph, crops_of(70, seed=1))


@pytest.fixture(scope="module")
def small(graph: bytes, ranges: Ranges) -> bytes:
    """Its int8 file."""
    return quantize_tflite(graph, ranges)


@pytest.mark.skipif(not MISSING, reason="litert-torch and ai-edge-quantizer are installed")
def test_what_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(InputError, match=r"emotion-edge\[tflite\]"):
        to_tflite(small_network(), info_of(NETWORK))


class Unconvertible(nn.Module):
    """Its way depends on what it sees: no graph can say that."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        pooled = values.mean(dim=(2, 3))
        return pooled if pooled.sum() > 0 else -pooled


class Plain(nn.Module):
    """One convolution: without pads it takes the normalisation into its weights, with them the pad is an operator."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 5, stride=2, padding=padding)
        self.head = nn.Linear(16, len(EMOTIONS))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(values).relu().mean(dim=(2, 3)))


class Swishes(nn.Module):
    """Two convolutions behind activations that are operators of their own, one of them two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.second = nn.Conv2d(8, 16, 3, stride=2)
        self.head = nn.Linear(16, len(EMOTIONS))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = nn.functional.hardswish(self.first(values))
        return self.head(nn.functional.silu(self.second(values)).mean(dim=(2, 3)))


@converts
@pytest.mark.slow  # a conversion takes ten seconds and more
class TestFloat:
    """From torch to fp32.tflite."""

    def test_a_network_that_does_not_convert_is_named(self) -> None:
        with pytest.raises(InputError, match="litert-torch cannot convert it"):
            to_tflite(Deployed(Unconvertible(), 1.0), replace(info_of("crooked"), labels=("a", "b", "c")))

    def test_answers_as_torch_does(self, network: Deployed, graph: bytes) -> None:
        crops = crops_of(21, seed=2)
        with torch.no_grad():
            expected = network(torch.from_numpy(crops)).numpy()
        answers = TfliteClassifier.from_bytes(graph, "fp32.tflite").classify(crops)
        assert np.abs(answers - expected).max() < 1e-4
        assert expected.std(axis=0).max() > 0.05, "a network that says the same of everything proves nothing"

    def test_colour_order_is_the_networks_own(self, network: Deployed, graph: bytes) -> None:
        crops = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
        with torch.no_grad():
            expected = network(torch.from_numpy(crops)).numpy()
        answers = TfliteClassifier.from_bytes(graph, "fp32.tflite").classify(crops)
        assert np.abs(answers - expected).max() < 1e-4

    def test_facts_lie_in_the_file(self, graph: bytes) -> None:
        assert unpack(graph, "fp32.tflite") == info_of(NETWORK).to_metadata()

    def test_nothing_is_transposed_and_activations_are_fused(self, graph: bytes) -> None:
        kinds = [kind for _, kind in operators(read_graph(graph))]
        assert "TRANSPOSE" not in kinds
        assert "DEPTHWISE_CONV_2D" in kinds
        assert not {"RELU", "RELU6", "PAD"} & set(kinds)
        assert kinds[:4] == ["CAST", "MUL", "SUB", "CONV_2D"]
        assert kinds[-2:] == ["FULLY_CONNECTED", "SOFTMAX"]

    def test_layers_are_called_as_in_torch(self, network: Deployed, graph: bytes) -> None:
        weighted = [layer for layer in layers(graph) if layer.weights]
        modules = dict(network.network.named_modules())
        assert {layer.name for layer in weighted} == {
            name for name, module in modules.items() if isinstance(module, nn.Conv2d)
        }
        for layer in weighted:
            assert layer.weights == modules[layer.name].weight.numel(), layer.name
        assert len({layer.name for layer in layers(graph)}) == len(layers(graph))

    def test_constants_lie_inside_at_multiples_of_16_bytes(self, graph: bytes, small: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        for file in (graph, small):
            model = schema.Model.GetRootAs(file, 0)
            buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
            places = [each._tab.Vector(each._tab.Offset(4)) for each in buffers if each.DataLength()]
            assert len(places) > 20
            assert not any(place % 16 for place in places)
            assert not any(each.Offset() for each in buffers)

    def test_written_again_it_is_the_same(self, graph: bytes) -> None:
        bare = write_graph(read_graph(graph))
        assert write_graph(read_graph(bare)) == bare

    def test_other_weights_go_in_without_a_conversion(self, network: Deployed, graph: bytes) -> None:
        folded = fold_batch_norms(network, SIZE)
        other = copy.deepcopy(folded)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1 * parameter.std(correction=0))
            expected = other(torch.from_numpy(crops_of(21, seed=2))).numpy()
        before, after = (
            TfliteClassifier.from_bytes(file, "fp32.tflite").classify(crops_of(21, seed=2))
            for file in (graph, with_weights(graph, folded, other))
        )
        assert np.abs(after - expected).max() < 1e-4
        assert np.abs(after - before).max() > 0.01
        assert with_weights(graph, folded, folded) == graph

    def test_what_is_no_layers_weight_needs_a_conversion(self, network: Deployed, graph: bytes) -> None:
        folded = fold_batch_norms(network, SIZE)
        with pytest.raises(InputError, match="cannot take temperature of its network: convert it anew"):
            with_weights(graph, folded, Deployed(folded.network, 2.0))
        other = copy.deepcopy(network)  # its weights are not those of the file: the norms are still beside them
        with torch.no_grad():
            other.network.get_submodule(layers(graph)[0].name).weight.mul_(2.0)
        with pytest.raises(InputError, match=r"cannot take .*weight of its network: convert it anew"):
            with_weights(graph, network, other)

    def test_the_terminal_stays_quiet_and_the_bytes_the_same(self, graph: bytes, capfd: pytest.CaptureFixture) -> None:
        assert to_tflite(small_network(), info_of(NETWORK)) == graph
        assert capfd.readouterr() == ("", "")


@converts
@pytest.mark.slow  # it stands on a conversion
class TestInt8:
    """From fp32.tflite to int8.tflite."""

    def test_no_pictures(self, graph: bytes) -> None:
        with pytest.raises(InputError, match="no calibration pictures"):
            measure_ranges(graph, crops_of(7, 0)[:0])

    def test_pictures_of_another_size(self, graph: bytes) -> None:
        with pytest.raises(InputError, match="does not run on the calibration pictures"):
            measure_ranges(graph, np.zeros((1, SIZE * 2, SIZE, 3), np.uint8))

    def test_a_range_is_what_the_tensor_reaches(self, graph: bytes) -> None:
        crops = crops_of(14, seed=3)
        both, first, rest = (measure_ranges(graph, part) for part in (crops, crops[:1], crops[1:]))
        assert both == {name: (min(first[name][0], rest[name][0]), max(first[name][1], rest[name][1])) for name in both}
        assert both["sub"] == pytest.approx((crops.min() / 127.5 - 1, crops.max() / 127.5 - 1), abs=1e-6)
        assert set(both) >= {layer.name for layer in layers(graph)}

    def test_both_formats_round_on_one_grid(self, network: Deployed, graph: bytes) -> None:
        """Every layer of the TFLite file rounds its output to the very steps that its ONNX twin has."""
        crops = crops_of(70, seed=1)
        prepared = prepare(to_onnx(fold_batch_norms(network, SIZE), info_of(NETWORK)))
        ranges = take_ranges(prepared, crops, "percentile")
        carried = carry_ranges(graph, prepared, ranges, crops)
        model = read_graph(quantize_tflite(graph, carried))
        rounding = Rounding(quantize(prepared, ranges, Settings()))
        outputs = {name_of(model.subgraphs[0].tensors[op.outputs[0]]): op.outputs[0] for op, _ in operators(model)}
        compared = 0
        for layer in weight_layers(prepared)[:-1]:  # the classifier stays float
            steps = rounding.tensor(layer.activated)
            there = model.subgraphs[0].tensors[outputs[layer.weight.removeprefix("network.").removesuffix(".weight")]]
            assert steps is not None
            assert float(there.quantization.scale[0]) == pytest.approx(float(steps.size), rel=1e-6)
            assert int(there.quantization.zeroPoint[0]) == int(steps.zero) - 128
            compared += 1
        assert compared > 10

    def test_what_the_twin_does_not_have_is_measured(self, network: Deployed, graph: bytes) -> None:
        crops = crops_of(14, seed=1)
        prepared = prepare(to_onnx(fold_batch_norms(network, SIZE), info_of(NETWORK)))
        measured = measure_ranges(graph, crops)
        assert carry_ranges(graph, prepared, {}, crops) == measured
        ranges = {name: (low - 1.0, high + 1.0) for name, (low, high) in take_ranges(prepared, crops, "minmax").items()}
        carried = carry_ranges(graph, prepared, ranges, crops)
        assert carried.keys() == measured.keys()
        taken = [name for name in carried if carried[name] in ranges.values()]
        assert len(taken) > 0.8 * len(carried)

    def test_a_pad_rounds_as_what_it_pads(self) -> None:
        """The ONNX graph pads inside its layers; a range of its own would make the padded picture be rounded again."""
        torch.manual_seed(0)
        network = Deployed(Plain(2), 1.0).eval()
        file, crops = to_tflite(network, info_of("plain")), crops_of(14, seed=1)
        prepared = prepare(to_onnx(network, info_of("plain")))
        wider = {name: (low - 1.0, high + 1.0) for name, (low, high) in take_ranges(prepared, crops, "minmax").items()}
        carried = carry_ranges(file, prepared, wider, crops)
        model = read_graph(file)
        tensors = model.subgraphs[0].tensors
        ((pad, source),) = [
            (name_of(tensors[op.outputs[0]]), name_of(tensors[op.inputs[0]]))
            for op, kind in operators(model) if kind == "PAD"
        ]  # fmt: skip
        assert carried[pad] == carried[source] == pytest.approx((-2.0, 2.0), abs=0.02)

    def test_near_the_float_file(self, graph: bytes, small: bytes) -> None:
        crops = crops_of(70, seed=4)
        large = TfliteClassifier.from_bytes(graph, "fp32.tflite").classify(crops)
        answers = TfliteClassifier.from_bytes(small, "int8.tflite").classify(crops)
        apart = kl(large, np.full_like(large, 1 / large.shape[1]))
        assert kl(large, answers) < 0.02 * apart
        assert (large.argmax(axis=1) == answers.argmax(axis=1)).mean() > 0.9
        assert not np.array_equal(large, answers)

    def test_the_contract_is_kept(self, graph: bytes, small: bytes) -> None:
        expected = {**info_of(NETWORK).to_metadata(), "precision": "int8", "accuracy": "{}"}
        assert unpack(small, "int8.tflite") == expected
        assert TfliteClassifier.from_bytes(small, "int8.tflite").info.precision == "int8"
        assert len(small) < 0.4 * len(graph)  # names and the float classifier weigh much in it

    def test_bytes_go_in_without_float_and_floats_come_out_of_the_classifier(self, small: bytes) -> None:
        model = read_graph(small)
        kinds = [kind for _, kind in operators(model)]
        assert kinds[:2] == ["QUANTIZE", "CONV_2D"]
        assert kinds[-3:] == ["DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]
        assert kinds.count("QUANTIZE") == kinds.count("DEQUANTIZE") == 1

    def test_a_byte_is_one_step(self, graph: bytes, small: bytes) -> None:
        """Uniform pictures a single gray level apart: what the first layer is given must differ by one, 255 times."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        interpreter = Interpreter(
            model_content=small, experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )  # fmt: skip
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]["index"]
        shifted = next(op for op, _ in operators(read_graph(small))).outputs[0]
        seen = []
        for level in range(256):
            interpreter.set_tensor(source, np.full((1, SIZE, SIZE, 3), level, np.uint8))
            interpreter.invoke()
            values = np.unique(interpreter.get_tensor(shifted))
            assert len(values) == 1
            seen.append(int(values[0]))
        assert seen == list(range(-128, 128))

    @pytest.mark.parametrize(("padding", "before"), [(0, []), (2, ["PAD"])])
    def test_first_layers_of_all_kinds_take_bytes(self, padding: int, before: list[str]) -> None:
        torch.manual_seed(0)
        plain = Plain(padding)
        with torch.no_grad():
            plain.head.weight.mul_(20.0)
        file = to_tflite(Deployed(plain, 1.0).eval(), info_of("plain"))
        crops = crops_of(28, seed=6)
        made = quantize_tflite(file, measure_ranges(file, crops))
        kinds = [kind for _, kind in operators(read_graph(made))]
        assert kinds[: len(before) + 2] == ["QUANTIZE", *before, "CONV_2D"]
        assert kinds.count("QUANTIZE") == 1
        large, answers = (TfliteClassifier.from_bytes(each, "plain.tflite").classify(crops) for each in (file, made))
        with torch.no_grad():
            assert (
                np.abs(large - plain(torch.from_numpy(crops).permute(0, 3, 1, 2) / 127.5 - 1).softmax(1).numpy()).max()
                < 1e-4
            )
        assert kl(large, answers) < 0.02 * kl(large, large.mean(axis=0, keepdims=True).repeat(28, axis=0))

    def test_layers_stay_float(self, graph: bytes, ranges: Ranges) -> None:
        weighted = [layer.name for layer in layers(graph) if layer.weights]
        for kept in ([weighted[0]], weighted[3:5], weighted):
            model = read_graph(quantize_tflite(graph, ranges, keep_float=kept))
            tensors = model.subgraphs[0].tensors
            float_ones = {
                name_of(tensors[op.outputs[0]])
                for op, kind in operators(model)
                if kind in CONVOLUTIONS and data_of(model, tensors[op.inputs[1]]).dtype == np.float32
            }
            assert float_ones == set(kept)

    def test_an_activation_stays_float_with_its_layer(self) -> None:
        """Rounded behind the layer it would do the harm that the layer no longer does."""
        torch.manual_seed(0)
        file = to_tflite(Deployed(Swishes(), 1.0).eval(), info_of("swishes"))
        ranges = measure_ranges(file, crops_of(28, seed=6))
        first, second = (layer.name for layer in layers(file) if layer.op in CONVOLUTIONS)

        def float_ones(*kept: str) -> list[str]:
            model = read_graph(quantize_tflite(file, ranges, keep_float=kept))
            tensors = model.subgraphs[0].tensors
            found = (kind for op, kind in operators(model) if tensors[op.outputs[0]].type == 0)  # FLOAT32
            return [kind for kind in found if kind in (*CONVOLUTIONS, "HARD_SWISH", "LOGISTIC", "MUL")]

        assert float_ones(first) == ["CONV_2D", "HARD_SWISH"]
        assert sorted(float_ones(second)) == ["CONV_2D", "LOGISTIC", "MUL"]
        assert float_ones() == []

    def test_zeros_are_written_once(self, small: bytes) -> None:
        """Written anew, a file says the same and is no larger; one with vectors of its own for every tensor is."""
        crops = crops_of(7, seed=5)
        model = read_graph(small)
        quantized = [t for t in model.subgraphs[0].tensors if t.quantization is not None]
        lengths = {len(t.quantization.zeroPoint) for t in quantized if t.quantization.zeroPoint is not None}
        every = sum(8 * len(t.quantization.zeroPoint) for t in quantized if t.quantization.zeroPoint is not None)
        from ai_edge_litert.tools import flatbuffer_utils

        alone = bytes(flatbuffer_utils.convert_object_to_bytearray(read_graph(small)))
        assert len(write_graph(read_graph(small))) < len(alone) - 0.8 * (every - 8 * sum(lengths))
        facts = unpack(small, "small")
        for data in (write_graph(read_graph(small)), alone):
            answers = TfliteClassifier.from_bytes(pack(data, facts), "some.tflite").classify(crops)
            assert np.array_equal(answers, TfliteClassifier.from_bytes(small, "small.tflite").classify(crops))

    def test_all_layers_float_is_the_float_file(self, graph: bytes, ranges: Ranges) -> None:
        crops = crops_of(7, seed=5)
        file = quantize_tflite(graph, ranges, keep_float=[layer.name for layer in layers(graph)])
        answers = [TfliteClassifier.from_bytes(each, "some.tflite").classify(crops) for each in (graph, file)]
        assert np.abs(answers[0] - answers[1]).max() < 1e-6

    def test_a_layer_that_is_not_there(self, graph: bytes, ranges: Ranges) -> None:
        with pytest.raises(InputError, match=r"no layer blocks\.99; the file has conv_stem"):
            quantize_tflite(graph, ranges, keep_float=["blocks.99"])

    def test_a_range_that_is_missing(self, graph: bytes, ranges: Ranges) -> None:
        name = layers(graph)[3].name
        with pytest.raises(InputError, match="cannot be quantized"):
            quantize_tflite(graph, {key: value for key, value in ranges.items() if key != name})

    def test_what_is_no_graph(self, ranges: Ranges) -> None:
        for data in (b"", b"PK\x03\x04TFL2", b"\x00\x00\x00\x00TFL3"):
            with pytest.raises(InputError, match="the graph is"):
                quantize_tflite(data, ranges)

    def test_the_same_bytes_again(self, graph: bytes, ranges: Ranges, small: bytes) -> None:
        assert quantize_tflite(graph, ranges) == small
