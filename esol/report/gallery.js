// The gallery. Names are only ever set as text, never as HTML.

const MARGIN = "400px";  // photos this near to the window are drawn already
const HEAT = { levels: [0, 0.35, 0.65, 1],  // as esol.reproduce.figures.heat
  colours: [[60, 20, 110], [190, 40, 90], [250, 140, 30], [255, 240, 110]] };
const byId = (id) => document.getElementById(id);

function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Pixels of 256 values, given red, green, blue and opacity of each, as an ImageData holds them. */
function pixelTable(colourOf) {
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let value = 0; value < 256; value++) bytes.set(colourOf(value), 4 * value);
  return new Uint32Array(bytes.buffer);
}

function heatTable() {
  return pixelTable((score) => {
    const level = score / 255, above = Math.max(1, HEAT.levels.findIndex((end) => level <= end));
    const [low, high] = [HEAT.levels[above - 1], HEAT.levels[above]];
    const share = (level - low) / (high - low);
    const mixed = [0, 1, 2].map((band) =>
      HEAT.colours[above - 1][band] * (1 - share) + HEAT.colours[above][band] * share);
    return [...mixed, 255 * 0.75 * level ** 0.75];
  });
}

function startTheme() {
  const theme = byId("theme");
  theme.addEventListener("change", () => { document.documentElement.dataset.theme = theme.value; });
}

function startGallery(gallery) {
  const { photos, kinds, fixed, thresholds } = gallery;
  const state = { levels: [...gallery.starts], view: "overlay", show: "all", tag: "", list: "", order: "" };
  const cards = photos.map((photo, place) => ({ photo, place, near: false, tiles: [] }));
  const titles = ["ground truth", ...kinds, ...fixed];  // of the tiles that a card may have beside its photo
  // What may be shown alone: places in titles.
  const shows = [...titles.keys()].filter((place) => place > 0 || photos.some(({ truth }) => truth));
  const colour = (value) => (value === 255 ? gallery.unsure : gallery.colours[value] ?? [0, 0, 0]);
  const heat = heatTable(), solid = pixelTable((value) => [...colour(value), 255]);
  const sheer = pixelTable((value) => [...colour(value), value ? 150 : 0]);
  const [white] = pixelTable(() => [255, 255, 255, 215]);
  const scratch = element("canvas"), byItem = new Map();
  let waiting = false, resort = 0;

  const threshold = (kind) => thresholds[state.levels[kind]];
  const levelText = (level) => {
    const [short, full] = [thresholds[level].toFixed(2), String(thresholds[level])];
    return full.length > short.length ? full : short;
  };
  /** The kinds of maps that the slider moves: the one that is shown alone, otherwise all. */
  const moved = () => {
    const place = Number(state.show) - 1;
    return place >= 0 && place < kinds.length ? [place] : [...kinds.keys()];
  };
  // Sorting, and the slider's handle, go by the maps that are shown alone, otherwise by those that become seeds.
  const sortKind = () => (moved().length === 1 ? moved()[0] : gallery.seed);

  // What a photo's bytes hold. Maps stay in memory, as sorting needs them; masks, which are larger, do not.
  async function decode(photo) {
    photo.planes ??= await inflate(photo.maps);
    const bytes = await inflate(photo.masks), pixels = photo.size[0] * photo.size[1];
    const masks = Array.from({ length: Number(photo.truth) + photo.fixed.length },
      (_, place) => bytes.subarray(place * pixels, (place + 1) * pixels));
    const truth = photo.truth ? masks.shift() : null;
    return { truth, masks, fields: kinds.map((_, kind) => strongest(photo, kind)) };
  }

  function measure(photo, found) {
    if (photo.ious || !found.truth) return;
    photo.ious = found.fields.map((field) => seedIous(photo, field, found.truth, thresholds));
    photo.fixedIous = found.masks.map((mask) => maskIou(mask, found.truth));
  }

  /** Lay a colour with its opacity over each pixel; borders in white, as some colours are dark. */
  function paint(context, photo, values, table, borders = false) {
    const image = new ImageData(...photo.size), pixels = new Uint32Array(image.data.buffer);
    const [width, height] = photo.size;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const value = values[at];
        const border = borders && ((x + 1 < width && values[at + 1] !== value)
          || (y + 1 < height && values[at + width] !== value));
        pixels[at] = border ? white : table[value];
      }
    }
    [scratch.width, scratch.height] = photo.size;
    scratch.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(scratch, 0, 0);
  }

  function drawTile(card, tile) {
    const { photo, found } = card, { canvas, kind } = tile, bare = tile.place === undefined;
    if (tile.box.hidden) return;
    // Of what the threshold does not change, only the first picture in a view is drawn.
    const scored = kind !== undefined, moves = scored && state.view !== "scores";
    tile.note.textContent = note(photo, tile);
    if (tile.drawn === state.view && !moves) return;
    tile.drawn = state.view;
    // Setting its size, even to the same, makes a canvas anew.
    if (canvas.width !== photo.size[0]) [canvas.width, canvas.height] = photo.size;
    const context = canvas.getContext("2d");
    if (bare || state.view !== "mask") context.drawImage(card.image, 0, 0, ...photo.size);
    if (bare) return;
    if (state.view === "scores" && scored) {
      paint(context, photo, found.fields[kind].top.map((score) => Math.round(255 * score)), heat);
    } else {
      const mask = scored ? seedMask(photo, found.fields[kind], threshold(kind))
        : tile.fixed === undefined ? found.truth : found.masks[tile.fixed];
      if (state.view === "mask") paint(context, photo, mask, solid);
      else paint(context, photo, mask, sheer, true);
    }
  }

  function note(photo, { kind, fixed: place }) {
    const iou = kind !== undefined ? photo.ious?.[kind][state.levels[kind]] : photo.fixedIous?.[place];
    const told = [];
    if (kind !== undefined) told.push(`at ${levelText(state.levels[kind])}`);
    if (iou !== undefined && !Number.isNaN(iou)) told.push(`mIoU ${(100 * iou).toFixed(1)}`);
    if (kind !== undefined) told.push(`confidence ${confidence(photo, kind, threshold(kind)).toFixed(2)}`);
    return told.join(", ");
  }

  /** Draw what is in sight, once per frame however often it is asked for. */
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const card of cards) if (card.found) card.tiles.forEach((tile) => drawTile(card, tile));
    });
  }

  async function enter(card) {
    card.near = true;
    const image = element("img", { src: `data:image/jpeg;base64,${card.photo.photo}` });
    const [found] = await Promise.all([decode(card.photo), image.decode()]);
    if (!card.near) return;
    measure(card.photo, found);
    Object.assign(card, { image, found });
    card.tiles.forEach((tile) => drawTile(card, tile));
    card.item.dataset.drawn = "";
  }

  function leave(card) {
    Object.assign(card, { near: false, image: null, found: null });
    // A canvas without pixels gives its memory back; its box keeps its place.
    delete card.item.dataset.drawn;
    for (const tile of card.tiles) {
      tile.drawn = tile.canvas.width = tile.canvas.height = 0;
    }
  }

  function addTile(card, place, rest) {
    const { photo } = card, title = place === undefined ? "photo" : titles[place];
    const canvas = element("canvas", { width: 0, height: 0 });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", place === undefined ? `photo ${photo.name}` : `${title} of photo ${photo.name}`);
    canvas.style.aspectRatio = photo.size.join(" / ");
    const shown = element("span", { className: "soft" });
    const box = element("figure", {}, [canvas, element("figcaption", {}, [
      element("strong", { textContent: title }), " ", shown])]);
    card.tiles.push({ canvas, box, note: shown, place, ...rest });
  }

  function build(card) {
    const { photo } = card;
    addTile(card, undefined, {});
    if (photo.truth) addTile(card, 0, {});
    kinds.forEach((_, kind) => addTile(card, 1 + kind, { kind }));
    photo.fixed.forEach((place, at) => addTile(card, 1 + kinds.length + place, { fixed: at }));
    const tags = photo.tags.map((tag) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = `rgb(${gallery.colours[tag + 1]})`;
      return element("li", {}, [swatch, gallery.classes[tag]]);
    });
    card.item = element("li", { tabIndex: -1, className: "card" }, [
      element("h3", { textContent: photo.name }),
      element("ul", { className: "legend" }, tags),
      element("div", { className: "tiles" }, card.tiles.map((tile) => tile.box))]);
    byItem.set(card.item, card);
    watch.observe(card.item);
  }

  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const card = byItem.get(target);
      if (isIntersecting && !card.near) enter(card);
      else if (!isIntersecting && card.near) leave(card);
    }
  }, { rootMargin: MARGIN });

  /** Choose and order the cards; what is compared was measured before. */
  function arrange() {
    const [by, way] = state.order.split(" ");
    const kind = sortKind();
    const key = {
      confidence: ({ photo }) => photo.planes && confidence(photo, kind, threshold(kind)),
      error: ({ photo }) => photo.ious && 1 - photo.ious[kind][state.levels[kind]],
    }[by];
    let chosen = cards.filter(({ photo }) =>
      (!state.tag || photo.tags.includes(Number(state.tag))) &&
      (!state.list || photo.lists.includes(Number(state.list))));
    if (key) {
      const ranked = chosen.map((card) => [key(card), card]);
      const sign = way === "up" ? 1 : -1;
      // Photos without a value, such as those without truth, come last either way.
      const known = ranked.filter(([value]) => Number.isFinite(value));
      const others = ranked.filter(([value]) => !Number.isFinite(value));
      known.sort(([a, one], [b, other]) => sign * (a - b) || one.place - other.place);
      chosen = [...known, ...others].map(([, card]) => card);
    }
    byId("cards").replaceChildren(...chosen.map(({ item }) => item));
    const sorted = key ? `, by ${by} of ${kinds[kind]}` : "";
    byId("found").textContent = `${chosen.length} of ${photos.length} photos${sorted}`;
  }

  /** The thresholds, and the whole list's mIoU there, as measured on the files. */
  function tell() {
    const text = [...new Set(moved().map((kind) => levelText(state.levels[kind])))].join(" / ");
    byId("threshold").value = state.levels[sortKind()];
    byId("value").textContent = text;
    byId("threshold").setAttribute("aria-valuetext", text);
    const told = gallery.measured.filter(({ list }) => !state.list || gallery.lists[state.list] === list);
    byId("measured").replaceChildren(...told.map(({ list, photos: number, miou }) =>
      element("p", {}, [`mIoU of all ${number} photos of ${list}: `, ...kinds.flatMap((title, kind) => {
        const value = miou[kind][state.levels[kind]];
        const shown = value === null ? "-" : (100 * value).toFixed(1);
        return [`${title} `, element("strong", { textContent: shown }), " "];
      })])));
  }

  /** Cut the maps that the slider moves at other thresholds: one level for all, or each its own. */
  function setLevels(levelOf) {
    for (const kind of moved()) {
      state.levels[kind] = Math.min(Math.max(levelOf(kind), 0), thresholds.length - 1);
    }
    tell();
    redraw();
    // Cards that change places under a moving slider could not be compared.
    clearTimeout(resort);
    if (state.order) resort = setTimeout(arrange, 400);
  }

  const step = (by) => setLevels((kind) => state.levels[kind] + by);
  const reset = () => setLevels((kind) => gallery.starts[kind]);

  function setShow(show, input) {
    state.show = show;
    // Not scrollIntoView, which would move the page too.
    const strip = byId("show"), label = input.parentElement;
    strip.scrollLeft = label.offsetLeft + (label.offsetWidth - strip.clientWidth) / 2;
    byId("cards").dataset.show = show === "all" ? "all" : "one";
    for (const card of cards) {
      for (const { box, place } of card.tiles) {
        box.hidden = show !== "all" && place !== undefined && place !== Number(show);
      }
    }
    if (state.order) arrange();
    tell();
    redraw();
  }

  function pick(name, value) {
    const input = [...document.getElementsByName(name)].find((one) => one.value === String(value));
    input.checked = true;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function go(by) {
    const shown = [...byId("cards").children];
    const here = shown.indexOf(document.activeElement.closest("#cards > li"));
    const first = shown.findIndex((item) => item.getBoundingClientRect().bottom > barHeight());
    const next = shown[here < 0 ? first : here + by];
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "start" });
  }

  /** Height of what stays at the top: of the bar alone where the window is small (style.css). */
  function barHeight() {
    return byId("controls").offsetHeight || byId("bar").offsetHeight;
  }

  function onKey(event) {
    if (!byId("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("select, textarea, input:not([type=range], [type=radio], [type=checkbox])")) return;
    const choices = ["all", ...shows].map(String);
    const theme = byId("theme");
    const actions = {
      ",": () => step(-1),
      ".": () => step(1),
      r: reset,
      m: () => pick("show", choices[(choices.indexOf(state.show) + 1) % choices.length]),
      j: () => go(1), k: () => go(-1),
      c: () => byId("class").focus(), s: () => byId("order").focus(), t: () => byId("threshold").focus(),
      d: () => {
        const dark = theme.value ? theme.value === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
        theme.value = dark ? "light" : "dark";
        theme.dispatchEvent(new Event("change"));
      },
    };
    ["scores", "overlay", "mask"].forEach((view, at) => {
      actions[at + 1] = () => pick("view", view);
    });
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  function fillChoices() {
    const option = (value, textContent) => element("option", { value, textContent });
    const tags = gallery.classes.map((name, tag) =>
      [name, tag, photos.filter((photo) => photo.tags.includes(tag)).length]);
    byId("class").append(option("", `all (${photos.length})`), ...tags
      .filter(([, , number]) => number).map(([name, tag, number]) => option(tag, `${name} (${number})`)));
    byId("list").append(option("", "all"), ...gallery.lists.map((name, place) => option(place, name)));
    byId("of").hidden = gallery.lists.length < 2;
    for (const show of ["all", ...shows]) {
      const title = show === "all" ? "side by side" : titles[show];
      const input = element("input", { type: "radio", name: "show", value: show, checked: show === "all" });
      byId("show").append(element("label", {}, [input, element("span", { textContent: title })]));
    }
  }

  /** Measure all photos, one at a time so that the page stays at hand. */
  async function measureAll() {
    for (const { photo } of cards) {
      if (!photo.ious) measure(photo, await decode(photo));
      await new Promise((resolve) => setTimeout(resolve));
    }
    byId("cards").dataset.measured = "all";
    if (state.order) arrange();
  }

  fillChoices();
  cards.forEach(build);
  byId("threshold").addEventListener("input", (event) => setLevels(() => Number(event.target.value)));
  byId("reset").addEventListener("click", reset);
  byId("view").addEventListener("change", (event) => { state.view = event.target.value; redraw(); });
  byId("show").addEventListener("change", (event) => setShow(event.target.value, event.target));
  for (const [id, key] of [["class", "tag"], ["list", "list"], ["order", "order"]]) {
    byId(id).addEventListener("change", (event) => {
      state[key] = event.target.value;
      arrange();
      tell();
      // From amid the old choice, to the start of the new one.
      if (byId("cards").getBoundingClientRect().top < 0) byId("cards").scrollIntoView();
    });
  }
  document.addEventListener("keydown", onKey);
  const resized = () => byId("cards").style.setProperty("--bar", `${barHeight()}px`);
  new ResizeObserver(resized).observe(byId("bar"));
  new ResizeObserver(resized).observe(byId("controls"));
  // Narrow windows show one kind at a time: the one that becomes seeds.
  if (matchMedia("(max-width: 40rem)").matches) pick("show", gallery.seed + 1);
  arrange();
  tell();
  measureAll();
}

startTheme();
if (byId("data")) startGallery(JSON.parse(byId("data").textContent));
