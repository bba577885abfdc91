"""Repairs of what rounding to int8 breaks, one idea a module: each changes a float graph, or names what stays float."""

from calibrate.repair.adaround import adaround
from calibrate.repair.bias import correct_bias
from calibrate.repair.equalize import equalize
from calibrate.repair.search import keep_float_search
from calibrate.repair.sensitivity import sensitivity

__all__ = ["adaround", "correct_bias", "equalize", "keep_float_search", "sensitivity"]
