"""Detectors, the artifact they travel in, and nothing that touches the world.

Everything here is pure: standard library, numpy and safetensors; no network, environment, clock
or logging. Training and serving import the same definitions from this room.
"""
