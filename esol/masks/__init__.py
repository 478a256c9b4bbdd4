"""Masks from maps, saliency, a CRF and a random walk; they know no ground truth and no stages."""
