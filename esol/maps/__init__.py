"""Localization maps: computing them with any network, and their files; no masks, no stages."""
