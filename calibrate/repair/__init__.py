"""Repairs of what rounding to int8 breaks, one idea a module: each changes a float graph, or names what stays float."""

from calibrate.repair.bias import correct_bias
from calibrate.repair.equalization import equalize
from calibrate.repair.layerwise import sensitivity
from calibrate.repair.rounding import adaround
from calibrate.repair.search import keep_float_search

__all__ = ["adaround", "correct_bias", "equalize", "keep_float_search", "sensitivity"]
