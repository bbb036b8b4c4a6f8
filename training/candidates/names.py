"""What the candidates are called where people read."""

NAMES = {
    "value-forest": "value forest",
    "contextual-forest": "contextual forest",
    "lstm-autoencoder": "LSTM autoencoder",
}

NOTHING = "-"
"""Stands where there is no figure."""
