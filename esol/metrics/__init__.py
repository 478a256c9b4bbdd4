"""Metrics of masks and maps against the ground truth; they know no networks and no stages."""
