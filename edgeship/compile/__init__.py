"""Compiler backends, and what they will do: `check_model` predicts, `backends.BACKENDS` compiles."""
