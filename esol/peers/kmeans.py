"""Clusters of vectors, the same on every run."""

import warnings

import torch
from torch import Tensor


def clusters_of(
    vectors: Tensor, clusters: int, *, seed: int, starts: int, iterations: int
) -> Tensor:
    """k-means++ on one thread, because sums depend on the number of threads.

    Args:
        vectors: (n, D) float32 on the CPU, finite; n is 1 or more.
        clusters: at most this many; fewer where there are fewer distinct vectors.
        seed: of the starts.
        starts: the best of this many.
        iterations: at most this many per start.

    Returns:
        (n,) int64 cluster of each vector; clusters without vectors are possible.
    """
    # Imported here: they take a second to import.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    count = min(clusters, len(vectors))
    means = KMeans(count, n_init=starts, max_iter=iterations, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        # KMeans warns of equal vectors, which leave clusters empty.
        warnings.simplefilter("ignore")
        return torch.as_tensor(means.fit_predict(vectors.numpy()), dtype=torch.int64)
