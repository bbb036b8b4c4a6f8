"""The kinds of model that compete: each is fitted here and exported to `detector`."""
