// The page's one script: reads the multipart stream, blends the saliency map, draws charts. No libraries, no requests
// to anywhere else. Pictures and numbers come over two connections, each of which mends itself.
"use strict";

const $ = (id) => document.getElementById(id);
const COLOURS = ["#ff8a5b", "#4cc9f0", "#9ad97b"];
const TINT = [255, 70, 40];
const STALL_MS = 6000;
const HISTORY = 240; // a minute of metrics

const view = { rgb: null, second: null, mask: null, opacity: 0.6, paused: false };
const body = document.body;

// Pictures.

function show(canvas, image) {
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  canvas.getContext("2d").drawImage(image, 0, 0);
}

// Grey levels become the opacity of one colour, so that the slider only scales it.
function maskFrom(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height);
  const data = pixels.data;
  for (let i = 0; i < data.length; i += 4) {
    data[i + 3] = data[i];
    data[i] = TINT[0]; data[i + 1] = TINT[1]; data[i + 2] = TINT[2];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function blend() {
  if (!view.rgb) return;
  const canvas = $("overlay");
  show(canvas, view.rgb);
  if (!view.mask) return;
  const context = canvas.getContext("2d");
  context.globalAlpha = view.opacity;
  context.drawImage(view.mask, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
}

function present(images) {
  for (const old of [view.rgb, view.second]) if (old) old.close();
  view.rgb = images.rgb;
  view.second = images.depth || images.nir || null;
  view.mask = images.saliency ? maskFrom(images.saliency) : null;
  if (images.saliency) images.saliency.close();
  show($("rgb"), view.rgb);
  if (view.second) show($("second"), view.second);
  $("second-name").textContent = images.nir ? "Near infrared" : "Depth (near is warm)";
  $("title").textContent = view.mask ? "Saliency" : "Camera";
  blend();
  body.dataset.frames = String(Number(body.dataset.frames) + 1);
}

// One reader of multipart/x-mixed-replace: header lines, an empty line, Content-Length bytes, CRLF.
async function* parts(stream) {
  const reader = stream.getReader();
  const text = new TextDecoder("latin1");
  let buffer = new Uint8Array(0);
  const need = async (enough) => {
    while (!enough()) {
      const { value, done } = await reader.read();
      if (done) return false;
      const joined = new Uint8Array(buffer.length + value.length);
      joined.set(buffer); joined.set(value, buffer.length);
      buffer = joined;
    }
    return true;
  };
  const headEnd = () => {
    for (let i = 0; i + 3 < buffer.length; i++)
      if (buffer[i] === 13 && buffer[i + 1] === 10 && buffer[i + 2] === 13 && buffer[i + 3] === 10) return i;
    return -1;
  };
  while (await need(() => headEnd() >= 0)) {
    const end = headEnd();
    const head = {};
    for (const line of text.decode(buffer.subarray(0, end)).split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) head[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    const size = Number(head["content-length"]);
    if (!(await need(() => buffer.length >= end + 4 + size + 2))) return;
    yield { head, data: buffer.slice(end + 4, end + 4 + size) };
    buffer = buffer.slice(end + 4 + size + 2);
  }
}

let connection = null;

async function watch() {
  for (let wait = 250; ; wait = Math.min(wait * 2, 4000)) {
    while (view.paused) await new Promise((resolve) => setTimeout(resolve, 100));
    connection = new AbortController();
    let timer = setTimeout(() => connection.abort(), STALL_MS);
    try {
      const response = await fetch("/frames", { signal: connection.signal, cache: "no-store" });
      if (response.status === 401) { link("unauthorised"); return; }
      if (!response.ok) throw new Error(await response.text());
      let images = {};
      for await (const part of parts(response.body)) {
        clearTimeout(timer);
        timer = setTimeout(() => connection.abort(), STALL_MS);
        images[part.head["x-view"]] = await createImageBitmap(new Blob([part.data], { type: "image/jpeg" }));
        if (part.head["x-final"] === "1") {
          if (!view.paused) present(images);
          images = {};
          link("live");
          wait = 250;
        }
      }
    } catch (error) {
      // Broken or silent: try again below.
    }
    clearTimeout(timer);
    if (!view.paused) link("reconnecting");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function link(state) {
  body.dataset.link = state;
  // While numbers arrive, what the camera itself says explains a missing picture better.
  const explained = told.state !== "running" && performance.now() - told.at < 2000;
  if (state !== "live" && !explained) badge(state === "reconnecting" ? "no picture, reconnecting" : state, "bad");
}

// Numbers.

const series = { latency: [[], [], []], fps: [[]], drops: [[]] };
let before = null;
const told = { state: "running", at: -Infinity };

function push(list, value) {
  list.push(value);
  if (list.length > HISTORY) list.shift();
}

function chart(name) {
  const canvas = $("chart-" + name);
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round((canvas.clientWidth * 140 * ratio) / 480);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const lists = series[name];
  const top = niceTop(Math.max(1, ...lists.flat()));
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.lineWidth = ratio;
  for (let step = 0; step <= 2; step++) {
    const y = Math.round((height - 8 * ratio) * (1 - step / 2)) + 4 * ratio;
    context.strokeStyle = "#2a3240";
    context.beginPath(); context.moveTo(0, y); context.lineTo(width, y); context.stroke();
    context.fillStyle = "#8b98a9";
    if (step) context.fillText(String((top * step) / 2), 4 * ratio, y + 11 * ratio);
  }
  lists.forEach((list, index) => {
    context.strokeStyle = COLOURS[index];
    context.lineWidth = 1.8 * ratio;
    context.beginPath();
    list.forEach((value, i) => {
      const x = width - ((list.length - 1 - i) * width) / (HISTORY - 1);
      const y = (height - 8 * ratio) * (1 - value / top) + 4 * ratio;
      if (i) context.lineTo(x, y); else context.moveTo(x, y);
    });
    context.stroke();
  });
}

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((m) => m * power).find((m) => m >= value);
}

function badge(text, kind) {
  const element = $("state");
  element.textContent = text;
  element.className = "badge " + kind;
  element.title = text;
}

function facts(told) {
  const rows = {
    Model: told.model,
    Frames: `${told.processed} of ${told.captured}`,
    Dropped: String(told.dropped),
    "Colour − depth": `${told.skew_ms.toFixed(1)} ms`,
    "Camera waited": `${told.latency_ms.wait.p50.toFixed(1)} ms`,
    Reconnects: String(told.reconnects),
  };
  const recorder = told.sinks.recorder;
  if (recorder && recorder.path) rows.Recording = `${recorder.path} (${(recorder.bytes / 1e6).toFixed(0)} MB)`;
  $("facts").replaceChildren(...Object.entries(rows).map(([name, value]) => {
    const box = document.createElement("div"), term = document.createElement("dt"), data = document.createElement("dd");
    term.textContent = name; data.textContent = value;
    box.append(term, data);
    return box;
  }));
}

function numbers(news) {
  const total = news.latency_ms.total, model = news.latency_ms.infer, now = performance.now();
  push(series.latency[0], total.p95); push(series.latency[1], total.p50); push(series.latency[2], model.p50);
  push(series.fps[0], news.fps);
  const drops = before ? Math.max(0, ((news.dropped - before.dropped) * 1000) / (now - before.now)) : 0;
  push(series.drops[0], drops);
  before = { dropped: news.dropped, now };
  $("now-latency").textContent = `${total.p50.toFixed(1)} / ${total.p95.toFixed(1)} ms`;
  $("now-fps").textContent = news.fps.toFixed(1);
  $("now-drops").textContent = drops.toFixed(1);
  ["latency", "fps", "drops"].forEach(chart);
  $("source").textContent = news.source;
  told.state = news.state;
  told.at = performance.now();
  if (view.paused) badge("paused", "");
  else if (news.state !== "running") badge(news.state, "bad");
  else if (body.dataset.link === "live") badge("running", "good");
  const seen = news.seen || {};
  $("seen").textContent = seen.match ? `${seen.match} (${seen.similarity.toFixed(2)})`
    : seen.distance_m ? `object at ${seen.distance_m.toFixed(2)} m` : "";
  const recorder = news.sinks.recorder;
  $("record").hidden = !recorder;
  if (recorder) {
    $("record").setAttribute("aria-pressed", String(recorder.recording));
    $("record").textContent = recorder.recording ? "Stop recording" : "Record";
  }
  const problems = [news.error, ...news.warnings, ...Object.values(news.sinks).flatMap((s) => [s.error, s.problem])];
  const text = problems.filter(Boolean).join(" · ");
  $("notice").textContent = text;
  $("notice").hidden = !text;
  facts(news);
  body.dataset.events = String(Number(body.dataset.events) + 1);
}

// Controls.

$("opacity").addEventListener("input", (event) => {
  view.opacity = event.target.value / 100;
  $("percent").textContent = event.target.value + " %";
  blend();
});
$("pause").addEventListener("click", () => {
  view.paused = !view.paused;
  $("pause").setAttribute("aria-pressed", String(view.paused));
  $("pause").textContent = view.paused ? "Resume" : "Pause";
  if (view.paused && connection) connection.abort(); // a paused page costs the camera's machine nothing
  badge(view.paused ? "paused" : "connecting", "");
});
$("record").addEventListener("click", async () => {
  const on = $("record").getAttribute("aria-pressed") !== "true";
  const response = await fetch("/record", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Requested-With": "mutualformer" },
    body: JSON.stringify({ on }),
  });
  $("record").setAttribute("aria-pressed", String(response.ok && (await response.json()).recording));
});

const events = new EventSource("/events");
events.onmessage = (event) => numbers(JSON.parse(event.data));
events.onerror = () => badge("no connection, retrying", "bad");
watch();
