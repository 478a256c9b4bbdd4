"""Metrics of masks and score maps against the ground truth; no networks, no settings, no stages."""
