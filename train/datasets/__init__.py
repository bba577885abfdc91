"""Labelled faces for training, held in memory as ready crops. One door: `open_faces(source)`."""

from train.datasets.faces import FaceSet, open_faces

__all__ = ["FaceSet", "open_faces"]
