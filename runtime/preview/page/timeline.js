// The pictures of the last while, kept in the browser, so that a paused page can go back and forth among them.
import { decode } from "./multipart.js";

const MOST_BYTES = 40e6; // of JPEG; what is kept must fit into a phone

export class Timeline {
  // ``show``: called with each moment to be shown.
  constructor(show) {
    this.show = show;
    this.moments = []; // of all cameras, in the order they came
    this.bytes = 0;
    this.place = 0;
    this.busy = false;
  }

  get past() { return this.place < this.moments.length - 1; }

  // False where the camera's newest moment is this one already: a new connection sends it again.
  // ``stay``: whoever looks at an older moment goes on doing so.
  keep(moment, stay) {
    const last = this.moments.findLast((one) => one.camera === moment.camera);
    if (last && last.number === moment.number) return false;
    this.moments.push(moment);
    this.bytes += moment.bytes;
    while (this.bytes > MOST_BYTES && this.moments.length > 1) {
      this.bytes -= this.moments.shift().bytes;
      this.place = Math.max(0, this.place - 1);
    }
    if (!stay) this.place = this.moments.length - 1;
    return true;
  }

  // Show what each camera showed at a place; a slider that is dragged asks faster than pictures are decoded.
  async go(place) {
    this.place = Math.max(0, Math.min(place, this.moments.length - 1));
    if (this.busy) return;
    this.busy = true;
    try {
      for (let shown = -1; shown !== this.place;) {
        shown = this.place;
        const cameras = new Map(this.moments.slice(0, shown + 1).map((moment) => [moment.camera, moment]));
        for (const moment of cameras.values()) this.show({ ...moment, images: await decode(moment.blobs) });
      }
    } finally {
      this.busy = false; // also where a browser short of memory cannot decode: the next step tries again
    }
  }
}
