"""The Edge TPU: predict what its compiler will map, run the user's compiler, read its log, check its output."""
