"""The paper's method: classifier, Expansion, Shrinkage and their losses.

A.n names a section of the paper's appendix (Expansion and Shrinkage of Localization for
Weakly-Supervised Semantic Segmentation, NeurIPS 2022); docs/method.md says which values are not in
the paper but ours. Read: classifier, sampling, expansion, shrinkage, localizer, losses.
"""
