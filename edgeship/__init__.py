"""edgeship: from a trained TensorFlow model to a small, checked service on a device."""

__version__ = "0.1.0"
