"""Models that tensorflow-model-optimization wrapped, without it (docs/adr/0019-tfmot.md)."""
