// The drop page: the browser sends a photograph (and its depth map), the answer's files come back in one form.
import { metres, sight } from "./words.js";

const $ = (id) => document.getElementById(id);
const LARGEST_MIB = 64; // as LARGEST_UPLOAD in drop_page.py, which refuses by the declared length: sooner is kinder
const FILES = { "cutout.png": "Cut-out", "overlay.jpg": "Overlay", "mask.png": "Mask", "objects.json": "Objects (JSON)" };
const ALT = { "overlay.jpg": "The picture with the objects tinted", "cutout.png": "The objects without their background",
  "mask.png": "The mask: white is object" };
let photo = null, depth = null, request = null;
let urls = {}; // name of a file → its address in this page

function state(name, text) {
  document.body.dataset.state = name;
  $("answer").classList.toggle("busy", name === "busy");
  $("state").textContent = text;
  $("state").className = "badge" + ({ done: " good", failed: " bad" }[name] || "");
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function take(files) {
  const looksLikeDepth = (file) => /depth|disparity|\.(npy|npz|exr|pfm)$/i.test(file.name);
  const two = [...files].slice(0, 2);
  if (two.length === 2) [photo, depth] = looksLikeDepth(two[0]) ? two.reverse() : two;
  else if (two.length) [photo, depth] = [two[0], null]; // the depth map belonged to the picture before
  if (two.length) predict();
}

async function predict() {
  $("depth-name").textContent = depth ? `Depth: ${depth.name}` : "Add its depth map (optional)";
  if (!photo) { notice("Choose the photo that this depth map belongs to."); return; }
  if (request) request.abort();
  request = new AbortController();
  const { signal } = request;
  notice("");
  const body = new Blob(depth ? [photo, depth] : [photo]);
  if (body.size > LARGEST_MIB << 20) { fail(`More than ${LARGEST_MIB} MiB.`); return; }
  state("busy", "looking …");
  try {
    const headers = { "X-Requested-With": "mutualformer" };
    const response = await fetch(`predict?photo=${photo.size}`, { method: "POST", headers, body, signal });
    if (response.status === 401) { location.reload(); return; } // the form that asks for the token
    if (!response.ok) { // the server does not know the files' names
      fail((await response.text()).trim().replace(/^the picture's bytes/, photo.name).replace(/^depth's bytes/, depth?.name));
      return;
    }
    const form = await response.formData();
    await present(form);
    notice(await form.get("notes.txt").text());
    state("done", "done");
  } catch (error) {
    if (!signal.aborted) fail("No connection to the program that serves this page.");
  }
}

function fail(text) {
  $("answer").hidden = true; // what is shown must belong to the picture that was chosen
  state("failed", "no answer");
  notice(text);
}

async function present(form) {
  for (const url of Object.values(urls)) URL.revokeObjectURL(url);
  urls = Object.fromEntries(Object.keys(FILES).map((name) => [name, URL.createObjectURL(form.get(name))]));
  const stem = photo.name.replace(/\.[^.]*$/, "") || "picture";
  $("files").replaceChildren(...Object.entries(FILES).map(([name, label]) => {
    const link = document.createElement("a");
    link.className = "button"; link.href = urls[name]; link.download = `${stem}-${name}`;
    link.textContent = `Save ${label}`;
    return link;
  }));
  const found = JSON.parse(await form.get("objects.json").text());
  const count = found.objects.length;
  $("name").textContent = photo.name;
  $("seen").textContent = depth && count ? sight(found) : count === 1 ? "1 object" : count ? `${count} objects` : "nothing salient";
  $("objects").replaceChildren(...found.objects.filter((one) => one.distance_m).map((one) => {
    const line = document.createElement("li");
    line.textContent = `${metres(one.distance_m)}, its nearest point ${metres(one.nearest_m ?? one.distance_m)}`;
    return line;
  }));
  $("answer").hidden = false;
  view();
}

function view() {
  const name = document.querySelector("#views input:checked").value;
  $("picture").src = urls[name];
  $("picture").alt = ALT[name];
  $("picture").classList.toggle("through", name === "cutout.png");
}

$("photo").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
$("depth").addEventListener("change", (event) => {
  depth = event.target.files[0] || null;
  event.target.value = ""; // so that the same file can be chosen again
  if (depth) predict();
});
$("views").addEventListener("change", view);
for (const [kind, on] of [["dragover", true], ["dragleave", false], ["drop", false]])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", on);
    if (kind === "drop") take(event.dataTransfer.files);
  });
document.addEventListener("paste", (event) => take(event.clipboardData.files));
