"""The island: what runs on a device. Copied verbatim into bundles; imported by nothing of edgeship."""
