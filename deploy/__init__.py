"""Carries a model and its configuration to a device, and back: bundles, images, push, inventory."""
