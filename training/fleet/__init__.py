"""The watch file before it is published: what it stands for, what it costs, training for it."""
