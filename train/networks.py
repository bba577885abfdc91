"""Networks: any timm model by name, with pretrained weights from timm's hub or a local file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import train.torchvision_cpu  # noqa: F401  (before timm)
from edge.errors import InputError, OutsideError
from train.cnn import Cnn
from train.weights import load_in_order, packaged_weights

GRAY = (0.299, 0.587, 0.114)
"""ITU-R BT.601 luma weights of R, G, B: what OpenCV and PIL make gray with."""

ALIASES = {"xception": "legacy_xception", "lite0": "tf_efficientnet_lite0", "lite2": "tf_efficientnet_lite2"}
"""Short names of ours for timm's."""


def build(
    name: str, classes: int, *, pretrained: str | None = None, drop: float = 0.0, drop_path: float = 0.0
) -> nn.Module:
    """Build a network that maps `(N, 3, S, S)` float32 in -1..1 to `(N, classes)` logits.

    Args:
        name: a timm model name, one of `ALIASES`, or `cnn`.
        classes: number of outputs.
        pretrained: `None` for random weights, `"hub"` for timm's download, `"package"` for the installed package that
            carries them, else the path of a safetensors or torch file in timm's keys; a classifier of another size is
            left out.
        drop: dropout before the classifier.
        drop_path: stochastic depth, for the networks that have it.

    Raises:
        InputError: no such network, or the file is missing or does not fit it.
        OutsideError: the download failed.
    """
    import timm

    name = ALIASES.get(name, name)
    if name == "cnn":
        if pretrained is not None:
            raise InputError("cnn: there are no pretrained weights of it; leave --pretrained out")
        return _quiet_head(Cnn(classes, drop))
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        raise InputError(f'no network "{name}" in timm' + (f"; near it: {', '.join(near)}" if near else ""))
    packaged = packaged_weights(name) if pretrained == "package" else None
    options: dict[str, object] = {"num_classes": classes, "drop_rate": drop}
    if drop_path:
        options["drop_path_rate"] = drop_path
    if pretrained == "hub":
        options["pretrained"] = True
    elif pretrained is not None and packaged is None:
        if not Path(pretrained).is_file():
            raise InputError(f"{pretrained}: no such weights file")
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": pretrained}}
    try:
        network = _create(name, options)
    except Exception as error:  # a foreign file can make torch, timm and safetensors raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        if pretrained is None:
            raise InputError(f"{name}: timm cannot build it for {classes} classes ({reason}); choose another") from None
        if pretrained == "hub":
            raise OutsideError(
                f"{name}: its weights could not be downloaded ({reason}); give a file with --pretrained PATH"
            ) from None
        raise InputError(f"{pretrained}: these weights do not fit {name} ({reason})") from None
    if packaged is not None:
        load_in_order(network, packaged)
    return _quiet_head(network)


def _create(name: str, options: dict[str, object]) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        return timm.create_model(name, **{key: value for key, value in options.items() if key != "drop_path_rate"})


def _quiet_head(network: nn.Module) -> nn.Module:
    """Start the new classifier near zero: pretrained features are large, and a loud head's first loss is above 7."""
    head = classifier_of(network)
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)
    return network


def classifier_of(network: nn.Module) -> nn.Module | None:
    """Return the last layer, where the network names it as timm's do."""
    get = getattr(network, "get_classifier", None)
    found = get() if callable(get) else None
    return found if isinstance(found, nn.Module) else None


def parameter_groups(network: nn.Module, rate: float, head_rate: float, decay: float) -> list[dict[str, object]]:
    """Split the parameters into body and head, which learns faster, and leave norms and biases undecayed."""
    classifier = classifier_of(network)
    head = {id(p) for p in classifier.parameters()} if classifier is not None else set()
    groups: list[dict[str, object]] = []
    for is_head in (False, True):
        for is_matrix in (False, True):
            chosen = [p for p in network.parameters() if (id(p) in head) == is_head and (p.ndim > 1) == is_matrix]
            if chosen:
                peak = head_rate if is_head else rate
                groups.append({"params": chosen, "peak": peak, "weight_decay": decay if is_matrix else 0.0})
    return groups


def to_input(batch: torch.Tensor) -> torch.Tensor:
    """Turn `(N, S, S)` or `(N, S, S, 3)` uint8 into the network's `(N, 3, S, S)` float32 in -1..1, channels last."""
    values = batch.float().div_(127.5).sub_(1.0)
    if values.ndim == 3:
        return values[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    return values.permute(0, 3, 1, 2)
