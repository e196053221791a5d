"""Artifacts + samples -> scorecards, gates and the choice between variants."""
