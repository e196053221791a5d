"""Fault campaigns against real local devices: what breaks, at every step, and what must hold afterwards."""
