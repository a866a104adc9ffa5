"use strict";
// One EventSource brings all figures once a second. Pictures are fetched one at a time for each tile in view, while the
// page is in view: an <img> a camera that streams for ever would use up the browser's six connections.

const KEPT = 600; // samples of the lines
const MOST_EVENTS = 200;
const RETRY_MS = 3000;
const QUIET_MS = 8000; // without a message for so long, the server is taken to be away
const $ = (id) => document.getElementById(id);

let origins = [];
let lines = { at: [], cpu: [], cnn: [], cameras: {} };
let stream = null;
let heardAt = 0;
let events = [];
let shownEvents = null;
const tiles = new Map();

// ---- connection

function connect() {
  if (stream) stream.close();
  stream = new EventSource("events");
  stream.addEventListener("hello", (message) => hear(hello, message));
  stream.addEventListener("state", (message) => hear(state, message));
  stream.addEventListener("error", () => {
    away();
    // The browser comes back by itself after a broken connection, not after an answer that is no stream.
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  });
}

function hear(handle, message) {
  heardAt = Date.now();
  handle(JSON.parse(message.data));
}

function away() {
  set($("link"), "Connection lost. Trying again …");
  set($("spoken"), "Connection lost. Trying again.");
  $("link").className = "bad";
  for (const tile of tiles.values()) tile.node.classList.add("stale");
}

setInterval(() => {
  if (heardAt && Date.now() - heardAt > QUIET_MS) away();
}, 2000);

// ---- messages

function hello(data) {
  origins = data.origins;
  lines = data.history;
  $("version").textContent = `everyframe ${data.version}`;
  $("legend").replaceChildren(...origins.map(legendItem));
}

function state(data) {
  const { machine, cameras } = data;
  remember(data);
  $("link").textContent = `Updated ${clock(data.at)}`;
  $("link").className = "";
  if ($("spoken").textContent) set($("spoken"), "Connected again."); // read out, unlike the time of each second
  health(machine, cameras);
  const text = `CPU ${machine.cpu.toFixed(2)} of ${machine.cpus} cores, CNN ${machine.cnn.toFixed(2)}, ` +
    `${megabytes(machine.memory)}`;
  $("load-text").textContent = text;
  $("load").setAttribute("aria-label", `Over the last ten minutes. Now ${text}`);
  draw($("load"), [[lines.cpu, "--cpu"], [lines.cnn, "--cnn"]], machine.cpus);
  const names = new Set(cameras.map((camera) => camera.name));
  for (const [name, tile] of tiles) if (!names.has(name)) removeTile(name, tile);
  for (const camera of cameras) showCamera(camera);
  order(cameras);
  filterChoices(cameras);
  const known = new Set(data.fresh ? events.map(key) : []);
  const added = data.events.filter((event) => !known.has(key(event)));
  if (added.length) events = events.concat(added).slice(-MOST_EVENTS);
  showEvents(added.length > 0);
  document.title = title(cameras);
}

function title(cameras) {
  const bad = cameras.filter((camera) => camera.state !== "live").length;
  return bad ? `(${bad} away) everyframe` : "everyframe";
}

function remember(data) {
  lines.at.push(data.at);
  lines.cpu.push(data.machine.cpu);
  lines.cnn.push(data.machine.cnn);
  const length = lines.at.length;
  const now = {};
  for (const camera of data.cameras) {
    const line = lines.cameras[camera.name] || [];
    while (line.length < length - 1) line.unshift(null);
    line.push(camera.cpu);
    now[camera.name] = line;
  }
  lines.cameras = now;
  for (const line of [lines.at, lines.cpu, lines.cnn, ...Object.values(now)]) {
    line.splice(0, Math.max(0, line.length - KEPT));
  }
}

function health(machine, cameras) {
  const live = cameras.filter((camera) => camera.state === "live").length;
  const level = Math.max(0, ...cameras.map((camera) => camera.level));
  const items = [
    [`${live} of ${cameras.length} cameras live`, live === cameras.length ? "good" : live ? "fair" : "bad"],
    [machine.ready ? "detector ready" : "detector loading", machine.ready ? "good" : "fair"],
    [machine.redis || "labels published", machine.redis ? "bad" : "good"],
    [level ? `overload, level ${level}` : "no overload", level ? (level > 2 ? "bad" : "fair") : "good"],
  ];
  if (machine.restarts) items.push([`${machine.restarts} restarts`, "fair"]);
  sync($("health"), items, (item, [text, kind]) => {
    set(item, text);
    item.className = kind;
  });
}

// ---- tiles

function showCamera(camera) {
  const tile = tiles.get(camera.name) || addTile(camera.name);
  const node = tile.node;
  tile.camera = camera;
  const badge = node.querySelector(".state");
  set(badge, camera.state);
  badge.className = `state ${{ live: "good", failed: "bad" }[camera.state] || "fair"}`;
  node.classList.toggle("stale", camera.state !== "live");
  set(node.querySelector(".message"), camera.message);
  const values = {
    fps: camera.fps.toFixed(1),
    f1: camera.f1 ? `${two(camera.f1.f1)} (${two(camera.f1.low)}–${two(camera.f1.high)})` : "–",
    level: camera.level_name || String(camera.level),
    tracks: String(camera.tracks),
    p99: camera.p99 === null ? "–" : `${Math.round(camera.p99)} ms`,
    lag: `${camera.lag.toFixed(1)} s`,
    spool: String(camera.spool),
    dropped: String(camera.dropped),
  };
  for (const [name, text] of Object.entries(values)) set(node.querySelector(`[data-of=${name}]`), text);
  const cpu = camera.cpu === null ? "CPU –" : `CPU ${camera.cpu.toFixed(2)} cores`;
  const price = camera.price === null ? "" : `, price of error ${camera.price.toPrecision(2)}`;
  set(node.querySelector(".cpu-text"), camera.policy ? `${cpu}, policy ${camera.policy}${price}` : cpu);
  const line = node.querySelector(".cpu");
  line.setAttribute("aria-label", `${cpu} over the last ten minutes`);
  draw(line, [[lines.cameras[camera.name], "--cpu"]], 0.1);
  strip(node.querySelector(".strip"), camera.rungs);
  const picture = node.querySelector("img");
  const [width, height] = camera.size;
  if (width && height) node.querySelector(".picture").style.aspectRatio = `${width} / ${height}`;
  picture.alt = `Latest picture of ${camera.name}, ${camera.tracks} objects`;
  if (tile.inView) look(tile);
}

function addTile(name) {
  const node = $("tile").content.firstElementChild.cloneNode(true);
  const tile = { name, node, camera: null, inView: false, isLooking: false, timer: 0 };
  node.dataset.camera = name;
  const head = node.querySelector("h2");
  head.textContent = name;
  const button = node.querySelector(".picture");
  button.setAttribute("aria-label", `Enlarge ${name}`);
  button.addEventListener("click", () => enlarge(name));
  tiles.set(name, tile);
  $("cameras").append(node);
  viewer.observe(node);
  return tile;
}

function removeTile(name, tile) {
  viewer.unobserve(tile.node);
  clearTimeout(tile.timer);
  tile.inView = false;
  tile.node.remove();
  tiles.delete(name);
}

function order(cameras) {
  cameras.forEach((camera, i) => {
    const node = tiles.get(camera.name).node;
    const there = $("cameras").children[i];
    if (there !== node) $("cameras").insertBefore(node, there || null);
  });
}

const viewer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const tile = tiles.get(entry.target.dataset.camera);
    if (!tile) continue;
    tile.inView = entry.isIntersecting;
    if (tile.inView) look(tile);
  }
});

// The next picture is asked for when the last has come and its time is over.
function look(tile) {
  if (tile.isLooking || !tile.inView || document.hidden || !tile.camera || tile.camera.state !== "live") return;
  tile.isLooking = true;
  const began = Date.now();
  const next = new Image();
  const done = () => {
    const pause = Math.max(0, (tiles.size > 4 ? 1000 : 500) - (Date.now() - began));
    tile.timer = setTimeout(() => {
      tile.isLooking = false;
      look(tile);
    }, pause);
  };
  next.onload = () => {
    tile.node.querySelector("img").src = next.src;
    tile.node.querySelector(".none").hidden = true;
    done();
  };
  next.onerror = done;
  next.src = `camera/${encodeURIComponent(tile.name)}.jpg?at=${began}`;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stopLarge();
    return;
  }
  for (const tile of tiles.values()) if (tile.inView) look(tile);
  if ($("large").open) startLarge();
});

function enlarge(name) {
  $("large").dataset.camera = name;
  $("large-head").textContent = name;
  $("large-picture").alt = `Pictures of ${name} as they come`;
  $("large").showModal();
  startLarge();
}

function startLarge() {
  $("large-picture").src = `camera/${encodeURIComponent($("large").dataset.camera)}.mjpg`;
}

function stopLarge() {
  $("large-picture").removeAttribute("src"); // ends the stream
}

$("large").addEventListener("close", stopLarge);

// ---- drawing

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Lines over one time axis. most: the height of the picture, at least, in the lines' unit.
function draw(canvas, series, most) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  const top = Math.max(most, ...series.flatMap(([line]) => (line || []).map((v) => v || 0)));
  pen.clearRect(0, 0, width, height);
  for (const [line, name] of series) {
    if (!line || !line.length) continue;
    pen.strokeStyle = colour(name);
    pen.lineWidth = 1.5;
    pen.beginPath();
    let isDown = false;
    line.forEach((value, i) => {
      if (value === null) {
        isDown = false;
        return;
      }
      const x = width - ((line.length - 1 - i) * width) / (KEPT - 1);
      const y = height - 1 - (value / top) * (height - 3);
      if (isDown) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      isDown = true;
    });
    pen.stroke();
  }
}

// One column a frame, oldest at the left, in the colour of how its labels came to be.
function strip(canvas, rungs) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const counts = new Map();
  const first = canvas.width - rungs.length;
  for (let i = 0; i < rungs.length; i++) {
    const origin = origins[Number(rungs[i])];
    if (!origin) continue;
    counts.set(origin.name, (counts.get(origin.name) || 0) + 1);
    pen.fillStyle = origin.colour;
    pen.fillRect(first + i, 0, 1, canvas.height);
  }
  const told = [...counts].map(([name, n]) => `${n} ${name}`).join(", ");
  canvas.setAttribute("aria-label", `Last ${rungs.length} frames: ${told || "none"}`);
  canvas.title = told;
}

function legendItem(origin) {
  const item = document.createElement("li");
  const canvas = document.createElement("canvas");
  canvas.width = 72;
  canvas.height = 28;
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d");
  pen.strokeStyle = origin.colour;
  pen.lineWidth = 4;
  pen.setLineDash(origin.dashes.map((length) => length * 2));
  pen.strokeRect(6, 6, 60, 16);
  item.append(canvas, origin.name);
  return item;
}

// ---- events

function filterChoices(cameras) {
  const select = $("filter");
  const names = cameras.map((camera) => camera.name);
  const there = [...select.options].slice(1).map((option) => option.value);
  if (names.join("\n") === there.join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(new Option("all", ""), ...names.map((name) => new Option(name, name)));
  select.value = names.includes(chosen) ? chosen : "";
}

$("filter").addEventListener("change", () => showEvents(true));

function showEvents(hasNew) {
  if (!hasNew && shownEvents !== null) return;
  shownEvents = events.filter((event) => !$("filter").value || event.camera === $("filter").value);
  $("no-events").hidden = shownEvents.length > 0;
  $("events").replaceChildren(...shownEvents.slice().reverse().map(eventItem));
}

function key(event) {
  return [event.at, event.camera, event.kind, event.track, event.place].join("|");
}

function eventItem(event) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = new Date(event.at * 1000).toISOString();
  time.textContent = clock(event.at);
  item.append(time, sentence(event));
  return item;
}

function sentence(event) {
  const who = `${event.camera}: ${event.label} ${event.track}`;
  const stay = event.dwell ? ` after ${Math.round(event.dwell)} s` : "";
  switch (event.kind) {
    case "new": return `${who} is new`;
    case "gone": return `${who} is gone${stay}`;
    case "entered": return `${who} entered ${event.place}`;
    case "left": return `${who} left ${event.place}${stay}`;
    case "in": case "out": return `${who} crossed ${event.place}, ${event.kind}`;
    default: return `${who} is still there${event.place ? `, in ${event.place}` : ""}`;
  }
}

// ---- small things

function sync(list, items, fill) {
  while (list.children.length > items.length) list.lastElementChild.remove();
  while (list.children.length < items.length) list.append(document.createElement("li"));
  items.forEach((item, i) => fill(list.children[i], item));
}

// Only what changed is written: screen readers and selections stay where they are.
function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function two(value) {
  return value.toFixed(2);
}

function megabytes(bytes) {
  return `${Math.round(bytes / 1e6)} MB`;
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString();
}

connect();
