"""Ranges: what the methods make of values whose best range is known, and that tensors are seen as they are."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from test_repair import CALIBRATION, crops_of, wild

from calibrate.ranges import BINS, METHODS, Seen, take_ranges, watch
from edge.errors import InputError

MANY = 200_000


def seen_of(values: np.ndarray) -> Seen:
    """What was seen of one tensor, `t`."""
    low, high = float(values.min()), float(values.max())
    return Seen({"t": (low, high)}, {"t": np.histogram(values, BINS, (low, high))[0]})


def error(values: np.ndarray, low: float, high: float) -> float:
    """Mean square of what 256 steps from `low` to `high` do to values."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    first = np.rint(low / step)
    return float(np.square(np.clip(np.rint(values / step), first, first + 255) * step - values).mean())


@pytest.fixture
def bell() -> np.ndarray:
    """Values as most layers give them, with a few far out."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0.5, 1.0, MANY), rng.uniform(20.0, 40.0, 10)])


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    """Depthwise convolutions, squeeze and excitation, hard-swish."""
    return wild("mobilenetv3_small_050", 0.6)


class TestMethods:
    """Each on values whose range is known."""

    def test_minmax_takes_all(self, bell: np.ndarray) -> None:
        assert seen_of(bell).ranges("minmax") == {"t": (bell.min(), bell.max())}

    @pytest.mark.parametrize("method", ["entropy", "percentile"])
    def test_few_values_far_out_are_cut_off(self, bell: np.ndarray, method: str) -> None:
        low, high = seen_of(bell).ranges(method)["t"]
        assert bell.min() - 0.1 <= low < -1.5
        assert 2.5 < high < 20.0
        assert error(bell[:MANY], low, high) < error(bell[:MANY], bell.min(), bell.max())

    def test_percentile_cuts_as_much_below_as_above(self) -> None:
        values = np.linspace(-1.0, 3.0, MANY)
        low, high = seen_of(values).ranges("percentile")["t"]
        assert low == pytest.approx(-1.0, abs=0.004)
        assert high == pytest.approx(3.0, abs=0.004)

    @pytest.mark.parametrize("method", ["entropy", "mse"])
    def test_even_values_are_kept_whole(self, method: str) -> None:
        values = np.linspace(-1.0, 3.0, MANY)
        assert seen_of(values).ranges(method)["t"] == pytest.approx((-1.0, 3.0))

    def test_mse_is_the_least_of_what_it_tries(self, bell: np.ndarray) -> None:
        chosen = error(bell, *seen_of(bell).ranges("mse")["t"])
        shares = np.linspace(1.0, 0.3, 29)
        least = min(error(bell, bell.min() * a, bell.max() * b) for a in shares[::4] for b in shares[::4])
        assert chosen <= 1.01 * least

    def test_zeros_of_a_relu_do_not_shrink_the_range(self, bell: np.ndarray) -> None:
        """With nine zeros in ten the rest must still be said."""
        values = np.concatenate([np.maximum(bell, 0.0), np.zeros(9 * MANY)])
        low, high = seen_of(values).ranges("entropy")["t"]
        assert low == 0.0
        assert high > 2.5

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("constant", [0.0, 2.0, -3.0])
    def test_a_tensor_that_never_changes(self, method: str, constant: float) -> None:
        low, high = Seen({"t": (constant, constant)}, {"t": np.bincount([0] * 9, minlength=BINS)}).ranges(method)["t"]
        assert min(constant, 0.0) <= low <= high <= max(constant, 0.0)
        assert low <= constant <= high

    def test_a_tensor_that_is_not_symmetric_keeps_its_steps(self) -> None:
        """A hard-swish gives little below zero: no step is spent there."""
        values = np.random.default_rng(1).uniform(-0.375, 12.0, MANY)
        for method in METHODS:
            assert seen_of(values).ranges(method)["t"][0] >= -0.376

    def test_an_unknown_one(self, bell: np.ndarray) -> None:
        with pytest.raises(InputError, match="choose minmax, entropy, percentile, mse"):
            seen_of(bell).ranges("average")


def test_what_a_maximum_is_padded_with_is_no_value() -> None:
    """Such a pad holds minus infinity; the range is that of the picture, and nothing of it is cut off."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["crops"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Pad", ["float", "pads", "least"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["probabilities"], kernel_shape=[1, 1]),
    ]
    for least in (-np.inf, -np.finfo(np.float32).max):
        fixed = [
            onnx.numpy_helper.from_array(np.array([0, 1, 1, 0, 0, 1, 1, 0]), "pads"),
            onnx.numpy_helper.from_array(np.array(least, np.float32), "least"),
        ]
        crops = helper.make_tensor_value_info("crops", onnx.TensorProto.UINT8, ["N", 48, 48, 3])
        answer = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "padded", [crops], [answer], fixed)
        model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
        seen = watch(model, CALIBRATION[:3])
        for method in METHODS:
            assert seen.ranges(method)["padded"] == pytest.approx(seen.ranges(method)["float"])
        assert seen.counts["padded"].sum() == seen.counts["float"].sum() == CALIBRATION[:3].size


class TestWatch:
    """A real graph over pictures."""

    def test_tensors_are_seen_as_the_runtime_computes_them(self, graph: onnx.ModelProto) -> None:
        found = take_ranges(graph, CALIBRATION, "minmax")
        shown = onnx.ModelProto()
        shown.CopyFrom(graph)
        names = [name for name in found if name != "probabilities"]
        shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        session = ort.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
        values = session.run(names, {graph.graph.input[0].name: CALIBRATION})
        for name, value in zip(names, values, strict=True):
            assert found[name] == pytest.approx((value.min(), value.max()), rel=1e-4, abs=1e-4)

    def test_what_int8_needs_is_there(self, graph: onnx.ModelProto) -> None:
        found = take_ranges(graph, CALIBRATION, "minmax")
        fixed = {each.name for each in graph.graph.initializer}
        convolved = {node.input[0] for node in graph.graph.node if node.op_type == "Conv"}
        assert convolved - fixed <= found.keys()
        assert not fixed & found.keys()

    def test_counts_are_of_all_values(self, graph: onnx.ModelProto) -> None:
        seen = watch(graph, CALIBRATION[:5])
        per_crop = {name: counts.sum() / 5 for name, counts in seen.counts.items()}
        assert all(count == int(count) for count in per_crop.values())
        assert per_crop["probabilities"] == 7

    def test_progress_is_told_to_its_end(self, graph: onnx.ModelProto) -> None:
        told: list[tuple[int, int]] = []
        watch(graph, crops_of(11, 3), lambda done, of: told.append((done, of)))
        assert told[-1] == (22, 22)
        assert told == sorted(told)

    def test_no_pictures(self, graph: onnx.ModelProto) -> None:
        with pytest.raises(InputError, match="no calibration pictures"):
            watch(graph, CALIBRATION[:0])

    def test_an_unknown_method_is_told_before_the_work(self, graph: onnx.ModelProto) -> None:
        with pytest.raises(InputError, match='method "average"'):
            take_ranges(graph, CALIBRATION, "average")
