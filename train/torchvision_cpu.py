"""Lets torchvision import beside a CPU torch, where only its CUDA wheel is to be had.

torchvision's compiled operators then fail to load and `import torchvision` dies with `operator torchvision::nms does
not exist`. timm and facenet-pytorch import it for its Python parts alone. The remedy: declare the two operators that
it looks for at import, and only when the compiled ones do not load. Import this module before timm.
"""

from __future__ import annotations

import sys

import torch

_DECLARED: list[torch.library.Library] = []  # kept alive: a Library takes its operators with it


def make_importable() -> None:
    """Import torchvision, declaring its `nms` and `qnms` operators first when its compiled ones do not load."""
    if "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", _nms, "CompositeExplicitAutograd")
        _DECLARED.append(library)
        import torchvision.extension

        torchvision.extension._has_ops = lambda: True
        import torchvision


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression: `(N, 4)` boxes and `(N,)` scores to the kept indices, best first."""
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep: list[torch.Tensor] = []
    while order.numel():
        best, rest = order[0], order[1:]
        keep.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        order = rest[overlap / (area[best] + area[rest] - overlap) <= iou_threshold]
    return torch.stack(keep) if keep else order


make_importable()
