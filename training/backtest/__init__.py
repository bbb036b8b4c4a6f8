"""Trying the candidates on the user's own history, with faults of known kinds put into it."""
