"""Models that tensorflow-model-optimization wrapped, without it (docs/adr/0016-tfmot.md)."""
