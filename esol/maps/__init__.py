"""Localization maps of any network, and their files; they know no masks and no stages."""
