"""Models that tensorflow-model-optimization wrapped, without it (docs/adr/0015-tfmot.md)."""
