// The page's panel: channels, planes, progress, facts and links; and the line of state over the picture.
"use strict";

const make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

// --- state and progress -------------------------------------------------------------------------

function say(text, bad) {
  if (text) $("status").textContent = text;
  $("status").classList.toggle("shown", Boolean(text));
  $("status").classList.toggle("bad", bad);
}

let asked = 0, polling = false, stale = false;

// How much of what the stage shows is there; the server says how much of the image it has restored.
function progress(wanted, missing, trouble) {
  const done = wanted ? (wanted - missing) / wanted : 1;
  $("bar").style.width = `${100 * done}%`;
  $("bar").classList.toggle("busy", missing > 0);
  say(trouble || (missing ? `restoring: ${wanted - missing} of ${wanted} pictures are there` : ""), Boolean(trouble));
  if (missing) stale = true;
  if (missing || Date.now() - asked > 15000) poll();
}

async function poll() {
  if (polling || !info) return;
  polling = true;
  stale = running > 0; // pictures that come while the server answers are not in its answer: it is asked once more
  asked = Date.now();
  try {
    const answer = await fetch("metrics");
    if (answer.ok) figures((await answer.json()).images);
  } catch { /* the picture's own requests say that the server does not answer */ }
  setTimeout(() => { polling = false; if (stale) poll(); }, 800);
}

function figures(images) {
  const found = info && images[info.image || info.zarr];
  if (!found) return;
  const share = found.chunks ? (100 * found.restored) / found.chunks : 0;
  const percent = share === 0 || share >= 1 ? Math.floor(share) : share.toPrecision(1);
  $("restored").style.width = `${Math.max(share, found.restored ? 0.7 : 0)}%`;
  $("restored-text").textContent = `${found.restored.toLocaleString("en")} of ${found.chunks.toLocaleString("en")} chunks (${percent} %)`;
  const per = found.tiles ? `${(found.tile_seconds / found.tiles).toPrecision(2)} s a tile` : "no tile restored yet";
  const waits = found.waiting ? `, ${found.waiting} cells wait` : "";
  $("speed").textContent = per + waits;
  $("cache").textContent = found.cache ? found.cache.problem || `kept in ${found.cache.output}` : "kept in memory: --cache FOLDER keeps it";
  $("cache").title = $("cache").textContent;
}

// --- channels and planes ------------------------------------------------------------------------

const whole = () => !info.dtype.startsWith("float");
const shown = (value) => (whole() ? String(Math.round(value)) : value.toPrecision(3));

// A name, a dot that shows or hides it, and one bar with two handles: black and full.
function channel(one) {
  const spare = info.dtype === "uint8" ? 0 : 0.15 * (one.high - one.low);
  const floor = info.dtype.startsWith("uint") ? 0 : -Infinity;
  const bottom = Math.max(one.low - spare, floor), span = one.high + spare - bottom || 1;
  const value = (place) => Number((bottom + (span * place) / 1000).toPrecision(6));
  const place = (number) => Math.round((1000 * (number - bottom)) / span);
  const handle = (key) => make("input", {
    type: "range", min: 0, max: 1000, value: place(one[key]), className: key, id: `${key}-${one.number}`,
    ariaLabel: `${one.label}: value that is ${key === "low" ? "black" : "full"}`,
  });
  const low = handle("low"), high = handle("high"), limits = make("output"), fill = make("i");
  const dot = make("button", { className: "dot", title: "show or hide", ariaPressed: String(one.active), id: `dot-${one.number}` });
  const row = make("div", { className: "channel" }, make("div", { className: "name" }, dot, make("span", { textContent: one.label, title: one.label }), limits), make("div", { className: "range" }, fill, low, high));
  row.style.setProperty("--color", `#${one.color}`);
  const told = () => {
    limits.textContent = `${shown(one.low)} – ${shown(one.high)}`;
    fill.style.left = `${Math.min(low.value, high.value) / 10}%`;
    fill.style.right = `${100 - Math.max(low.value, high.value) / 10}%`;
    row.classList.toggle("off", !one.active);
    dot.ariaPressed = String(one.active);
  };
  low.addEventListener("input", () => {
    low.value = Math.min(low.value, high.value - 1);
    one.low = value(Number(low.value));
    told();
    draw();
  });
  high.addEventListener("input", () => {
    high.value = Math.max(high.value, Number(low.value) + 1);
    one.high = value(Number(high.value));
    told();
    draw();
  });
  dot.addEventListener("click", () => {
    one.active = !one.active;
    told();
    draw();
  });
  told();
  return row;
}

function slider({ axis, size }) {
  const input = make("input", { type: "range", min: 0, max: size - 1, value: 0, id: `plane-${axis}` });
  const output = make("output");
  const told = () => { output.textContent = `${Number(input.value) + 1} / ${size}`; };
  input.addEventListener("input", () => {
    view.planes[axis] = Number(input.value);
    told();
    draw();
  });
  view.planes[axis] = 0;
  told();
  return make("label", {}, axis.toLowerCase(), input, output);
}

// --- facts and links ----------------------------------------------------------------------------

function facts() {
  const size = (level) => `${level.width.toLocaleString("en")} × ${level.height.toLocaleString("en")}`;
  const exact = info.levels.filter((level) => level.exact).length;
  const rows = {
    model: `${info.model} (×${info.scale})`,
    size: `${size(info.levels[0])} px`,
    axes: `${info.axes}, ${info.dtype}`,
    levels: exact === info.levels.length ? `${exact}, as a run writes them` : `${info.levels.length}; from ${exact} on restored from a smaller source`,
    engine: `${info.engine}, ${info.device}`,
    identity: info.fingerprint.slice(0, 12),
  };
  $("facts").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
  $("plan").textContent = info.plan;
}

function link({ name, state, source, text, note }) {
  const zarr = new URL(info.zarr.split("/").map(encodeURIComponent).join("/"), document.baseURI).href;
  const here = (words) => words.replaceAll("{zarr}", zarr);
  let href = null;
  if (state) href = `https://neuroglancer-demo.appspot.com/#!${encodeURIComponent(here(JSON.stringify(state)))}`;
  if (source) href = source + encodeURIComponent(zarr);
  const copied = text === undefined ? zarr : here(text);
  const title = href ? make("a", { textContent: name, href, target: "_blank", rel: "noopener" }) : make("span", { textContent: name });
  const row = make("div", {}, make("div", {}, title, make("small", { textContent: note || copied.split("\n").at(-1), title: note || copied })));
  if (!copied) return row;
  const button = make("button", { textContent: "copy", ariaLabel: `copy for ${name}` });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(copied);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1200);
  });
  row.append(button);
  return row;
}

async function open(image) {
  const mine = ++generation;
  for (const tile of tiles.values()) { tile.controller.abort(); tile.picture?.close(); }
  tiles.clear();
  info = complete = null;
  say("opening the image: its intensity range may need a look at all pixels", false);
  const answer = await fetch(image === null ? "info.json" : `info.json?${new URLSearchParams({ image })}`);
  const found = await answer.json();
  if (mine !== generation) return;
  if (!answer.ok) { say(found.error, true); return; }
  info = found;
  view.planes = {};
  view.channels = info.channels;
  $("title").textContent = info.title;
  $("subtitle").textContent = info.image || `${info.source.format}, restored on request`;
  document.title = `${info.title} – swin2sr-ops`;
  $("images").hidden = info.images.length < 2;
  if (!$("image").options.length)
    $("image").append(...info.images.map((name) => new Option(name, name, false, name === info.image)));
  $("planes").hidden = !info.sliders.length;
  $("planes").replaceChildren($("planes").firstElementChild, ...info.sliders.map(slider));
  $("channels").firstElementChild.textContent = info.channels.length > 1 ? "Channels" : "Brightness";
  $("channels").lastElementChild.replaceChildren(...view.channels.map(channel));
  facts();
  $("links").replaceChildren(...info.links.map(link));
  poll();
  fit();
}

$("image").addEventListener("change", () => open($("image").value));
open(null).catch(() => say("The server does not answer.", true));
