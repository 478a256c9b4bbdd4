"""Compared methods: SC-CAM, DRS, EPS and LPCAM, each on the same backbone and head as ESOL."""
