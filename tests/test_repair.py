"""The repairs of what int8 breaks, on small real networks whose norms are so wild that it does break."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
import torch
from faces import picture
from onnx import numpy_helper
from torch import nn

from calibrate.evidence import Layer
from calibrate.onnx_int8 import Ranges, Settings, head, prepare, quantize
from calibrate.ranges import take_ranges
from calibrate.repair import adaround, correct_bias, equalize, keep_float_search, sensitivity
from calibrate.repair.grid import Rounding
from calibrate.repair.layers import WeightLayer, array, weight_layers, with_arrays, with_biases
from calibrate.repair.patches import covariances
from calibrate.repair.rounding import choose
from calibrate.repair.stream import Stream, channel_means
from calibrate.statistics import divergence
from edge.align import Crop
from edge.model.contract import ModelInfo
from edge.session import open_session
from edge.values import EMOTIONS
from train.export import deployable, to_onnx
from train.networks import build, classifier_of

SIZE = 32
NARROW = Settings(per_channel=False)
"""One step size a layer: what wild norms break."""


def wild(name: str, spread: float, seed: int = 0) -> onnx.ModelProto:
    """A network with random weights and norms whose scales differ by factors of e^spread, prepared."""
    torch.manual_seed(seed)
    network = build(name, len(EMOTIONS))
    norms = [each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean over what it sees
        nn.init.normal_(norm.weight, 0.0, spread)
        norm.weight.data.exp_()
        nn.init.normal_(norm.bias, 0.0, 0.3)
    for conv in network.modules():
        if isinstance(conv, nn.Conv2d) and conv.bias is not None:
            nn.init.normal_(conv.bias, 0.0, 0.1)  # equal ones would share an initializer, which no trained ones do
    classifier = classifier_of(network)
    assert isinstance(classifier, nn.Linear)
    nn.init.normal_(classifier.weight, std=0.3)
    with torch.no_grad():
        images = torch.from_numpy(crops_of(48, 100)).permute(0, 3, 1, 2).float() / 127.5 - 1
        network.train()(images)
        network.eval()
        classifier.weight *= 3 / network(images).std()
    info = ModelInfo(
        name="wild", network=name, precision="fp32", labels=EMOTIONS,
        crop=Crop(SIZE, np.linspace(0.2, 0.8, 10, dtype=np.float32).reshape(5, 2), 1.0), gray=False, temperature=1.0,
        threshold=0.0, trained_on="nothing", accuracy={}, licence="Apache-2.0", parent_sha256="",
    )  # fmt: skip
    return prepare(to_onnx(deployable(network, size=SIZE, gray=False, temperature=1.0), info))


def crops_of(count: int, seed: int) -> np.ndarray:
    """`(count, SIZE, SIZE, 3)` uint8 pictures of bars, coloured at random."""
    rng = np.random.default_rng(seed)
    images = [cv2.resize(picture(rng, index % len(EMOTIONS)), (SIZE, SIZE)) for index in range(count)]
    return np.stack([image[..., None] * rng.uniform(0.5, 1.0, 3) for image in images]).astype(np.uint8)


CALIBRATION = crops_of(48, 1)
UNSEEN = crops_of(96, 2)


def answers(model: onnx.ModelProto, crops: np.ndarray = UNSEEN) -> np.ndarray:
    """`(N, classes)` probabilities, through the runtime's own int8 kernels where the model is int8."""
    session = open_session(model.SerializeToString(), "model", threads=1)
    return np.asarray(session.run(None, {model.graph.input[0].name: crops})[0])


def harm(prepared: onnx.ModelProto, model: onnx.ModelProto) -> float:
    """Mean divergence of a model's answers on pictures that no repair has seen, in nats."""
    return float(divergence(answers(prepared), answers(model)).mean())


def int8_of(graph: onnx.ModelProto, settings: Settings, ranges: Ranges | None = None) -> onnx.ModelProto:
    """A graph made int8, with ranges of its own unless some are given."""
    return quantize(graph, ranges or take_ranges(graph, CALIBRATION, "minmax"), settings)


@pytest.fixture(scope="module")
def swish() -> onnx.ModelProto:
    """Depthwise convolutions, squeeze and excitation, hard-swish."""
    return wild("mobilenetv3_small_050", 0.6)


@pytest.fixture(scope="module")
def swish_ranges(swish: onnx.ModelProto) -> Ranges:
    """Its ranges."""
    return take_ranges(swish, CALIBRATION, "minmax")


@pytest.fixture(scope="module")
def relu() -> onnx.ModelProto:
    """Plain convolutions, ReLU, pools."""
    return wild("cnn", 1.5)


@pytest.fixture(scope="module")
def clipped() -> onnx.ModelProto:
    """Depthwise convolutions, ReLU6, residual sums."""
    return wild("mobilenetv2_035", 0.6)


class TestLayers:
    """Reading a graph and changing it."""

    def test_a_graph_without_weights(self) -> None:
        empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
        assert weight_layers(empty) == ()

    def test_each_activation_is_found(
        self, swish: onnx.ModelProto, relu: onnx.ModelProto, clipped: onnx.ModelProto
    ) -> None:
        def kinds(model: onnx.ModelProto) -> set[tuple[str, ...]]:
            ops = {node.output[0]: node.op_type for node in model.graph.node}
            return {tuple(ops[name] for name in layer.activation) for layer in weight_layers(model)}

        assert kinds(swish) == {(), ("Relu",), ("HardSigmoid",), ("HardSigmoid", "Mul")}
        assert kinds(relu) == {(), ("Relu",)}
        assert kinds(clipped) == {(), ("Clip",)}

    def test_silu_is_found(self) -> None:
        layers = weight_layers(wild("efficientnet_b0", 0.1))
        assert {len(layer.activation) for layer in layers} == {0, 1, 2}
        assert sum(len(layer.activation) == 2 for layer in layers) == 1 + 1 + 2 * 16 - 1 + 16, "and one in each squeeze"

    def test_a_missing_bias_is_made_and_changes_nothing(self, relu: onnx.ModelProto) -> None:
        bare = onnx.ModelProto()
        bare.CopyFrom(relu)
        first = weight_layers(relu)[0]
        node = next(each for each in bare.graph.node if each.name == first.node)
        del node.input[2]
        given = with_biases(bare)
        assert weight_layers(bare)[0].bias is None
        assert weight_layers(given)[0].bias == f"{first.node}.bias"
        np.testing.assert_array_equal(answers(given), answers(bare))
        assert not np.array_equal(answers(given), answers(relu))


class TestStream:
    """Running a graph piece by piece."""

    def test_pieces_give_what_the_whole_gives(self, swish: onnx.ModelProto, swish_ranges: Ranges) -> None:
        for model in (swish, quantize(swish, swish_ranges, Settings())):
            layers = weight_layers(swish)
            pieces, waiting = Stream(model, UNSEEN), {layer.node for layer in layers}
            for layer in layers:
                pieces.advance(waiting)
                waiting.remove(layer.node)
            pieces.advance(())
            whole = Stream(model, UNSEEN)
            expected = np.concatenate([batch[0] for batch in whole.batches(["probabilities"])])
            assert list(pieces.kept) == ["probabilities"]
            np.testing.assert_allclose(pieces.kept["probabilities"], expected, atol=1e-4)  # fused otherwise

    def test_only_the_cut_is_kept_and_integers_stay_integers(self, relu: onnx.ModelProto) -> None:
        layers = weight_layers(relu)
        stream = Stream(int8_of(relu, Settings()), UNSEEN)
        stream.advance({layer.node for layer in layers[4:]})
        assert [(each.dtype, each.shape[0]) for each in stream.kept.values()] == [(np.uint8, len(UNSEEN))]

    def test_means_are_those_of_all_places(self, relu: onnx.ModelProto) -> None:
        layer = weight_layers(relu)[2]
        values = np.concatenate([batch[0] for batch in Stream(relu, UNSEEN).batches([layer.output])])
        means = channel_means(relu, weight_layers(relu), UNSEEN)
        np.testing.assert_allclose(means[layer.node], values.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)


class TestEqualize:
    """Channels scaled between layers."""

    @pytest.mark.parametrize("name", ["relu", "swish", "clipped"])
    def test_float_answers_stay(self, name: str, request: pytest.FixtureRequest) -> None:
        model = request.getfixturevalue(name)
        np.testing.assert_allclose(answers(equalize(model)), answers(model), atol=1e-4)

    def test_one_step_size_suits_more_channels(self, relu: onnx.ModelProto) -> None:
        """Nagel's measure: the product of what share of the common range each channel fills on either side."""

        def share(model: onnx.ModelProto) -> float:
            ranges = [np.abs(array(model, each.weight)).max(axis=(1, 2, 3)) for each in weight_layers(model)[:-1]]
            return float(np.mean([np.mean(each / each.max()) for each in ranges]))

        even = equalize(relu)
        assert share(even) > 1.5 * share(relu)
        assert harm(relu, int8_of(even, NARROW)) < 0.5 * harm(relu, int8_of(relu, NARROW))

    def test_names_shapes_and_the_classifier_stay(self, relu: onnx.ModelProto) -> None:
        even = equalize(relu)
        assert [(each.name, each.dims) for each in even.graph.initializer] == [
            (each.name, each.dims) for each in relu.graph.initializer
        ]
        assert even.graph.node == relu.graph.node
        last = weight_layers(relu)[-1]
        assert last.node in head(relu)
        np.testing.assert_array_equal(array(even, last.weight), array(relu, last.weight))

    def test_a_clip_is_respected(self, clipped: onnx.ModelProto) -> None:
        """Without crops no clipped channel moves; with crops those move that stay clear of 6, and answers stay."""
        layer = next(each for each in weight_layers(clipped) if each.activation and each.group > 1)
        np.testing.assert_array_equal(array(equalize(clipped), layer.weight), array(clipped, layer.weight))
        even = equalize(clipped, CALIBRATION)
        moved = (array(even, layer.weight) != array(clipped, layer.weight)).any(axis=(1, 2, 3))
        ((before,),) = Stream(clipped, CALIBRATION[:8]).batches([layer.output])
        cut = before.max(axis=(0, 2, 3)) >= 6
        assert moved.any()
        assert cut.any(), "or the test says nothing"
        assert not (array(even, layer.bias) != array(clipped, layer.bias))[cut].any()
        np.testing.assert_allclose(answers(even, CALIBRATION), answers(clipped, CALIBRATION), atol=1e-4)

    def test_hard_swish_is_left_alone(self, swish: onnx.ModelProto) -> None:
        """A depthwise convolution between two of them can neither take a factor in nor give one out."""
        even = equalize(swish)
        layers = weight_layers(swish)
        gated = {layer.activated for layer in layers if len(layer.activation) == 2}
        between = [layer for layer in layers if layer.input in gated and len(layer.activation) == 2]
        assert between
        for layer in between:
            np.testing.assert_array_equal(array(even, layer.weight), array(swish, layer.weight))


def moved_means(prepared: onnx.ModelProto, int8: onnx.ModelProto, crops: np.ndarray) -> float:
    """How far the means of all layers' outputs are from the float ones, on average, in their standard deviations."""
    layers = weight_layers(prepared)
    aims, found = channel_means(prepared, layers, crops), channel_means(int8, layers, crops)
    return float(np.mean([np.abs(found[name] - aims[name]).mean() / (aims[name].std() + 1e-6) for name in aims]))


class TestBias:
    """Means that rounding moved, moved back."""

    def test_means_come_back_and_answers_with_them(self, clipped: onnx.ModelProto) -> None:
        ranges = take_ranges(clipped, CALIBRATION, "minmax")
        mended = correct_bias(clipped, ranges, NARROW, CALIBRATION)
        plain, better = quantize(clipped, ranges, NARROW), quantize(mended, ranges, NARROW)
        assert moved_means(clipped, better, UNSEEN) < 0.5 * moved_means(clipped, plain, UNSEEN)
        assert harm(clipped, better) < harm(clipped, plain)

    def test_behind_gates_the_means_come_back_where_they_were_measured(
        self, swish: onnx.ModelProto, swish_ranges: Ranges
    ) -> None:
        """Random gates far down answer to single pictures, so that 48 of them say little about others."""
        mended = correct_bias(swish, swish_ranges, NARROW, CALIBRATION)
        plain, better = quantize(swish, swish_ranges, NARROW), quantize(mended, swish_ranges, NARROW)
        assert moved_means(swish, better, CALIBRATION) < 0.5 * moved_means(swish, plain, CALIBRATION)

    def test_only_biases_change(self, swish: onnx.ModelProto, swish_ranges: Ranges) -> None:
        done: list[tuple[int, int]] = []
        mended = correct_bias(swish, swish_ranges, NARROW, CALIBRATION[:8], lambda *each: done.append(each))
        biases = {layer.bias for layer in weight_layers(swish)}
        changed = {
            one.name for one, other in zip(swish.graph.initializer, mended.graph.initializer, strict=True)
            if one != other
        }  # fmt: skip
        assert changed
        assert changed <= biases
        assert mended.graph.node == swish.graph.node
        assert done[-1] == (2 * len(biases), 2 * len(biases))


def test_the_quantizers_own_names_are_short(relu: onnx.ModelProto) -> None:
    """What the float graph has keeps its name; what the quantizer adds does not carry the layer's."""
    model = int8_of(relu, Settings())
    kept = {node.name for node in relu.graph.node} | {name for node in relu.graph.node for name in node.output}
    kept |= {each.name for each in relu.graph.initializer} | {relu.graph.input[0].name}
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    assert {node.name for node in model.graph.node if node.op_type == "Conv"} <= kept
    added = names - kept
    assert len(added) > 30
    assert max(map(len, added)) <= 4
    onnx.checker.check_model(model)


def named(model: onnx.ModelProto, layer: WeightLayer) -> tuple[str, ...]:
    """The nodes of a layer and its activation."""
    return tuple(node.name for node in model.graph.node if node.output[0] in (layer.output, *layer.activation))


class TestSensitivity:
    """Each layer alone."""

    def spoiled(self, model: onnx.ModelProto) -> tuple[onnx.ModelProto, WeightLayer]:
        """A model with a weight so large that one step size leaves nothing of the others; it meets zeros alone."""
        before, layer = weight_layers(model)[2:4]
        weights, dead, bias = array(model, layer.weight), array(model, before.weight), array(model, before.bias or "")
        weights[0, 0] = 300 * np.abs(weights).max()
        dead[0], bias[0] = 0, -1  # ReLU gives 0
        return with_arrays(model, {layer.weight: weights, before.weight: dead, str(before.bias): bias}), layer

    def test_the_bad_layer_is_the_worst_and_staying_float_mends_it(self) -> None:
        model, bad = self.spoiled(wild("cnn", 0.1))
        ranges = take_ranges(model, CALIBRATION, "minmax")
        targets = answers(model).argmax(axis=1)
        done: list[tuple[int, int]] = []
        layers = sensitivity(model, ranges, NARROW, UNSEEN, targets, lambda *each: done.append(each))
        assert layers[0].name == bad.node
        assert layers[0].sqnr_db == min(layer.sqnr_db for layer in layers) < 15
        assert layers[0].kl == max(layer.kl for layer in layers)
        assert layers[0].accuracy < 1
        assert layers[0].weights == np.prod(bad.shape)
        assert done[-1] == (len(layers), len(layers)) == (8, 8), "the classifier is float anyway"

        tried = []

        def judge(candidate: onnx.ModelProto) -> tuple[bool, float]:
            tried.append(harm(model, candidate))
            return tried[-1] < 0.2 * tried[0], tried[-1]

        chosen = keep_float_search(model, ranges, NARROW, layers, max_size_ratio=0.6, judge=judge)
        assert chosen == named(model, bad)
        assert not keep_float_search(model, ranges, NARROW, layers, max_size_ratio=0.26, judge=judge), "too large"

    def test_where_nothing_is_enough_what_gives_most_back_stays_float(self) -> None:
        model, bad = self.spoiled(wild("cnn", 0.1))
        ranges = take_ranges(model, CALIBRATION, "minmax")
        layers = sensitivity(model, ranges, NARROW, UNSEEN, answers(model).argmax(axis=1))
        harms = []

        def judge(candidate: onnx.ModelProto) -> tuple[bool, float]:
            harms.append(harm(model, candidate))
            return False, harms[-1]

        chosen = keep_float_search(model, ranges, NARROW, layers, max_size_ratio=0.6, judge=judge)
        assert set(named(model, bad)) <= set(chosen)
        floats = replace(NARROW, keep_float=chosen)
        assert harm(model, quantize(model, ranges, floats)) < 0.3 * harms[0]
        assert len(chosen) < sum(len(named(model, each)) for each in weight_layers(model)), "not all of them"

    def test_figures_against_a_graph_made_by_hand(self, relu: onnx.ModelProto) -> None:
        """One layer int8 and all others float, by the quantizer itself, in the runtime's own kernels."""
        ranges = take_ranges(relu, CALIBRATION, "minmax")
        targets = np.arange(len(UNSEEN)) % 7
        layers = sensitivity(relu, ranges, NARROW, UNSEEN, targets)
        floats = {node.name for node in relu.graph.node}
        middle = weight_layers(relu)[4]
        alone = quantize(relu, ranges, replace(NARROW, keep_float=tuple(floats - set(named(relu, middle)))))
        found = next(each for each in layers if each.name == middle.node)
        assert found.kl == pytest.approx(harm(relu, alone), rel=0.1)
        assert found.accuracy == pytest.approx(float((answers(alone).argmax(axis=1) == targets).mean()), abs=0.03)

    def test_histograms_of_the_worst(self, swish: onnx.ModelProto, swish_ranges: Ranges) -> None:
        some = UNSEEN[:16]
        layers = sensitivity(swish, swish_ranges, Settings(), some, np.zeros(16, np.int64))
        assert [len(layer.counts) for layer in layers] == [64] * 5 + [0] * (len(layers) - 5)
        by_name = {layer.node: layer for layer in weight_layers(swish)}
        worst = layers[0]
        values = np.concatenate([batch[0] for batch in Stream(swish, some).batches([by_name[worst.name].input])])
        assert sum(worst.counts) == values.size
        assert worst.edges[0] == pytest.approx(values.min())
        assert worst.edges[-1] == pytest.approx(values.max())
        assert worst.low <= 0 <= worst.high

    def test_a_kept_layer_is_measured_and_marked(self, relu: onnx.ModelProto) -> None:
        name = weight_layers(relu)[0].node
        ranges = take_ranges(relu, CALIBRATION, "minmax")
        kept = replace(NARROW, keep_float=(name,))
        layers = sensitivity(relu, ranges, kept, UNSEEN[:8], np.zeros(8, np.int64))
        assert [layer.name for layer in layers if layer.kept_float] == [name]
        assert next(layer for layer in layers if layer.name == name).kl > 0


class TestSearch:
    """The fewest layers that stay float."""

    def worst_first(self, model: onnx.ModelProto) -> list[Layer]:
        return [Layer(each.node, each.op, 1, 0.0, 0.0, 0.0) for each in weight_layers(model)[:-1]]

    def test_a_layer_stays_float_with_both_halves_of_its_hard_swish(
        self, swish: onnx.ModelProto, swish_ranges: Ranges
    ) -> None:
        layer = next(each for each in weight_layers(swish) if len(each.activation) == 2)
        found = keep_float_search(
            swish, swish_ranges, NARROW, [Layer(layer.node, layer.op, 1, 0.0, 0.0, 0.0)], max_size_ratio=0.9,
            judge=lambda model: (Rounding(model).weight(layer) is None, 1.0),
        )  # fmt: skip
        assert len(named(swish, layer)) == len(set(named(swish, layer)) - {""}) == 3
        assert found == named(swish, layer)
        model = quantize(swish, swish_ranges, replace(NARROW, keep_float=found))
        rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
        assert not rounded & {layer.output, layer.activation[0]}, "its inside is not rounded"

    def test_nothing_where_nothing_is_needed(self, relu: onnx.ModelProto) -> None:
        ranges = take_ranges(relu, CALIBRATION, "minmax")
        layers = self.worst_first(relu)
        assert keep_float_search(relu, ranges, NARROW, layers, judge=lambda model: (True, 0.0)) == ()

    def test_what_was_not_needed_leaves_again(self, relu: onnx.ModelProto) -> None:
        """Only the third of the list is asked for: the first two are tried on the way, and dropped."""
        ranges = take_ranges(relu, CALIBRATION, "minmax")
        layers = self.worst_first(relu)
        wanted = weight_layers(relu)[2]

        def judge(model: onnx.ModelProto) -> tuple[bool, float]:
            return Rounding(model).weight(wanted) is None, 1.0

        chosen = keep_float_search(relu, ranges, NARROW, layers, max_size_ratio=0.9, judge=judge)
        assert chosen == named(relu, wanted)

    def test_a_sum_of_float_layers_stays_float_with_them(self, clipped: onnx.ModelProto) -> None:
        """What is rounded in the sum would be rounded for all that read it."""
        ranges = take_ranges(clipped, CALIBRATION[:8], "minmax")
        makers = {node.output[0]: node for node in clipped.graph.node}
        sums = {
            node.name: [makers[tensor] for tensor in node.input] for node in clipped.graph.node if node.op_type == "Add"
        }
        name, sides = next(each for each in sums.items() if all(side.op_type == "Conv" for side in each[1]))

        def judge(model: onnx.ModelProto) -> tuple[bool, float]:
            return False, 3.0 - sum(node.op_type == "LeakyRelu" for node in model.graph.node)

        for some in (sides[:1], sides):
            layers = [Layer(side.name, "Conv", 1, 0.0, 0.0, 0.0) for side in some]
            chosen = keep_float_search(clipped, ranges, NARROW, layers, max_size_ratio=0.9, judge=judge)
            assert (name in chosen) == (len(some) == 2)

    def test_the_smallest_set_that_is_nearly_as_good_as_the_best(self, relu: onnx.ModelProto) -> None:
        """Each set is judged once, repaired for what stays float in it."""
        ranges = take_ranges(relu, CALIBRATION, "minmax")
        layers = self.worst_first(relu)
        whole = weight_layers(relu)
        left = {0: 1.0, 1: 0.6, 2: 0.35, 4: 0.31, 8: 0.3}
        judged: list[int] = []
        repaired: list[Settings] = []

        def judge(model: onnx.ModelProto) -> tuple[bool, float]:
            judged.append(sum(Rounding(model).weight(each) is None for each in whole[:-1]))
            return False, left.get(judged[-1], 0.3)

        def repair(settings: Settings) -> onnx.ModelProto:
            repaired.append(settings)
            return relu

        chosen = keep_float_search(relu, ranges, NARROW, layers, max_size_ratio=0.9, judge=judge, repair=repair)
        assert judged[:4] == [0, 1, 2, 4]
        assert len(set(judged)) == len(judged)
        assert [set(chosen) == set(each.keep_float) for each in repaired[:3]] == [False, True, False]
        assert chosen == named(relu, whole[0]) + named(relu, whole[1])


class TestAdaround:
    """Up or down."""

    @pytest.mark.parametrize("settings", [NARROW, Settings()], ids=["layer", "channel"])
    def test_weights_lie_on_the_grid_and_stay_there(
        self, swish: onnx.ModelProto, swish_ranges: Ranges, settings: Settings
    ) -> None:
        mended = adaround(swish, swish_ranges, settings, CALIBRATION, steps=200)
        before = Rounding(quantize(swish, swish_ranges, settings))
        after = Rounding(quantize(mended, swish_ranges, settings))
        turned = 0
        for layer in weight_layers(swish)[:-1]:
            nearest, sizes = before.weight(layer) or pytest.fail(layer.node)
            integers, again = after.weight(layer) or pytest.fail(layer.node)
            np.testing.assert_allclose(again, sizes, rtol=1e-6)
            assert np.abs(integers.astype(int) - nearest).max() <= 1
            np.testing.assert_allclose(array(mended, layer.weight), integers * sizes, rtol=1e-6, atol=1e-9)
            turned += int((integers != nearest).sum())
        assert turned > 1000

    @pytest.mark.parametrize("settings", [NARROW, Settings()], ids=["layer", "channel"])
    def test_answers_come_nearer(self, relu: onnx.ModelProto, settings: Settings) -> None:
        ranges = take_ranges(relu, CALIBRATION, "minmax")
        mended = adaround(relu, ranges, settings, CALIBRATION, steps=200)
        plain = quantize(relu, ranges, settings)
        assert harm(relu, quantize(mended, ranges, settings)) < 0.85 * harm(relu, plain)

    @pytest.mark.parametrize("index", [0, 1, 4], ids=["dense", "depthwise", "pointwise"])
    def test_no_layer_errs_more_than_to_the_nearest(self, swish: onnx.ModelProto, index: int) -> None:
        """On the float inputs of one layer, over all places: spread of the error, which no bias can mend."""
        layer = weight_layers(swish)[index]
        node = next(each for each in swish.graph.node if each.name == layer.node)
        rounded = Rounding(int8_of(swish, NARROW)).weight(layer)
        assert rounded is not None
        stream = Stream(swish, CALIBRATION)
        pairs = [(x, y) for x, y in stream.batches([layer.input, layer.output])]
        together, across = covariances(layer, node, pairs, np.random.default_rng(0))
        weights = array(swish, layer.weight)
        chosen = choose(layer, weights, *rounded, together, across, steps=500)

        def spread(values: np.ndarray) -> float:
            tried = Stream(with_arrays(swish, {layer.weight: values}), CALIBRATION)
            outputs = np.concatenate([batch[0] for batch in tried.batches([layer.output])])
            error = outputs - np.concatenate([y for _, y in pairs])
            return float((error - error.mean(axis=(0, 2, 3), keepdims=True)).std())

        nearest = (rounded[0] * rounded[1]).astype(np.float32)
        assert spread(chosen) < 0.95 * spread(nearest)

    def test_covariances_give_the_layers_own_outputs(self, swish: onnx.ModelProto) -> None:
        """The wanted outputs are the layer's: so its own weights must be the best ones, to the last digit."""
        for layer in weight_layers(swish)[:8]:
            node = next(each for each in swish.graph.node if each.name == layer.node)
            pairs = list(Stream(swish, UNSEEN).batches([layer.input, layer.output]))
            together, across = covariances(layer, node, [(x, y) for x, y in pairs], np.random.default_rng(0))
            weights = array(swish, layer.weight).reshape(layer.group, layer.channels // layer.group, -1)
            np.testing.assert_allclose(weights @ together, across, atol=1e-3 * np.abs(across).max())

    def test_a_layer_that_stays_float_keeps_its_weights(self, relu: onnx.ModelProto) -> None:
        ranges = take_ranges(relu, CALIBRATION, "minmax")
        layers = weight_layers(relu)
        settings = replace(NARROW, keep_float=(layers[1].node,))
        mended = adaround(relu, ranges, settings, CALIBRATION[:8], steps=10)
        for layer in (layers[1], layers[-1]):
            np.testing.assert_array_equal(array(mended, layer.weight), array(relu, layer.weight))
        assert not np.array_equal(array(mended, layers[2].weight), array(relu, layers[2].weight))

    def test_a_dead_channel_does_no_harm(self, relu: onnx.ModelProto) -> None:
        """All weights of a channel are zero: its step size is nobody's, and its input's variance is nothing."""
        layer = weight_layers(relu)[1]
        weights = array(relu, layer.weight)
        weights[3] = 0
        dead = with_arrays(relu, {layer.weight: weights})
        ranges = take_ranges(dead, CALIBRATION, "minmax")
        mended = adaround(dead, ranges, Settings(), CALIBRATION[:8], steps=10)
        assert not array(mended, layer.weight)[3].any()
        assert all(np.isfinite(numpy_helper.to_array(each)).all() for each in mended.graph.initializer)
