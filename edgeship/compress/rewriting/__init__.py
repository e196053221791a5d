"""Changes of a graph that leave what it computes: one file a kind, each a function of a `Draft`."""
