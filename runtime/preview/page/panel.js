// One camera on the page: its picture in the chosen mode, box, distances, and what to say when it is not live.
import { compose, maskFrom } from "./pictures.js";
import { metres, sight } from "./words.js";

const NEAR_PIXELS = 14;

export class Panel {
  constructor(index, count) {
    this.index = index;
    this.figure = document.getElementById("camera").content.firstElementChild.cloneNode(true);
    const suffix = index ? "-" + index : "";
    this.picture = this.part(".picture"); this.picture.id = "overlay" + suffix;
    this.marks = this.part(".marks"); this.marks.id = "marks" + suffix;
    this.veil = this.part(".veil"); this.veil.id = "veil" + suffix;
    this.seenLine = this.part(".seen"); this.seenLine.id = "seen" + suffix;
    this.title = this.part(".title");
    if (count > 1) { // a camera among several is chosen by its title
      const button = document.createElement("button");
      button.type = "button"; button.className = "title"; button.textContent = this.title.textContent;
      this.title.replaceWith(button);
      this.title = button;
    }
    this.title.id = "title" + suffix;
    this.many = count > 1;
    this.rgb = this.second = this.mask = this.moment = this.probe = null;
    this.halves = 1;
    this.live = true;
    this.past = false; // on the time line, before the newest picture
    this.boxes = true;
    this.part(".frame").addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.draw()).observe(this.marks);
  }

  part(selector) { return this.figure.querySelector(selector); }

  // A new moment: bitmaps are closed when they are replaced, or phones run out of memory.
  take(moment, mode, opacity) {
    for (const old of [this.rgb, this.second]) if (old) old.close();
    const { images } = moment;
    this.moment = moment;
    this.rgb = images.rgb;
    this.second = images.depth || images.nir || null;
    this.mask = images.saliency ? maskFrom(images.saliency) : null;
    if (images.saliency) images.saliency.close();
    if (!this.many) this.title.textContent = this.mask ? "Saliency" : "Camera";
    this.paint(mode, opacity);
    this.tell();
  }

  paint(mode, opacity) {
    if (!this.rgb) return;
    this.halves = compose(this.picture, this.rgb, this.mask, mode, opacity);
    this.part(".frame").style.setProperty("--ratio", String(this.picture.width / this.picture.height));
    this.draw();
  }

  // The state of the camera: an old picture is dimmed, says why, and loses its numbers.
  state(words) {
    if (this.live === words.live && this.veil.textContent === (words.veil || "")) return;
    this.live = words.live;
    this.veil.textContent = words.veil || "";
    this.veil.hidden = !words.veil || !this.rgb;
    this.figure.classList.toggle("old", !words.live && this.rgb !== null);
    if (!words.live && this.probe) this.probe.text = "–";
    this.tell();
    this.draw();
  }

  tell() {
    this.seenLine.textContent = this.live && this.moment ? sight(this.moment.seen) : "";
    const what = this.live ? this.seenLine.textContent || "nothing salient" : this.veil.textContent;
    this.picture.setAttribute("aria-label", `Camera picture ${this.index + 1}: ${what}`);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.marks.clientWidth, height = this.marks.clientHeight;
    if (this.probe && this.probe.text !== "…") this.marks.dataset.distance = this.probe.text;
    else delete this.marks.dataset.distance;
    if (!width) return;
    this.marks.width = Math.round(width * ratio); this.marks.height = Math.round(height * ratio);
    const context = this.marks.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "600 14px system-ui, sans-serif";
    const seen = this.live && this.moment ? this.moment.seen : {};
    for (let half = 0; half < this.halves; half++) {
      const left = (half * width) / this.halves, wide = width / this.halves;
      for (const one of this.boxes && seen.objects || []) {
        const [x0, y0, x1, y1] = one.box;
        context.strokeStyle = "#00ffaa"; context.lineWidth = 2;
        context.strokeRect(left + x0 * wide + 1, y0 * height + 1, (x1 - x0) * wide - 2, (y1 - y0) * height - 2);
        if (one.distance_m) this.label(context, metres(one.distance_m), left + x0 * wide, y0 * height - 4, left + wide);
      }
      if (this.probe) this.cross(context, left + this.probe.x * wide, this.probe.y * height, left + wide);
    }
  }

  label(context, text, x, y, right) {
    const wide = context.measureText(text).width + 10;
    const left = Math.max(0, Math.min(x, right - wide)), top = Math.max(0, y - 20);
    context.fillStyle = "rgb(0 0 0 / 75%)"; context.fillRect(left, top, wide, 20);
    context.fillStyle = "#fff"; context.fillText(text, left + 5, top + 15);
  }

  cross(context, x, y, right) {
    context.strokeStyle = "#fff"; context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x - 8, y); context.lineTo(x + 8, y); context.moveTo(x, y - 8); context.lineTo(x, y + 8);
    context.stroke();
    this.label(context, this.probe.text, x + 10, y - 6, right);
  }

  click(event) {
    const box = this.marks.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.halves, y = (event.clientY - box.top) / box.height;
    const spot = { x: Math.min(x % 1, 1), y: Math.min(Math.max(y, 0), 1) };
    const close = this.probe && Math.hypot((this.probe.x - spot.x) * box.width / this.halves,
      (this.probe.y - spot.y) * box.height) < NEAR_PIXELS;
    this.mark(close ? null : spot);
  }

  // Put the cross somewhere (fractions of the picture), or remove it with null.
  mark(spot) {
    this.probe = spot && { ...spot, text: "…" };
    this.draw();
    if (this.probe) this.measure();
  }

  // Ask for the distance at the cross; ``hold`` names the paused moment. Old pictures have no distance.
  async measure(hold = this.hold) {
    const probe = this.probe;
    if (!probe) return;
    let text = "–";
    if ((this.live || hold) && !this.past) {
      const query = new URLSearchParams({ x: probe.x, y: probe.y, camera: this.index, ...(hold ? { hold } : {}) });
      try {
        const response = await fetch("depth?" + query, { cache: "no-store" });
        const value = response.ok ? (await response.json()).distance_m : undefined;
        text = value === undefined ? "–" : value === null ? "no depth here" : metres(value);
      } catch (error) { /* no connection: the page says so itself */ }
    }
    if (this.probe === probe) { probe.text = (this.live || hold) && !this.past ? text : "–"; this.draw(); }
  }
}
