"""Recipes, calibration and post-training quantization: a float `.tflite` -> checked artifacts."""
