"""What is known of a device: its facts, its layout, and the helper that runs there."""
