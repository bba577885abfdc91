"""The ladder of repairs: from the plainest int8 up, until what int8 cost on dev leaves a reserve for other pictures.

A rung changes the float weights, the ranges or which layers stay float; each is judged on dev beside the float parent,
and kept when its answers come nearer to the parent's. Both formats climb together, on the same weights and steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from calibrate.dev import Dev, Figures
from calibrate.evidence import Layer, Rung
from calibrate.finetune import Course, finetune
from calibrate.folding import carry_back
from calibrate.onnx_int8 import Ranges, Settings, prepare, quantize, stamped
from calibrate.ranges import take_ranges
from calibrate.repair import adaround, correct_bias, equalize, keep_float_search, sensitivity
from calibrate.repair.layers import weight_layers
from edge.errors import InputError
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier
from edge.model.tflite import TfliteClassifier
from train.datasets import FaceSet
from train.export import Deployed, to_onnx

Told = Callable[[str, int | None], Callable[[int], None]]
"""Told that a stage of so many steps begins; returns what is told the steps done."""

LARGEST = 0.30
"""Size of the int8 file that may be, as a share of the float file's."""

SENSED = 500
"""Dev pictures that single layers are judged on."""

BIAS, ROUNDING = "bias correction", "adaptive rounding"

MIXED = "mixed precision"
"""The rung on which layers stay float."""


@dataclass(frozen=True)
class Stand:
    """Where the ladder stands.

    Attributes:
        graph: the prepared float graph with today's weights.
        aim: the float graph whose layers' outputs those of the int8 one should be; `graph` before anything in it was
            fitted to rounding.
        ranges: of its tensors.
        settings: how it is quantized.
    """

    graph: onnx.ModelProto
    aim: onnx.ModelProto
    ranges: Ranges
    settings: Settings


@dataclass(frozen=True)
class Ground:
    """What every rung stands on.

    Attributes:
        info: the float model's facts; `calibration` says what ranges are taken from.
        method: how they are taken.
        network: in torch, batch norms folded; None for a bare ONNX.
        faces: training pictures, for fine-tuning.
        crops: `(N, S, S, 3)` uint8 RGB calibration crops. Ranges and repairs take the same ones: a mean that is put
            right on pictures which the ranges clip is put wrong on the others.
        dev: what is chosen on.
        course: of fine-tuning.
        converted: the float TFLite file of `network`, its facts those of `info` as int8; None for no TFLite files.
        told: shown what is done.
    """

    info: ModelInfo
    method: str
    network: Deployed | None
    faces: FaceSet
    crops: np.ndarray
    dev: Dev
    course: Course
    converted: bytes | None
    told: Told

    def steps(self, text: str) -> Callable[[int, int], None]:
        """Begin a stage whose length is told with each step."""
        moved: list[Callable[[int], None]] = []

        def show(done: int, of: int) -> None:
            if not moved:
                moved.append(self.told(text, of))
            moved[0](done)

        return show


@dataclass
class Climb:
    """What came of climbing.

    Attributes:
        rungs: every step, in order.
        layers: how much each layer suffers, worst first.
        stand: what the files are made from.
        files: of each format, `onnx` and `tflite`, as bytes.
        figures: theirs on dev.
        notes: what was left out or fell back.
        tried: names of the rungs that were tried, those that do not apply among them.
    """

    stand: Stand
    rungs: list[Rung] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    figures: dict[str, Figures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether a rung was kept."""
        return any(rung.kept for rung in self.rungs if rung.name == name)

    def within(self) -> bool:
        """Whether every format has a file within the limits on dev."""
        return bool(self.figures) and all(figures.passes for figures in self.figures.values())


def climb(ground: Ground, done: Climb, *, everything: bool, keep: Callable[[Climb], None]) -> None:
    """Climb on until every format is within `ground.dev.limits`, or to the top.

    Args:
        ground: see there.
        done: what was climbed before; at first only where to stand. Changed in place.
        everything: whether to go to the top even when the gate is met earlier.
        keep: called after every rung, to write down what was reached.
    """
    for name, what, step in RUNGS:
        if name in done.tried:
            continue
        if name not in FIRST and done.within() and not everything:
            break
        began = time.monotonic()
        stand = step(ground, done)
        if stand is not None:
            _judge(ground, done, name, what(done.stand.settings, ground), stand, began, may_keep=name != NAIVE)
        done.tried.append(name)
        keep(done)
    if not done.layers:
        sense(ground, done)
        keep(done)
    floats = set(done.stand.settings.keep_float)
    done.layers = [replace(layer, kept_float=layer.name in floats) for layer in done.layers]


def rung_in_words(rung: Rung) -> str:
    """Return what a rung came to, in a line."""
    lies = "good enough" if rung.passes else "not good enough"
    return (
        f"{rung.name}, {rung.format}: dev {100 * rung.accuracy:.2f} %, agrees {100 * rung.agreement:.2f} %, "
        f"KL {rung.kl:.5f}, {lies}{', kept' if rung.kept else ''} ({rung.seconds:.0f} s)"
    )


def sense(ground: Ground, done: Climb) -> None:
    """Find out how much each layer suffers, where the ladder stands now."""
    dev, some = ground.dev, sensed(len(ground.dev.crops))
    show = ground.steps("how much each layer suffers")
    stand = done.stand
    bare = replace(stand.settings, keep_float=())
    done.layers = list(sensitivity(stand.aim, stand.ranges, bare, dev.crops[some], dev.targets[some], show))


def sensed(count: int) -> np.ndarray:
    """Return which of `count` dev pictures single layers are judged on."""
    return np.linspace(0, count - 1, min(SENSED, count)).round().astype(int)


def _naive(ground: Ground, done: Climb) -> Stand | None:
    stand = done.stand
    ranges = take_ranges(stand.graph, ground.crops, "minmax")
    return replace(stand, ranges=ranges, settings=replace(stand.settings, per_channel=False))


def _ranges(ground: Ground, done: Climb) -> Stand | None:
    return done.stand


def _equalize(ground: Ground, done: Climb) -> Stand | None:
    graph = equalize(done.stand.graph)
    return Stand(graph, graph, take_ranges(graph, ground.crops, ground.method), done.stand.settings)


def _correct_bias(ground: Ground, done: Climb) -> Stand | None:
    stand, show = done.stand, ground.steps(BIAS)
    return replace(stand, graph=correct_bias(stand.aim, stand.ranges, stand.settings, ground.crops, show))


def _adaround(ground: Ground, done: Climb) -> Stand | None:
    stand, show = done.stand, ground.steps(ROUNDING)
    graph = adaround(stand.aim, stand.ranges, stand.settings, ground.crops, seed=ground.course.seed, progress=show)
    return replace(stand, graph=graph)


def _keep_float(ground: Ground, done: Climb) -> Stand | None:
    sense(ground, done)
    stand, show = done.stand, ground.steps("which layers to keep float")

    def judge(model: onnx.ModelProto) -> tuple[bool, float]:
        figures = ground.dev.judge(_onnx(ground, model))
        return figures.passes, figures.kl

    def repair(settings: Settings) -> onnx.ModelProto:
        """What was fitted to the rounding of all layers is fitted anew where some stay float."""
        if done.has(ROUNDING):
            return adaround(stand.aim, stand.ranges, settings, ground.crops, seed=ground.course.seed)
        return correct_bias(stand.aim, stand.ranges, settings, ground.crops)

    chosen = keep_float_search(
        stand.graph, stand.ranges, stand.settings, done.layers, max_size_ratio=LARGEST, judge=judge, repair=repair,
        progress=show,
    )  # fmt: skip
    if not chosen:
        done.notes.append("Mixed precision: no layer had to stay float, or none that the size allows gave enough back.")
        return None
    settings = replace(stand.settings, keep_float=tuple(chosen))
    return replace(stand, graph=repair(settings), settings=settings)


def _finetune(ground: Ground, done: Climb) -> Stand | None:
    if ground.network is None:
        done.notes.append("Fine-tuning was not tried: a bare ONNX file holds no network that can be trained.")
        return None
    stand, show = done.stand, ground.steps("quantization-aware fine-tuning")
    begin = carry_back(stand.aim, ground.network)
    taught = finetune(
        ground.network, begin, ground.faces, ground.crops, ground.course, per_channel=stand.settings.per_channel,
        progress=show,
    )  # fmt: skip
    graph = prepare(to_onnx(taught, ground.info))
    return Stand(graph, graph, take_ranges(graph, ground.crops, ground.method), stand.settings)


What = Callable[[Settings, Ground], str]


def _says(text: str) -> What:
    return lambda settings, ground: text


def _ranges_say(settings: Settings, ground: Ground) -> str:
    scales = "a scale a channel" if settings.per_channel else "one scale a layer"
    return f"{ground.method} ranges, {scales}, {settings.activation} activations"


NAIVE = "naive"

FIRST = (NAIVE, "ranges")
"""Rungs that are always taken: how bad it would be, and what the sweep chose."""

RUNGS: Sequence[tuple[str, What, Callable[[Ground, Climb], Stand | None]]] = (
    (NAIVE, _says("min-max ranges, one scale a layer; never kept"), _naive),
    ("ranges", _ranges_say, _ranges),
    ("equalization", _says("weights balanced across layers where the activation between allows it"), _equalize),
    (BIAS, _says("each layer's mean error on calibration pictures taken out of its bias"), _correct_bias),
    (ROUNDING, _says("weights rounded up or down by what it does to the layer's answer"), _adaround),
    (MIXED, _says("the fewest worst layers left float, the others fitted anew"), _keep_float),
    ("fine-tuning", _says("trained on, rounding in place, to answer as the float parent does"), _finetune),
)
"""Name, what it does, and the step itself, cheapest first."""


def _judge(
    ground: Ground, done: Climb, name: str, what: str, stand: Stand, began: float, *, may_keep: bool = True
) -> None:
    """Judge a stand in every format; keep it for all of them when they come nearer to the parent taken together.

    One stand for both: files that round alike say the same, and a repair that is worth little to one is not worth two
    models that differ.
    """
    files: dict[str, bytes] = {}
    figures: dict[str, Figures] = {}
    took: dict[str, float] = {}
    for kind in ("onnx", "tflite") if ground.converted is not None else ("onnx",):
        files[kind] = _file(ground, stand, kind)
        moved = ground.told(f"{name}: {kind} on dev", len(ground.dev.crops))
        figures[kind] = ground.dev.judge(_load(files[kind], kind), moved)
        took[kind], began = round(time.monotonic() - began, 1), time.monotonic()
    kept = may_keep and (not done.figures or _worth(figures) > _worth(done.figures))
    if kept:
        done.stand, done.files, done.figures = stand, files, figures
    done.rungs += [
        Rung(name, kind, what, each.accuracy, each.lost, each.won, each.agreement, each.kl, len(files[kind]),
             took[kind], each.passes, kept)
        for kind, each in figures.items()
    ]  # fmt: skip


def _worth(figures: Mapping[str, Figures]) -> tuple[bool, float]:
    """Return what orders stands: whether all formats are good enough, then how near they are."""
    return all(each.passes for each in figures.values()), -sum(each.kl for each in figures.values())


def _file(ground: Ground, stand: Stand, kind: str) -> bytes:
    """Return a stand's int8 file."""
    if kind == "onnx":
        return stamped(quantize(stand.graph, stand.ranges, stand.settings), _small(ground))
    from calibrate.tflite_export import to_tflite, with_weights
    from calibrate.tflite_int8 import quantize_tflite
    from calibrate.tflite_ranges import carry_ranges

    assert ground.network is not None
    assert ground.converted is not None
    network = carry_back(stand.graph, ground.network)
    try:
        graph = with_weights(ground.converted, ground.network, network)
    except InputError:  # more than weights changed
        graph = to_tflite(network, _small(ground))
    ranges = carry_ranges(graph, stand.graph, stand.ranges, ground.crops)
    weights = {layer.node: layer.weight for layer in weight_layers(stand.graph)}
    floats = [weights[node] for node in stand.settings.keep_float if node in weights]
    named = [name.removeprefix("network.").removesuffix(".weight") for name in floats]
    return quantize_tflite(graph, ranges, keep_float=named)


def _small(ground: Ground) -> ModelInfo:
    return as_int8(ground.info)


def as_int8(info: ModelInfo) -> ModelInfo:
    """Return what an int8 file says of itself before it was measured."""
    return replace(info, precision="int8", accuracy={})


def _onnx(ground: Ground, model: onnx.ModelProto) -> OnnxClassifier:
    return OnnxClassifier.from_bytes(stamped(model, _small(ground)), "candidate", threads=2)


def _load(data: bytes, kind: str) -> OnnxClassifier | TfliteClassifier:
    opens = OnnxClassifier.from_bytes if kind == "onnx" else TfliteClassifier.from_bytes
    return opens(data, f"candidate ({kind})", threads=2)
