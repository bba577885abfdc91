"""Batch norms folded into the convolutions before them, so that every weight that becomes int8 has a name in torch too.

The float ONNX of a folded network names its initializers after the network's parameters. What is repaired in the one
can so be carried into the other, and from there into TFLite.
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edge.errors import InputError
from train.export import Deployed

TOLERANCE = 1e-3
"""How far a folded network's probabilities may lie from the network's own, from rounding."""

Norm = nn.modules.batchnorm._BatchNorm


def fold_batch_norms(model: Deployed, size: int) -> Deployed:
    """Return a copy in which every batch norm that follows a convolution is part of it; the others stay.

    Which follows which is seen from one pass: a norm folds into the convolution whose very output it is given, when
    nothing else is given it. timm's norms with an activation inside leave the activation behind.

    Args:
        model: ready for export, in evaluation mode.
        size: side of its crops in pixels.

    Raises:
        InputError: the folded network answers otherwise (a network that uses a convolution twice, say).
    """
    folded = copy.deepcopy(model).eval()
    crops = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(crops)
        for conv_name, norm_name in _pairs(folded, crops).items():
            conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, Norm)
            _replace(folded, conv_name, fuse_conv_bn_eval(conv, _plain(norm)))
            _replace(folded, norm_name, _rest(norm))
        apart = float((folded(crops) - before).abs().max())
    if not apart < TOLERANCE:
        network = type(model.network).__name__
        raise InputError(
            f"{network}: its batch norms cannot be folded (answers move by {apart:.3g}); use another network"
        )
    return folded


def carry_back(graph: onnx.ModelProto, network: Deployed) -> Deployed:
    """Return a copy of a folded network with the weights that a graph made from it holds now.

    Raises:
        InputError: the graph does not hold every weight of the network.
    """
    held = {each.name: each for each in graph.graph.initializer}
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if name not in held or tuple(held[name].dims) != tuple(parameter.shape):
                raise InputError(f"the graph holds no weight {name} of shape {tuple(parameter.shape)}")
            values = np.array(numpy_helper.to_array(held[name]))
            parameter.copy_(torch.from_numpy(values))
    return changed


def _pairs(model: nn.Module, crops: torch.Tensor) -> dict[str, str]:
    """Return norm by convolution: those where the one's output is the other's input, and nobody else's."""
    made: dict[int, tuple[str, torch.Tensor]] = {}
    taken: dict[str, list[str]] = {}
    hooks = []
    leaves = {name: module for name, module in model.named_modules() if not any(module.children())}
    norms = {name: module for name, module in model.named_modules() if isinstance(module, Norm)}

    def after(name: str, output: torch.Tensor) -> None:
        made[id(output)] = (name, output)  # held, so that no other tensor takes its id

    def before(name: str, inputs: tuple[object, ...]) -> None:
        for each in inputs:
            if id(each) in made:
                taken.setdefault(made[id(each)][0], []).append(name)

    for name, module in (leaves | norms).items():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, __, output, name=name: after(name, output)))
        hooks.append(module.register_forward_pre_hook(lambda _, inputs, name=name: before(name, inputs)))
    model(crops)
    for hook in hooks:
        hook.remove()
    return {conv: users[0] for conv, users in taken.items() if len(users) == 1 and users[0] in norms}


def _plain(norm: nn.Module) -> nn.BatchNorm2d:
    """Return the norm alone, as torch's own class, in evaluation mode."""
    assert isinstance(norm, Norm)
    plain = nn.BatchNorm2d(norm.num_features, eps=norm.eps, affine=norm.affine).eval()
    plain.load_state_dict({key: value for key, value in norm.state_dict().items() if key in plain.state_dict()})
    return plain


def _rest(norm: nn.Module) -> nn.Module:
    """Return what a norm does beside normalising: timm's hold an activation."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
