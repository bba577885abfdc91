"""Mixed precision: few layers that must stay float, found by trying.

Layers join from the worst on, twice as many each time, until the model is accepted; then those that were not needed
leave again. Where no set within the budget is enough, it is the smallest that gives back nearly what the best does. A
layer stays float together with its activation, and with a sum whose other side is float as well, because what is
rounded right after it wins nothing; and what was fitted to its rounding is fitted anew, or that would do the harm that
the rounding no longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx

from calibrate.evidence import Layer
from calibrate.onnx_int8 import Ranges, Settings, quantize
from calibrate.repair.layers import Graph, weight_layers
from calibrate.repair.stream import Progress, unseen

PAYS = 0.1
"""How far from the best a smaller set may stay, where none is enough, as a share of the harm at first."""

JOINS = ("Add", "Mul")
"""Operators that stay float where all that they read is."""

FEW = 8
"""Of so many layers at most each one is tried without."""


def keep_float_search(
    prepared: onnx.ModelProto, ranges: Ranges, settings: Settings, layers: Sequence[Layer], *,
    max_size_ratio: float = 0.30, judge: Callable[[onnx.ModelProto], tuple[bool, float]],
    repair: Callable[[Settings], onnx.ModelProto] | None = None, progress: Progress = unseen,
) -> tuple[str, ...]:  # fmt: skip
    """Return names of nodes to keep float: a small set with which the int8 model is accepted, or else comes nearer.

    Args:
        prepared: a float graph as `calibrate.onnx_int8.prepare` returns it.
        ranges: of its tensors.
        settings: how it will be quantized; what they keep float already stays so and is not in the answer.
        layers: as `sensitivity` returns them, worst first.
        max_size_ratio: how large the int8 model may become, as a share of the float graph's bytes.
        judge: looks at an int8 model and says whether it will do, and what harm was done to it; never called with the
            same set twice.
        repair: returns the graph as it suits settings that keep more float; None leaves it as it is.
        progress: called with sets tried, and how many there will be about.

    Returns:
        the nodes of the layers, of their activations and sums; empty where the model is accepted as it is, and where no
        set within the budget is and none took a tenth of the harm.
    """
    makers = Graph(prepared).makers
    units = {
        each.node: tuple(makers[tensor].name for tensor in (each.output, *each.activation) if makers[tensor].name)
        for each in weight_layers(prepared)
    }
    worst = [each.name for each in layers if each.name in units and each.name not in settings.keep_float]
    budget = max_size_ratio * prepared.ByteSize()
    seen: dict[tuple[str, ...], tuple[bool, float]] = {}
    most = 2 * len(worst).bit_length() + 2

    def nodes(chosen: Sequence[str]) -> tuple[str, ...]:
        found = dict.fromkeys(name for layer in chosen for name in units[layer])
        for node in prepared.graph.node if chosen else ():
            read = [makers[tensor].name for tensor in node.input if tensor in makers]
            if node.op_type in JOINS and node.name and read and all(name in found for name in read):
                found[node.name] = None
        return tuple(found)

    def kept(chosen: Sequence[str]) -> Settings:
        return replace(settings, keep_float=(*settings.keep_float, *nodes(chosen)))

    def fits(chosen: Sequence[str]) -> bool:
        return quantize(prepared, ranges, kept(chosen)).ByteSize() <= budget

    def look(chosen: Sequence[str]) -> tuple[bool, float]:
        key = tuple(chosen)
        if key not in seen:
            graph = repair(kept(chosen)) if repair is not None and chosen else prepared
            seen[key] = judge(quantize(graph, ranges, kept(chosen)))
            progress(min(len(seen), most), most)
        return seen[key]

    def larger(chosen: list[str], count: int) -> list[str]:
        """Return the worst layers, up to so many that fit; `chosen` are the first of them."""
        for name in worst[worst.index(chosen[-1]) + 1 if chosen else 0 :]:
            if len(chosen) == count:
                break
            chosen = [*chosen, name] if fits([*chosen, name]) else chosen
        return chosen

    accepted, harm = look(())
    tried: list[tuple[list[str], float]] = [([], harm)]
    while not accepted:
        before = tried[-1][0]
        chosen = larger(before, max(1, 2 * len(before)))
        if chosen == before:
            break
        accepted, harm = look(chosen)
        tried.append((chosen, harm))
    chosen = _fewest(tried[-1][0], len(tried[-2][0]), look) if accepted and len(tried) > 1 else _knee(tried)
    progress(most, most)
    return nodes(chosen)


def _fewest(chosen: list[str], too_few: int, look: Callable[[Sequence[str]], tuple[bool, float]]) -> list[str]:
    """Return what is needed of layers that are accepted, the first `too_few` of which are not."""
    enough = len(chosen)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        enough, too_few = (middle, too_few) if look(chosen[:middle])[0] else (enough, middle)
    chosen = chosen[:enough]
    for name in chosen[-2::-1] if enough <= FEW else ():  # the last one was needed
        fewer = [each for each in chosen if each != name]
        if look(fewer)[0]:
            chosen = fewer
    return chosen


def _knee(tried: list[tuple[list[str], float]]) -> list[str]:
    """Return the smallest set with nearly as little harm as any; of sets and the harm that each leaves."""
    least = min(harm for _, harm in tried)
    return next(layers for layers, harm in tried if harm - least <= PAYS * tried[0][1])
