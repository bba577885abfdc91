"""Measuring a model: the reader of labelled folders, the scorer, and `edge evaluate`. The only scorer in the house."""
