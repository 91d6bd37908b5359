// The page's viewer: the restored image beside its source, in one canvas, from PNG tiles of the server.
"use strict";

const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), context = canvas.getContext("2d");
const MOST_TILES = 300; // pictures that are kept
const AT_ONCE = 6; // requests on their way, as many as a browser allows to one server

let info = null; // what info.json says
const view = { x: 0, y: 0, zoom: 1, swipe: 0.5, planes: {}, channels: [] };
const tiles = new Map(); // address -> {picture, state, controller}
let running = 0, drawing = false, trouble = "", generation = 0;
let complete = null; // planes and channels of the last picture that was there as a whole
let breath = 0; // the timer of the next picture while tiles are restored

// --- tiles ------------------------------------------------------------------------------------

function address(which, level, row, column, look = view) {
  const shown = look.channels.filter((one) => one.active).map((one) => `${one.number}:${one.low}:${one.high}:${one.color}`);
  const query = new URLSearchParams({ image: info.image, show: shown.join(), ...look.planes });
  return `view/${which}/${level}/${row}/${column}.png?${query}`;
}

function bestLevel() {
  const wanted = Math.floor(Math.log2(1 / (view.zoom * devicePixelRatio)) + 0.25);
  return Math.max(0, Math.min(info.levels.length - 1, wanted));
}

// Tiles of a level that the stage shows; those in its middle first.
function visible(level) {
  const { width, height } = canvas, step = info.tile * 2 ** level;
  const [left, top] = toImage(0, 0), [right, bottom] = toImage(width, height), size = info.levels[level];
  const columns = Math.ceil(size.width / info.tile), rows = Math.ceil(size.height / info.tile), found = [];
  for (let row = Math.max(0, Math.floor(top / step)); row < Math.min(rows, Math.ceil(bottom / step)); row++)
    for (let column = Math.max(0, Math.floor(left / step)); column < Math.min(columns, Math.ceil(right / step)); column++)
      found.push([row, column]);
  const [x, y] = toImage(width / 2, height / 2);
  const far = ([row, column]) => Math.hypot((row + 0.5) * step - y, (column + 0.5) * step - x);
  return found.sort((a, b) => far(a) - far(b));
}

function wantedTiles() {
  const level = bestLevel(), last = info.levels.length - 1, split = view.swipe * canvas.width, found = [];
  for (const at of level === last ? [level] : [last, level])
    for (const [row, column] of visible(at))
      for (const which of ["source", "result"]) {
        const [x0] = toScreen(column * info.tile * 2 ** at, 0), [x1] = toScreen((column + 1) * info.tile * 2 ** at, 0);
        if (which === "source" ? x0 < split : x1 > split) found.push(address(which, at, row, column));
      }
  return found;
}

function schedule() {
  if (!info) return;
  const wanted = wantedTiles(), names = new Set(wanted);
  for (const [name, tile] of tiles)
    if (tile.state === "loading" && !names.has(name)) { // given up: the server drops it from its queue
      tile.controller.abort();
      tiles.delete(name);
    }
  for (const name of wanted) {
    if (running >= AT_ONCE) break;
    if (!tiles.has(name)) load(name);
  }
  for (const name of tiles.keys()) {
    if (tiles.size <= MOST_TILES) break;
    if (tiles.get(name).state === "there" && !names.has(name)) { tiles.get(name).picture.close(); tiles.delete(name); }
  }
  const missing = wanted.filter((name) => tiles.get(name)?.state !== "there").length;
  if (!missing) complete = { channels: view.channels.map((one) => ({ ...one })), planes: { ...view.planes } };
  progress(wanted.length, missing, trouble);
}

async function load(name) {
  const tile = { state: "loading", controller: new AbortController(), picture: null };
  tiles.set(name, tile);
  running += 1;
  try {
    const answer = await fetch(name, { signal: tile.controller.signal });
    if (answer.status === 503) {
      const seconds = Number(answer.headers.get("Retry-After") || 2);
      setTimeout(() => { tiles.delete(name); schedule(); }, 1000 * seconds);
      tile.state = "later";
    } else if (!answer.ok) {
      trouble = (await answer.json()).error || `The server answered ${answer.status}.`;
      tile.state = "failed";
      setTimeout(() => { tiles.delete(name); trouble = ""; schedule(); }, 5000);
    } else {
      tile.picture = await createImageBitmap(await answer.blob());
      tile.state = "there";
      trouble = "";
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      trouble = "The server does not answer.";
      setTimeout(() => { if (tiles.get(name) === tile) tiles.delete(name); schedule(); }, 3000);
    } else if (tiles.get(name) === tile) tiles.delete(name);
  } finally {
    running -= 1;
  }
  draw();
}

// --- drawing ----------------------------------------------------------------------------------

const toScreen = (x, y) => [(x - view.x) * view.zoom * devicePixelRatio + canvas.width / 2, (y - view.y) * view.zoom * devicePixelRatio + canvas.height / 2];
const toImage = (x, y) => [(x - canvas.width / 2) / (view.zoom * devicePixelRatio) + view.x, (y - canvas.height / 2) / (view.zoom * devicePixelRatio) + view.y];

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; paint(); schedule(); });
}

function paint() {
  if (!info) return;
  const { width, height } = canvas, split = Math.round(view.swipe * width);
  context.fillStyle = "#070b0e";
  context.fillRect(0, 0, width, height);
  for (const look of isShown() ? [view] : [complete, view]) { // what was shown stays until the new tiles are there
    side("source", 0, split, look);
    side("result", split, width, look);
  }
  clearTimeout(breath);
  if (outlines(split)) breath = setTimeout(draw, 150); // they breathe
  $("swipe").style.left = `${view.swipe * 100}%`;
  $("swipe").setAttribute("aria-valuenow", Math.round(view.swipe * 100));
  $("badge-source").style.opacity = view.swipe > 0.08 ? 1 : 0;
  $("badge-result").style.opacity = view.swipe < 0.92 ? 1 : 0;
  scalebar();
}

// Nothing else was shown before: planes and channels are those of the last whole picture.
function isShown() {
  const look = ({ channels, planes }) => JSON.stringify([channels, planes]);
  return !complete || look(complete) === look(view);
}

function side(which, from, to, look) {
  if (to <= from) return;
  context.save();
  context.beginPath();
  context.rect(from, 0, to - from, canvas.height);
  context.clip();
  const best = bestLevel();
  for (let level = info.levels.length - 1; level >= best; level--) {
    context.imageSmoothingEnabled = view.zoom * devicePixelRatio * 2 ** level < 1;
    for (const [row, column] of visible(level)) {
      const tile = tiles.get(address(which, level, row, column, look));
      if (tile?.state !== "there") continue;
      const step = info.tile * 2 ** level, [x, y] = toScreen(column * step, row * step);
      const size = 2 ** level * view.zoom * devicePixelRatio;
      const right = Math.round(x + tile.picture.width * size), bottom = Math.round(y + tile.picture.height * size);
      context.drawImage(tile.picture, Math.round(x), Math.round(y), right - Math.round(x), bottom - Math.round(y));
    }
  }
  context.restore();
}

// Frames around the tiles that the server is restoring.
function outlines(split) {
  const level = bestLevel(), step = info.tile * 2 ** level, size = info.levels[level];
  let count = 0;
  context.lineWidth = devicePixelRatio;
  context.strokeStyle = `rgba(111, 224, 200, ${0.25 + 0.2 * Math.sin(performance.now() / 300)})`;
  for (const [row, column] of visible(level)) {
    if (tiles.get(address("result", level, row, column))?.state !== "loading") continue;
    const scale = 2 ** level, [x0, y0] = toScreen(column * step, row * step);
    const [x1, y1] = toScreen(Math.min((column + 1) * step, size.width * scale), Math.min((row + 1) * step, size.height * scale));
    if (x1 <= split) continue;
    context.strokeRect(Math.max(x0, split) + 1.5, y0 + 1.5, x1 - Math.max(x0, split) - 3, y1 - y0 - 3);
    count += 1;
  }
  return count;
}

function scalebar() {
  const known = info.pixel_size && info.unit, pixel = known ? info.pixel_size : 1, unit = known ? info.unit : "px";
  const target = (110 / view.zoom) * pixel, power = 10 ** Math.floor(Math.log10(target));
  const nice = [5, 2, 1].find((n) => n * power <= target) * power;
  const short = { micrometer: "µm", nanometer: "nm", millimeter: "mm", meter: "m", kilometer: "km" }[unit] || unit;
  $("scalebar").firstElementChild.style.width = `${(nice / pixel) * view.zoom}px`;
  $("scalebar").lastElementChild.textContent = `${Number(nice.toPrecision(2))} ${short}`;
}

// --- moving -----------------------------------------------------------------------------------

function resize() {
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
  draw();
}

function fit() {
  const { width, height } = info.levels[0];
  view.x = width / 2;
  view.y = height / 2;
  view.zoom = Math.min(canvas.clientWidth / width, canvas.clientHeight / height) * 0.96;
  draw();
}

function zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const before = toImage(x * devicePixelRatio, y * devicePixelRatio), { width, height } = info.levels[0];
  const least = Math.min(canvas.clientWidth / width, canvas.clientHeight / height, 1) / 2;
  view.zoom = Math.min(Math.max(view.zoom * factor, least), 32);
  const after = toImage(x * devicePixelRatio, y * devicePixelRatio);
  view.x += before[0] - after[0];
  view.y += before[1] - after[1];
  draw();
}

const actions = {
  in: () => zoomBy(1.5),
  out: () => zoomBy(1 / 1.5),
  one: () => zoomBy(1 / view.zoom / devicePixelRatio),
  fit,
};

const pointers = new Map();
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event);
  canvas.classList.add("dragging");
});
canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before || !info) return;
  if (pointers.size === 2) {
    const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId);
    const apart = (p) => Math.hypot(p.offsetX - other.offsetX, p.offsetY - other.offsetY) || 1;
    zoomBy(apart(event) / apart(before), other.offsetX, other.offsetY);
  } else {
    view.x -= (event.offsetX - before.offsetX) / view.zoom;
    view.y -= (event.offsetY - before.offsetY) / view.zoom;
  }
  pointers.set(event.pointerId, event);
  draw();
});
for (const kind of ["pointerup", "pointercancel"])
  canvas.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    if (!pointers.size) canvas.classList.remove("dragging");
  });
$("stage").addEventListener("wheel", (event) => { // also over the swipe's handle
  event.preventDefault();
  const stage = canvas.getBoundingClientRect(), factor = 2 ** (-event.deltaY / (event.deltaMode ? 8 : 300));
  if (info) zoomBy(factor, event.clientX - stage.left, event.clientY - stage.top);
}, { passive: false });
canvas.addEventListener("dblclick", (event) => info && zoomBy(2, event.offsetX, event.offsetY));

const swipe = $("swipe");
swipe.addEventListener("pointerdown", (event) => { swipe.setPointerCapture(event.pointerId); swipe.focus(); });
swipe.addEventListener("pointermove", (event) => {
  if (!swipe.hasPointerCapture(event.pointerId)) return;
  const stage = canvas.getBoundingClientRect();
  view.swipe = Math.min(1, Math.max(0, (event.clientX - stage.left) / stage.width));
  draw();
});
swipe.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
  if (step === undefined) return;
  view.swipe = Math.min(1, Math.max(0, view.swipe + step));
  event.preventDefault();
  event.stopPropagation();
  draw();
});
document.addEventListener("keydown", (event) => {
  if (!info || event.target.matches("input, select")) return;
  const pan = 60 / view.zoom;
  const keys = {
    "+": actions.in, "=": actions.in, "-": actions.out, 0: fit, 1: actions.one,
    ArrowLeft: () => { view.x -= pan; draw(); }, ArrowRight: () => { view.x += pan; draw(); },
    ArrowUp: () => { view.y -= pan; draw(); }, ArrowDown: () => { view.y += pan; draw(); },
  };
  if (keys[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
});
for (const button of document.querySelectorAll("[data-do]"))
  button.addEventListener("click", () => info && actions[button.dataset.do]());
new ResizeObserver(resize).observe(canvas);
