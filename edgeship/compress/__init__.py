"""Candidates: the trainable graph, one module a method, sensitivity, and the search under a budget.

Knows neither how files are quantized nor how they are scored: the pipeline hands that over as functions.
"""
