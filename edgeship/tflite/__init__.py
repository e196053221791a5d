"""The TFLite file format: what a `.tflite` holds, what is unsound in it, and how it is changed."""
