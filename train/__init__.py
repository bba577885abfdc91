"""Makes a float model from labelled faces: data, augmentation, networks, the training loop, export."""
