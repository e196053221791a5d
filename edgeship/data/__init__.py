"""What a model is fed: datasets of every form, and the preprocessing that clients repeat."""
