// The page's main script: two connections (pictures and numbers), which reconnect by themselves, and the controls.
// Addresses are relative, so that the page works behind a proxy's prefix; nothing is requested from another server.
import { Charts } from "./charts.js";
import { moments } from "./multipart.js";
import { Panel } from "./panel.js";
import { MODES, show } from "./pictures.js";
import { Timeline } from "./timeline.js";
import { NO_CONNECTION, bytes, metres, seconds, words } from "./words.js";

const $ = (id) => document.getElementById(id);
const STALL_MS = 6000;
const PROBE_MS = 500;
const body = document.body;
const count = Number(body.dataset.cameras) || 1;
const OURS = { "Content-Type": "application/json", "X-Requested-With": "mutualformer" };

const view = { mode: "overlay", opacity: 0.6, paused: false, hold: "", chosen: 0, connected: true, seeking: false };
const panels = Array.from({ length: count }, (_, index) => new Panel(index, count));
const newest = panels.map(() => ({ state: "opening" })); // the newest numbers of each camera
const drops = panels.map(() => []); // times and counts of the last seconds
$("stage").append(...panels.map((panel) => panel.figure));
const charts = new Charts();

const timeline = new Timeline(present);

const chosen = () => panels[view.chosen];
// Files are paused where they are read; a camera goes on, and the page keeps its picture.
const isFile = () => newest[view.chosen].live === false;

function post(path, message) {
  return fetch(path, { method: "POST", headers: OURS, body: JSON.stringify(message) });
}

// Pictures.

// A picture that has just come, unless somebody looks at the time line and it is no new one.
function arrive(moment, stay = false) {
  const kept = timeline.keep(moment, stay);
  if (timeline.past && (stay || !kept)) for (const image of Object.values(moment.images)) image.close();
  else present(moment);
  place();
}

// The time line of a file that can seek is the whole file; else it is what came, and is there while nothing moves.
function place() {
  const last = timeline.moments.length - 1, now = truth(view.chosen), whole = seekable();
  const { rate } = newest[view.chosen];
  const moment = timeline.moments[timeline.place], position = moment?.seen.position ?? 0;
  $("timeline").hidden = last < (whole ? 0 : 1) || !(whole || view.paused || (isFile() && !now.moving));
  $("rate").hidden = typeof rate !== "number" || now.over && !whole;
  if (!$("rate").hidden && document.activeElement !== $("rate")) speed(rate);
  if (!view.seeking) { $("time").max = whole ? 1000 : last; $("time").value = whole ? 1000 * position : timeline.place; }
  $("moment").textContent = !moment ? "" : whole ? `${Math.round(100 * position)} %` : `frame ${moment.number}`;
  $("back").disabled = timeline.place < 1;
  $("forward").disabled = !timeline.past && (!isFile() || now.over);
  for (const panel of panels) {
    panel.past = timeline.past;
    if (panel.past && panel.probe) panel.probe.text = "–";
  }
}

const seekable = () => newest[view.chosen].seekable === true;

// A speed in the address that is not among the choices is added to them.
function speed(rate) {
  const list = $("rate");
  if (![...list.options].some((one) => Number(one.value) === rate)) list.add(new Option(`${rate} ×`, rate));
  list.value = [...list.options].find((one) => Number(one.value) === rate).value;
}

// Recordings go on as they did, paused or not, after ``wish``: a position or a rate.
function play(wish, frames = 0) {
  const { paused } = newest[view.chosen];
  post("play", paused ? { frames, ...wish } : wish).catch(() => {});
}

function slide(value) {
  if (!seekable()) { go(value); return; }
  view.seeking = true;
  play({ position: value / 1000 }, 1);
}

function go(to) {
  if (to > timeline.place && !timeline.past) { // beyond the newest picture: a recording plays one more
    if (isFile() && newest[view.chosen].paused) post("play", { frames: 1 }).catch(() => {});
    return;
  }
  timeline.go(to);
  place();
}

function step(by) {
  if (!$("timeline").hidden) go(timeline.place + by);
}

function present(moment) {
  const panel = panels[moment.camera];
  panel.take(moment, view.mode, view.opacity);
  if (panel === chosen()) tiles();
}

function tiles() {
  const panel = chosen();
  if (!panel.rgb) return;
  show($("rgb"), panel.rgb);
  if (panel.second) show($("second"), panel.second);
  $("second").closest("figure").hidden = !panel.second; // a source of colour alone has no second picture
  const { images, range: [near, far] } = panel.moment;
  const infrared = Boolean(images.nir);
  $("second-name").textContent = infrared ? "Near infrared" : "Depth";
  $("second").setAttribute("aria-label", $("second-name").textContent);
  $("scale").hidden = !(far > 0);
  if (far > 0) {
    // Colours follow 1 / distance, as in the reports.
    $("scale-near").textContent = metres(near);
    $("scale-middle").textContent = metres(2 / (1 / near + 1 / far));
    $("scale-far").textContent = metres(far);
    $("scale-bar").setAttribute("aria-label", `Colours of depth: warm is ${metres(near)}, cold is ${metres(far)}, black was not measured`);
  }
}

async function palette() {
  const response = await fetch("palette.json");
  if (!response.ok) return;
  const colours = (await response.json()).reverse();
  const context = $("scale-bar").getContext("2d"), line = context.createImageData(256, 1);
  colours.forEach(([r, g, b], i) => line.data.set([r, g, b, 255], 4 * i));
  context.putImageData(line, 0, 0);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let connection = null;

async function watch() {
  for (let wait = 250; ; wait = Math.min(wait * 2, 4000)) {
    while (view.paused) await sleep(100);
    connection = new AbortController();
    const { signal } = connection;
    let timer = setTimeout(() => connection.abort(), STALL_MS);
    try {
      const response = await fetch("frames", { signal, cache: "no-store" });
      if (response.status === 401) { location.reload(); return; } // the form that asks for the token
      if (!response.ok) { busy = response.status === 503 ? await response.text() : ""; throw new Error(busy); }
      busy = "";
      for await (const moment of moments(response.body)) {
        clearTimeout(timer);
        timer = setTimeout(() => connection.abort(), STALL_MS);
        if (view.paused || signal.aborted) break;
        arrive(moment);
        body.dataset.frames = String(Number(body.dataset.frames) + 1);
        link("live");
        wait = 250;
      }
    } catch (error) {
      // Broken or silent: try again below.
    }
    clearTimeout(timer);
    if (!view.paused) link("reconnecting");
    await sleep(wait);
  }
}

let busy = "";

function link(state) {
  body.dataset.link = state;
  status();
}

// Numbers.

function badge(text, kind) {
  const element = $("state");
  if (element.textContent !== text) element.textContent = text; // screen readers speak each change
  element.className = ("badge " + kind).trim();
}

// What is true of a camera now: its own state, unless nothing is heard of it any more.
function truth(index) {
  const said = words(newest[index]);
  return view.connected || said.over ? said : NO_CONNECTION;
}

function status() {
  panels.forEach((panel, index) => { if (!view.paused) panel.state(truth(index)); });
  const now = truth(view.chosen);
  if (!view.paused) $("tiles").classList.toggle("old", !now.live && chosen().rgb !== null);
  if (view.paused) badge(now.live ? "paused" : `paused; meanwhile ${now.text}`, now.live ? "" : "bad");
  else if (now.moving && body.dataset.link === "reconnecting")
    badge(busy.trim() || "no picture, reconnecting", "bad");
  else if (now.kind === "good" && body.dataset.link !== "live") badge("connecting", "");
  else badge(now.text, now.kind);
  const file = isFile();
  $("pause").hidden = Boolean(file && now.over);
  const paused = file ? Boolean(newest[view.chosen].paused) : view.paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Resume" : "Pause";
  place();
  document.title = `${$("state").textContent} · MutualFormer live`;
}

function facts(news) {
  const rows = {
    Model: news.model,
    Frames: `${news.processed} of ${news.captured}`,
    Dropped: String(news.dropped),
    "Colour − depth": `${(news.skew_ms ?? 0).toFixed(1)} ms`,
    "Camera waited": `${news.latency_ms.wait.p50.toFixed(1)} ms`,
    Reconnects: String(news.reconnects),
  };
  const recorder = news.sinks.recorder;
  if (recorder && recorder.free_bytes) rows["Free disk"] = bytes(recorder.free_bytes);
  if (recorder && recorder.path) rows.Recording = `${recorder.path} (${bytes(recorder.bytes)})`;
  $("facts").replaceChildren(...Object.entries(rows).map(([name, value]) => {
    const box = document.createElement("div"), term = document.createElement("dt"), data = document.createElement("dd");
    term.textContent = name; data.textContent = value;
    box.append(term, data);
    return box;
  }));
}

// The recorder goes on while the page is paused, and so does the line about it.
function tape(news) {
  const recorder = (news.sinks || {}).recorder;
  const over = words(news).over; // nothing records any more, whatever the switch says
  $("recordings").hidden = !recorder;
  $("record").hidden = !recorder || over;
  if (!recorder) return;
  $("record").setAttribute("aria-pressed", String(recorder.recording));
  $("record").textContent = recorder.recording ? "Stop recording" : "Record";
  $("tape").hidden = !recorder.recording || over;
  const free = recorder.free_bytes ? ` · ${bytes(recorder.free_bytes)} free` : "";
  $("tape").textContent = `Recording ${seconds(recorder.elapsed_s || 0)} · ${bytes(recorder.bytes)}${free}`;
}

function notice(text) {
  if ($("notice").textContent !== text) $("notice").textContent = text;
  $("notice").hidden = !text;
}

// Over the last two seconds by the stream's own clock: messages that were held up on their way make no spikes.
function dropRate(news) {
  const list = drops[news.camera];
  if (list.length && news.clock < list[list.length - 1].clock) list.length = 0; // another stream
  list.push({ clock: news.clock, dropped: news.dropped });
  while (list.length > 2 && news.clock - list[1].clock >= 2) list.shift();
  const span = news.clock - list[0].clock;
  return span > 0 ? Math.max(0, (news.dropped - list[0].dropped) / Math.max(span, 1)) : 0;
}

function measured(news) {
  const total = news.latency_ms.total, model = news.latency_ms.infer, rate = dropRate(news);
  return { latency: [total.p95, total.p50, model.p50], fps: [news.fps], drops: [rate] };
}

function figures(values) {
  $("now-latency").textContent = values ? `${values.latency[1].toFixed(1)} / ${values.latency[0].toFixed(1)} ms` : "–";
  $("now-fps").textContent = values ? values.fps[0].toFixed(1) : "–";
  $("now-drops").textContent = values ? values.drops[0].toFixed(1) : "–";
}

function numbers(news) {
  const index = news.camera || 0;
  view.connected = true;
  newest[index] = news;
  if (count > 1) panels[index].title.textContent = news.source || `Camera ${index + 1}`;
  status();
  const mine = index === view.chosen;
  if (mine) tape(news);
  const values = words(news).moving && news.latency_ms ? measured(news) : null;
  if (!values) drops[index].length = 0;
  if (!view.paused) { // a paused page shows the numbers of its picture
    charts.push(index, values);
    if (mine) about(news, values);
  }
  body.dataset.events = String(Number(body.dataset.events) + 1);
}

function about(news, values) {
  figures(values);
  $("source").textContent = news.source || "";
  const sinks = Object.values(news.sinks || {});
  const problems = [words(news).text.includes(news.error) ? "" : news.error, ...(news.warnings || []), ...sinks.flatMap((sink) => [sink.error, sink.problem])];
  notice(problems.filter(Boolean).join(" · "));
  if (news.latency_ms) facts(news);
}

// Controls.

function repaint() { for (const panel of panels) panel.paint(view.mode, view.opacity); }

function choose(index) {
  view.chosen = index;
  panels.forEach((panel, k) => {
    panel.figure.classList.toggle("chosen", count > 1 && k === index);
    if (count > 1) panel.title.setAttribute("aria-pressed", String(k === index));
  });
  charts.choose(index);
  tiles();
  const news = newest[index];
  if (news.sinks) { tape(news); if (!view.paused) about(news, null); }
  status();
}

async function pause() {
  if (isFile()) {
    if (!truth(view.chosen).over) post("play", newest[view.chosen].paused ? {} : { frames: 0 }).catch(() => {});
    return;
  }
  view.paused = !view.paused;
  if (connection) connection.abort(); // a paused page costs the camera's machine nothing
  status();
  if (view.paused) await hold();
  else release();
}

// The server keeps the moment that the paused page shows: numbers, distances and the snapshot are of it.
async function hold() {
  try {
    const response = await post("hold", {});
    if (!response.ok) return;
    const name = response.headers.get("X-Hold");
    // Whoever has gone back already stays there: the held moment is then the next to the right.
    for await (const moment of moments(response.body)) if (view.paused) arrive(moment, timeline.past);
    if (!view.paused) { post("release", { hold: name }).catch(() => {}); return; }
    view.hold = body.dataset.hold = name;
    for (const panel of panels) { panel.hold = name; panel.measure(); }
  } catch (error) {
    // No connection: the picture stays, and a snapshot will report that it is not available.
  }
}

function release() {
  if (view.hold) post("release", { hold: view.hold }).catch(() => {});
  view.hold = body.dataset.hold = "";
  for (const panel of panels) panel.hold = "";
}

async function snapshot() {
  if (timeline.past) { notice("Snapshots are of the newest picture: move the time line to its end."); return; }
  if (view.paused && !view.hold) { notice("The server no longer has this picture: the stream was gone when it paused."); return; }
  const query = new URLSearchParams({ camera: view.chosen, ...(view.hold ? { hold: view.hold } : {}) });
  try {
    const response = await fetch("snapshot.zip?" + query, { cache: "no-store" });
    if (!response.ok) { notice("Snapshot: " + (await response.text()).trim()); return; }
    const name = (response.headers.get("Content-Disposition") || "").match(/filename="([\w.-]+)"/);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = name ? name[1] : "mutualformer.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    notice("Snapshot: no connection to the stream");
  }
}

async function record() {
  const on = $("record").getAttribute("aria-pressed") !== "true";
  try {
    const response = await post("record", { on });
    if (!response.ok) notice("Record: " + (await response.text()).trim());
  } catch (error) {
    notice("Record: no connection to the stream");
  }
}

async function recordings() {
  if (!$("recordings").open) return;
  const line = (...parts) => { const item = document.createElement("li"); item.append(...parts); return item; };
  const list = $("recordings").querySelector("ul");
  try {
    const { files, free_bytes: free } = await (await fetch("recordings", { cache: "no-store" })).json();
    list.replaceChildren(...files.map(({ name, bytes: size }) => {
      const link = document.createElement("a"), whole = name.slice(0, name.lastIndexOf("/"));
      link.href = "recordings/" + name.split("/").map(encodeURIComponent).join("/");
      link.download = ""; link.textContent = count > 1 ? `camera ${name.replace("/", ": ")}` : name.replace(/^\d+\//, "");
      if (!name.endsWith("part-0000.mcap")) return line(link, ` ${bytes(size)}`);
      const button = document.createElement("button");
      button.type = "button"; button.textContent = "Delete"; button.setAttribute("aria-label", `Delete ${whole}`);
      button.addEventListener("click", () => erase(whole));
      return line(link, ` ${bytes(size)} `, button);
    }));
    if (!files.length) list.replaceChildren(line("none yet"));
    list.append(line(`${bytes(free)} free`));
  } catch (error) {
    list.replaceChildren(line("no connection to the stream"));
  }
}

async function erase(name) {
  if (!confirm(`Delete the recording ${name.replace(/^\d+\//, "")}? This cannot be undone.`)) return;
  try {
    const response = await post("erase", { name });
    if (!response.ok) notice("Delete: " + (await response.text()).trim());
  } catch (error) {
    notice("Delete: no connection to the stream");
  }
  recordings();
}

function fullScreen() {
  const figure = chosen().figure;
  if (document.fullscreenElement) document.exitFullscreen();
  else if (figure.classList.contains("filled")) figure.classList.remove("filled");
  else if (figure.requestFullscreen) figure.requestFullscreen().catch(() => figure.classList.add("filled"));
  else figure.classList.add("filled"); // phones that give full screen to videos only
}

function look(mode) {
  view.mode = mode;
  document.querySelector(`#modes input[value="${mode}"]`).checked = true;
  repaint();
}

function boxes(on) {
  $("boxes").checked = on;
  for (const panel of panels) { panel.boxes = on; panel.draw(); }
}

function clear() {
  for (const panel of panels) { panel.mark(null); panel.figure.classList.remove("filled"); }
}

$("opacity").addEventListener("input", (event) => {
  view.opacity = event.target.value / 100;
  $("percent").textContent = event.target.value + " %";
  repaint();
});
$("modes").addEventListener("change", (event) => look(event.target.value));
$("boxes").addEventListener("change", (event) => boxes(event.target.checked));
$("pause").addEventListener("click", pause);
$("record").addEventListener("click", record);
$("snapshot").addEventListener("click", (event) => { event.preventDefault(); snapshot(); });
$("full").addEventListener("click", fullScreen);
$("recordings").addEventListener("toggle", recordings);
$("time").addEventListener("input", (event) => slide(Number(event.target.value)));
$("time").addEventListener("change", () => { view.seeking = false; });
$("rate").addEventListener("change", (event) => play({ rate: Number(event.target.value) }));
$("back").addEventListener("click", () => step(-1));
$("forward").addEventListener("click", () => step(1));
panels.forEach((panel, index) => { if (count > 1) panel.title.addEventListener("click", () => choose(index)); });

const KEYS = {
  p: pause, r: () => !$("record").hidden && record(), s: snapshot, f: fullScreen, b: () => boxes(!$("boxes").checked),
  d: () => chosen().mark({ x: 0.5, y: 0.5 }), c: () => choose((view.chosen + 1) % count), escape: clear,
  arrowleft: () => step(-1), arrowright: () => step(1),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (key.startsWith("arrow") && event.target.matches?.("input")) return; // sliders and choices have their own
  if (key in KEYS) KEYS[key]();
  else if (key >= "1" && key <= String(MODES.length)) look(MODES[Number(key) - 1]);
});

setInterval(() => { if (!view.paused) for (const panel of panels) if (panel.probe && panel.live) panel.measure(); }, PROBE_MS);

function listen() {
  const events = new EventSource("events");
  events.onmessage = (event) => numbers(JSON.parse(event.data));
  events.onerror = () => {
    view.connected = false;
    if (!view.paused) figures(null);
    status();
    // A refusal (too many clients, no session) is final for the browser; after a broken connection it reconnects itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}

choose(0);
palette().catch(() => {});
listen();
watch();
