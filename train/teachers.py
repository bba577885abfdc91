"""Teachers: finished runs whose answers another network learns from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from edge.errors import InputError
from train.config import config_from
from train.networks import build
from train.runs import Run, home, load_tensors


class Teachers:
    """One or several networks, frozen, that answer together."""

    def __init__(self, names: tuple[str, ...], labels: tuple[str, ...], temperature: float, device: torch.device):
        """Load the best weights of each run.

        Raises:
            InputError: there is no such run, it has no finished epoch, or it knows other labels.
        """
        self.temperature = temperature
        self.members = [_load(name, labels, device) for name in names]

    @torch.no_grad()
    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return `(B, C)` log-probabilities, the mean of the softened answers, for `(B, 3, S, S)` float32 in -1..1.

        A teacher that learned from pictures of another size gets them enlarged or reduced to it.
        """
        answers = []
        for network, size in self.members:
            seen = inputs
            if inputs.shape[-1] != size:
                seen = F.interpolate(inputs, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
                seen = seen.contiguous(memory_format=torch.channels_last)
            answers.append(F.softmax(network(seen).float() / self.temperature, dim=1))
        return torch.stack(answers).mean(dim=0).clamp_min(1e-8).log()


def _load(name: str, labels: tuple[str, ...], device: torch.device) -> tuple[nn.Module, int]:
    run = Run(home() / "runs" / name)
    stored = run.read_config()
    if stored is None or not run.best.exists():
        raise InputError(f"teacher {name}: no finished epoch in {run.folder}")
    config, known = config_from(stored), run.read_data().get("labels")
    if known != list(labels):
        raise InputError(f"teacher {name}: it knows other labels ({known})")
    network = build(config.network, len(labels))
    try:
        network.load_state_dict(load_tensors(run.best)[0])
    except RuntimeError:
        raise InputError(f"{run.best}: these are weights of another network than {config.network}") from None
    network = network.eval().requires_grad_(False).to(device)
    return network.to(memory_format=torch.channels_last), config.size  # type: ignore[call-overload]
