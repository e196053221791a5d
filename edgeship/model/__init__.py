"""How a model becomes the one float `.tflite`: sources, guards, conversion, inspection."""
