"""Models and data: sources, conversion, inspection, datasets, preprocessing, metadata."""
