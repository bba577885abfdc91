"""Mixed precision: the fewest layers that must stay float, found by trying.

Layers join from the worst on until the model is accepted; then those that were not needed leave again. Where no set
within the budget is enough, those stay float that took a good part of the harm with them. A layer stays float together
with its activation, because one that is rounded right after it wins nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import onnx

from calibrate.evidence import Layer
from calibrate.onnx_int8 import Ranges, Settings, quantize
from calibrate.repair.layers import Graph, weight_layers
from calibrate.repair.stream import Progress, unseen

PAYS = 0.1
"""What a layer must take of the harm to stay float where no set is enough."""


def keep_float_search(
    prepared: onnx.ModelProto, ranges: Ranges, settings: Settings, layers: Sequence[Layer], *,
    max_size_ratio: float = 0.30, judge: Callable[[onnx.ModelProto], tuple[bool, float]],
    progress: Progress = unseen,
) -> tuple[str, ...]:  # fmt: skip
    """Return names of nodes to keep float: a small set with which the int8 model is accepted, or else comes nearer.

    Args:
        prepared: a float graph as `calibrate.onnx_int8.prepare` returns it.
        ranges: of its tensors.
        settings: how it will be quantized; what they keep float already stays so and is not in the answer.
        layers: as `sensitivity` returns them, worst first.
        max_size_ratio: how large the int8 model may become, as a share of the float graph's bytes.
        judge: looks at an int8 model and says whether it will do, and what harm was done to it; called a few times
            more than there are layers in the answer, and never with the same set twice.
        progress: called with sets tried, and how many there will be at most.

    Returns:
        the nodes of the layers and of their activations; empty where the model is accepted as it is, and where no set
        within the budget is and no layer took a tenth of the harm.
    """
    makers = Graph(prepared).makers
    units = {
        each.node: tuple(makers[tensor].name for tensor in (each.output, *each.activation) if makers[tensor].name)
        for each in weight_layers(prepared)
    }
    worst = [each.name for each in layers if each.name in units and each.name not in settings.keep_float]
    budget = max_size_ratio * prepared.ByteSize()
    most, tried = 2 * len(worst) + 2, [0]

    def nodes(chosen: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for layer in chosen for name in units[layer])

    def made(chosen: Sequence[str]) -> onnx.ModelProto:
        return quantize(prepared, ranges, replace(settings, keep_float=(*settings.keep_float, *nodes(chosen))))

    def judged(model: onnx.ModelProto) -> tuple[bool, float]:
        tried[0] += 1
        progress(min(tried[0], most), most)
        return judge(model)

    chosen: list[str] = []
    accepted, harm = judged(made(chosen))
    harms = [harm]
    for name in worst:
        if accepted:
            break
        if (model := made([*chosen, name])).ByteSize() <= budget:
            chosen.append(name)
            accepted, harm = judged(model)
            harms.append(harm)
    if not accepted:
        steps = zip(chosen, pairwise(harms), strict=True)
        chosen = [name for name, (before, after) in steps if before - after >= PAYS * before]
    for name in chosen[-2::-1] if accepted else ():  # the last one was needed
        fewer = [each for each in chosen if each != name]
        if judged(made(fewer))[0]:
            chosen = fewer
    progress(most, most)
    return nodes(chosen)
