"""Bytes of a cache of maps: a pickled dictionary of float32 arrays, as IRN keeps it, against ours.

    python benchmarks/cache.py DATA --kind voc --weights FILE

IRN keeps the tagged classes' maps at stride 4 and at full size. Equality is that of the seeds: the
difference in mIoU, in points (percent), at the threshold that is best for IRN's maps. The photos'
ground truth is needed.
"""

import tempfile
from pathlib import Path

import numpy as np
from cams import SCALES, mapped
from common import Report, Taken, parser_of, within
from irn import locate
from networks import add_data, fitted, read

from esol.data.images import image_size
from esol.maps.files import load_maps, save_maps
from esol.metrics.confusion import metrics
from esol.metrics.histogram import Histogram

POINTS = 0.1


def main() -> None:
    parser = parser_of(__doc__)
    add_data(parser, "mobilenetv2_100")
    options = parser.parse_args()
    report = Report("cache", options, unit="bytes")
    with tempfile.TemporaryDirectory() as folder:
        data = read(options, folder)
        assert data.truth is not None, "no ground truth"
        samples = data.samples(options.list)[: options.photos]
        network = fitted(options, samples, len(data.classes))
        ours = mapped(network, samples, "no")
        counts = [Histogram(len(data.classes)) for _ in range(2)]
        sizes = [0, 0]
        path = Path(folder, "maps.npz")
        for sample in samples:
            tags, truth = np.asarray(sample.tags, np.int64), data.truth(sample)
            save_maps(path, ours[sample.name], tags, image_size(sample.image))
            sizes[1] += path.stat().st_size
            counts[1].add(load_maps(path).full(), tags, truth)
        report.ours_ran()
        for sample in samples:
            found = locate(network, sample, SCALES, options.device)
            sizes[0] += len(found.file())
            counts[0].add(found.full.clip(0, 1), found.keys, data.truth(sample))
    theirs, own = (100 * metrics(one.confusions()).miou for one in counts)
    best = int(np.nanargmax(theirs))
    error = abs(theirs[best] - own[best])
    print(f"seed mIoU {theirs[best]:.2f} and {own[best]:.2f} at {counts[0].thresholds[best]:.2f}")
    if not options.quick:
        within(error, POINTS, "mIoU of the seeds")
    each = [size / len(samples) for size in sizes]
    case = f"{len(samples)} photos, a photo"
    report.finish(report.add(case, Taken(each[0], each[1], each[0] / each[1]), error))


if __name__ == "__main__":
    main()
