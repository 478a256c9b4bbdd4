"use strict";
// From cached maps to masks and their measures. Nothing here touches the page.

/** Bytes behind base64 of deflated data. */
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Between which of `cells`, stretched over `count` pixels with centres aligned, each pixel lies. */
function places(count, cells) {
  const low = new Uint16Array(count), high = new Uint16Array(count), share = new Float64Array(count);
  for (let pixel = 0; pixel < count; pixel++) {
    const place = Math.max(0, ((pixel + 0.5) * cells) / count - 0.5);
    low[pixel] = Math.floor(place);
    high[pixel] = Math.min(low[pixel] + 1, cells - 1);
    share[pixel] = place - low[pixel];
  }
  return { low, high, share };
}

/** Highest score of each pixel and the tag it comes from, the first among equals: esol.masks.seeds. */
function strongest(photo, kind) {
  const [width, height] = photo.size, [w, h] = photo.grid;
  const top = new Float32Array(width * height), winner = new Uint8Array(width * height);
  const across = places(width, w), down = places(height, h);
  photo.tags.forEach((_, tag) => {
    const plane = planeOf(photo, kind, tag);
    for (let y = 0, at = 0; y < height; y++) {
      const upper = down.low[y] * w, lower = down.high[y] * w, below = down.share[y];
      for (let x = 0; x < width; x++, at++) {
        const left = across.low[x], right = across.high[x], beyond = across.share[x];
        const above = plane[upper + left] * (1 - beyond) + plane[upper + right] * beyond;
        const under = plane[lower + left] * (1 - beyond) + plane[lower + right] * beyond;
        // float32, in which Python compares scores with the threshold.
        const score = Math.fround((above * (1 - below) + under * below) / 255);
        if (score > top[at]) { top[at] = score; winner[at] = tag; }
      }
    }
  });
  return { top, winner };
}

function planeOf(photo, kind, tag) {
  const cells = photo.grid[0] * photo.grid[1];
  const start = (kind * photo.tags.length + tag) * cells;
  return photo.planes.subarray(start, start + cells);
}

/** Mask value of each pixel: class + 1 where its score is above the threshold, otherwise 0. */
function seedMask(photo, { top, winner }, threshold) {
  const limit = Math.fround(threshold), mask = new Uint8Array(top.length);
  for (let at = 0; at < mask.length; at++) {
    if (top[at] > limit) mask[at] = photo.tags[winner[at]] + 1;
  }
  return mask;
}

/** Mean IoU over the classes that occur in the truth; the arguments hold pixels by mask value. */
function meanIou(seen, predicted, right) {
  let sum = 0, classes = 0;
  for (let value = 0; value < 255; value++) {
    if (!seen[value]) continue;
    sum += right[value] / (seen[value] + predicted[value] - right[value]);
    classes++;
  }
  return classes ? sum / classes : NaN;
}

/** Mean IoU of a finished mask; pixels whose truth is 255 are left out. */
function maskIou(mask, truth) {
  const [seen, predicted, right] = [0, 0, 0].map(() => new Uint32Array(256));
  truth.forEach((value, at) => {
    if (value === 255) return;
    const found = mask[at] === 255 ? 0 : mask[at];  // unsure counts as background: esol.metrics.confusion
    seen[value]++;
    predicted[found]++;
    if (found === value) right[value]++;
  });
  return meanIou(seen, predicted, right);
}

/** Mean IoU at every threshold, from one pass that counts pixels by the thresholds they beat. */
function seedIous(photo, { top, winner }, truth, thresholds) {
  const levels = thresholds.length, limits = Float32Array.from(thresholds);
  const rows = photo.tags.length, step = levels + 1;
  const won = new Uint32Array(rows * step), right = new Uint32Array(rows * step);
  const lost = new Uint32Array(step), seen = new Uint32Array(256);
  let pixels = 0;
  for (let at = 0; at < truth.length; at++) {
    if (truth[at] === 255) continue;
    let level = Math.floor(top[at] * 99);
    while (level < levels && top[at] > limits[level]) level++;
    while (level > 0 && top[at] <= limits[level - 1]) level--;
    pixels++;
    seen[truth[at]]++;
    if (!rows) continue;
    const cell = winner[at] * step + level;
    won[cell]++;
    if (truth[at] === photo.tags[winner[at]] + 1) right[cell]++;
    if (truth[at] === 0) lost[level]++;
  }
  const predicted = new Uint32Array(256), hit = new Uint32Array(256);
  const ious = new Float32Array(levels);
  predicted[0] = pixels;
  hit[0] = seen[0];
  for (let level = levels; level > 0; level--) {
    // Pixels that beat this many thresholds bear a class at the last of these and at lower ones.
    for (let tag = 0; tag < rows; tag++) {
      const value = photo.tags[tag] + 1, cell = tag * step + level;
      predicted[value] += won[cell];
      predicted[0] -= won[cell];
      hit[value] += right[cell];
    }
    hit[0] -= lost[level];
    ious[level - 1] = meanIou(seen, predicted, hit);
  }
  return ious;
}

/** How clear the decisions behind a seed are, on the cached grid: esol.masks.pseudo.confidence. */
function confidence(photo, kind, threshold) {
  const tags = photo.tags.length;
  if (!tags) return 1;
  const step = Math.min(threshold, 1 - threshold) / 2;
  const planes = photo.tags.map((_, tag) => planeOf(photo, kind, tag));
  let sum = 0;
  for (let tag = 0; tag < tags; tag++) {
    let strict = 0, lenient = 0;
    for (let at = 0; at < planes[tag].length; at++) {
      let rival = threshold;
      for (let other = 0; other < tags; other++) {
        if (other !== tag) rival = Math.max(rival, planes[other][at] / 255);
      }
      const lead = planes[tag][at] / 255 - rival;
      if (lead > step) strict++;
      if (lead > -step) lenient++;
    }
    sum += lenient ? strict / lenient : 0;
  }
  return sum / tags;
}
