// Files of images as they are sent: untouched where they are small, else upright and smaller.
import { unique } from "./conversation.mjs";

const SENT = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];
const MOST_BYTES = 3 << 20;
const MOST_PIXELS = 16e6;
const SIDE = 2048; // of an image that is made smaller; models see a few hundred pixels

/** An image that cannot be used; `word` is that of the catalogue that says why. */
export class Unusable extends Error {
  constructor(word, name) {
    super(word);
    Object.assign(this, { word, name });
  }
}

/**
 * An image to send: { id, name, width, height, url }. Width and height are those of the file,
 * turned by its EXIF: boxes, which are fractions, mean the same in it and in what is sent.
 */
export async function read(file) {
  if (await isHeic(file)) throw new Unusable("heic", file.name);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Unusable("noImage", file.name);
  }
  const { width, height } = bitmap;
  const small = file.size <= MOST_BYTES && width * height <= MOST_PIXELS;
  // The server gets the very bytes if it can: the answer is that of any other client.
  const blob = small && SENT.includes(file.type) ? file : await smaller(bitmap, file.type);
  bitmap.close();
  return { id: unique(), name: file.name, width, height, url: await uri(blob) };
}

async function smaller(bitmap, type) {
  const kind = type === "image/jpeg" ? type : "image/png"; // others may be transparent
  let scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  for (;;) {
    const sides = [bitmap.width, bitmap.height].map((n) => Math.max(1, Math.round(n * scale)));
    const canvas = new OffscreenCanvas(...sides);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, ...sides);
    const blob = await canvas.convertToBlob({ type: kind, quality: 0.92 });
    if (blob.size <= MOST_BYTES) return blob;
    scale *= 0.75;
  }
}

function uri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** iPhones' own format, which neither most browsers nor the server read; its name may be any. */
async function isHeic(file) {
  const head = new TextDecoder("latin1").decode(await file.slice(4, 12).arrayBuffer());
  return /^ftyp(hei[cxms]|hev[cx]|mif1|msf1)$/.test(head);
}

/** The files of images in what was dropped or pasted. */
export const files = (transfer) => [...(transfer?.files ?? [])];
