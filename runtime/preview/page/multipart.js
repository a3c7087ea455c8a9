// One reader of multipart/x-mixed-replace: header lines, an empty line, Content-Length bytes, CRLF.

export async function* parts(stream) {
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

export async function decode(blobs) {
  const pictures = Object.entries(blobs).map(async ([view, blob]) => [view, await createImageBitmap(blob)]);
  return Object.fromEntries(await Promise.all(pictures));
}

// Whole frames: the views of one camera as JPEG and as bitmaps, and what is seen in exactly these pictures.
export async function* moments(stream) {
  const waiting = new Map();
  for await (const { head, data } of parts(stream)) {
    const camera = Number(head["x-camera"]);
    const blobs = waiting.get(camera) || {};
    waiting.set(camera, blobs);
    blobs[head["x-view"]] = new Blob([data], { type: "image/jpeg" });
    if (head["x-final"] !== "1") continue;
    waiting.delete(camera);
    const range = (head["x-range"] || "0,0").split(",").map(Number);
    const bytes = Object.values(blobs).reduce((sum, blob) => sum + blob.size, 0);
    yield { camera, blobs, bytes, images: await decode(blobs), range, number: Number(head["x-number"]),
      seen: JSON.parse(head["x-seen"] || "{}") };
  }
}
