"""What the candidates are called where people read."""

NAMES = {"value-forest": "value forest", "lstm-autoencoder": "LSTM autoencoder"}

NOTHING = "-"
"""Stands where there is no figure."""
