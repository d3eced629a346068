// Photos that are larger than the model or the service can use are scaled down before they are uploaded.

import { BATCH_BYTES } from "./api.js";

const LARGE_BYTES = 300_000;
const SHORTER_SIDE = 1024; // pixels that are always kept
const MODEL_FACTOR = 2; // and at least so many times what the model sees
const MARGIN = 1.5; // scaling by less saves little
const PNG_START = [0x89, 0x50, 0x4e, 0x47];
const JPEG_QUALITY = 0.92;
const SHRINK = 0.7; // for each further attempt if the file is still too large
const ATTEMPTS = 5;

/** Pixels of the shorter side that a photo keeps; `input` is that of the model's card, if it is known. */
export function shorterSide(input) {
  const seen = input ? Math.max(input.width, input.height, input.resize_size ?? 0) : 0;
  return Math.max(SHORTER_SIDE, MODEL_FACTOR * seen);
}

/** Whether an image file is scaled down at all: decoding it only pays if its upload takes time. */
export function isLarge(blob) {
  return blob.size >= LARGE_BYTES;
}

/**
 * Return a version of an image file whose shorter side has `side` pixels; null if the file is small enough as it is, or
 * if the browser cannot decode it.
 *
 * It is a JPEG, or a PNG if the file is one or has transparent pixels. The pixels are those in the file, without the
 * conversion of its colour profile, as the service decodes them.
 */
export async function scaleDown(blob, side) {
  if (!isLarge(blob)) return null;
  try {
    const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    const smaller = await encodeSmaller(bitmap, blob, side);
    bitmap.close();
    return smaller;
  } catch {
    return null; // the service may be able to
  }
}

async function encodeSmaller(bitmap, blob, side) {
  const shorter = Math.min(bitmap.width, bitmap.height);
  const isTooLarge = blob.size > BATCH_BYTES;
  if (shorter < side * MARGIN && !isTooLarge) return null;
  const staysPng = await isPng(blob);
  let scale = Math.min(1, side / shorter);
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const scaled = await encode(bitmap, scale, staysPng);
    if (scaled.size <= BATCH_BYTES) return scaled.size < blob.size ? scaled : null;
    scale *= SHRINK;
  }
  return null;
}

async function encode(bitmap, scale, staysPng) {
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const type = staysPng || hasTransparency(context.getImageData(0, 0, width, height)) ? "image/png" : "image/jpeg";
  return canvas.convertToBlob({ type, quality: JPEG_QUALITY });
}

function hasTransparency({ data }) {
  for (let index = 3; index < data.length; index += 4) if (data[index] < 255) return true;
  return false;
}

/** By its first bytes: the type of a file follows from its name, which may be missing. */
async function isPng(blob) {
  const start = new Uint8Array(await blob.slice(0, PNG_START.length).arrayBuffer());
  return PNG_START.every((byte, index) => start[index] === byte);
}
