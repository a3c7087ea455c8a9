// States in words that fit a phone. ``live``: what is seen in the picture is true: it is what the camera sees now, or
// the place where a recording was paused or has ended. ``moving``: pictures come, so rates and latencies are true too.

const VEILS = [
  ["reconnecting", "Camera lost. Trying to bring it back; this is the last picture."],
  ["lost", "Camera lost. This is the last picture."],
  ["late", "Waiting for the camera; this is the last picture."],
  ["frozen", "The camera repeats one picture."],
  ["stopped", "Ended: the stream was stopped. This is the last picture."],
];

export function words(news) {
  const state = news.state || "";
  const veil = (VEILS.find(([start]) => state.startsWith(start)) || ["", ""])[1];
  if (state === "finished") return { text: "ended: the recording is over", kind: "", live: true, over: true, veil };
  if (news.paused) return { text: "paused", kind: "", live: true, veil: "" };
  if (state === "running") return { text: "running", kind: "good", live: true, moving: true, veil };
  if (state.startsWith("no depth")) return { text: "running, no depth", kind: "", live: true, moving: true, veil };
  if (state === "opening") return { text: "opening the camera", kind: "", live: false, veil };
  if (state === "stopped") return { text: "ended: the stream was stopped", kind: "bad", live: false, over: true, veil };
  if (state === "lost") {
    const why = news.error ? ": " + news.error : "";
    return { text: "camera lost" + why, kind: "bad", live: false, over: true, veil };
  }
  return { text: state, kind: "bad", live: !veil, moving: !veil, veil };
}

export const NO_CONNECTION = { text: "no connection, retrying", kind: "bad", live: false,
  veil: "No connection to the stream. This is the last picture." };

export function metres(value) {
  return `${value.toFixed(2)} m`;
}

export function seconds(value) {
  const whole = Math.floor(value), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const two = (number) => String(number).padStart(2, "0");
  return (hours ? `${hours}:${two(minutes)}` : String(minutes)) + ":" + two(whole % 60);
}

export function bytes(value) {
  const units = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6]];
  const [name, size] = units.find(([, least]) => value >= least) || ["kB", 1e3];
  return `${(value / size).toFixed(value / size < 10 ? 1 : 0)} ${name}`;
}

// What the camera shows, for people.
export function sight(seen) {
  if (seen.match) return `${seen.match} (${(seen.similarity ?? 0).toFixed(2)})`;
  const count = (seen.objects || []).length;
  if (!count) return "";
  if (!seen.nearest_object_m) return count > 1 ? `${count} objects, no depth there` : "object, no depth there";
  const near = metres(seen.nearest_object_m);
  return count > 1 ? `${count} objects, the nearest at ${near}` : `object at ${near}`;
}
