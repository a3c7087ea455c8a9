// The five ways to look at a picture and its saliency map. Colours are those of the files that predict writes.

export const MODES = ["overlay", "cutout", "mask", "contour", "side"];
const TINT = [255, 140, 0];
const LINE = [0, 255, 170];
const EMPTY = "#10151c";

export function fit(canvas, width, height) {
  if (canvas.width === width && canvas.height === height) return;
  canvas.width = width;
  canvas.height = height;
}

export function show(canvas, image) {
  fit(canvas, image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
}

// Grey levels become the opacity of one colour, so that the slider only scales it.
export function maskFrom(image) {
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

function overlay(context, rgb, mask, opacity, left) {
  context.drawImage(rgb, left, 0);
  context.globalAlpha = opacity;
  context.drawImage(mask, left, 0, rgb.width, rgb.height);
  context.globalAlpha = 1;
}

// Something drawn by ``draw`` where the mask is, upon one colour.
function through(context, rgb, mask, draw, ground) {
  context.clearRect(0, 0, rgb.width, rgb.height);
  context.drawImage(mask, 0, 0, rgb.width, rgb.height);
  context.globalCompositeOperation = "source-in";
  draw();
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = ground;
  context.fillRect(0, 0, rgb.width, rgb.height);
  context.globalCompositeOperation = "source-over";
}

function contour(context, rgb, mask) {
  const { width, height } = rgb;
  const canvas = new OffscreenCanvas(width, height);
  const scaled = canvas.getContext("2d", { willReadFrequently: true });
  scaled.drawImage(mask, 0, 0, width, height);
  const pixels = scaled.getImageData(0, 0, width, height);
  const data = pixels.data, inside = new Uint8Array(width * height);
  for (let i = 0; i < inside.length; i++) inside[i] = data[4 * i + 3] > 127 ? 1 : 0;
  data.fill(0);
  for (let y = 1; y + 1 < height; y++) {
    for (let i = y * width + 1, end = (y + 1) * width - 1; i < end; i++) {
      const around = inside[i - 1] + inside[i + 1] + inside[i - width] + inside[i + width];
      // Both sides of the edge: a line two pixels wide.
      if (inside[i] ? around === 4 : around === 0) continue;
      data[4 * i] = LINE[0]; data[4 * i + 1] = LINE[1]; data[4 * i + 2] = LINE[2]; data[4 * i + 3] = 255;
    }
  }
  scaled.putImageData(pixels, 0, 0);
  context.drawImage(rgb, 0, 0);
  context.drawImage(canvas, 0, 0);
}

// Draws ``rgb`` and ``mask`` (null without a model) in the chosen way; returns the pictures side by side: 1 or 2.
export function compose(canvas, rgb, mask, mode, opacity) {
  const context = canvas.getContext("2d");
  if (!mask) { show(canvas, rgb); return 1; }
  fit(canvas, mode === "side" ? 2 * rgb.width : rgb.width, rgb.height);
  if (mode === "side") { context.drawImage(rgb, 0, 0); overlay(context, rgb, mask, opacity, rgb.width); return 2; }
  if (mode === "cutout") through(context, rgb, mask, () => context.drawImage(rgb, 0, 0), EMPTY);
  else if (mode === "contour") contour(context, rgb, mask);
  else if (mode === "mask") {
    context.fillStyle = "#fff";
    through(context, rgb, mask, () => context.fillRect(0, 0, rgb.width, rgb.height), "#000");
  } else overlay(context, rgb, mask, opacity, 0);
  return 1;
}
