"""Compared methods: SC-CAM, DRS, EPS, each on the same backbone and head as ESOL."""
