"""Masks of one photo, from maps, saliency, CRF, walk and thresholds; no ground truth, no stages."""
