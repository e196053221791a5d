"""From a chosen variant to a sealed bundle: render, fetch the runtime, record golden vectors, seal; and open
again."""
