// Boxes in the model's own text form, [x1,y1,x2,y2] in fractions of the image: reading and writing.

const BRACKETED = /[[［﹇]([^[\]［］﹇﹈]*)[\]］﹈]/g;
const NUMBER = /^(?:\d+(?:\.\d*)?|\.\d+)$/;

/** All boxes of a text: [{ start, end, box }], places in UTF-16. Full-width forms are read, too. */
export function find(text) {
  const found = [];
  for (const match of text.matchAll(BRACKETED)) {
    const box = read(match[1]);
    if (box) found.push({ start: match.index, end: match.index + match[0].length, box });
  }
  return found;
}

/** The four numbers between brackets, or null: the corners must be in order and in the image. */
function read(inside) {
  // NFKC leaves the ideographic comma and full stop as they are.
  const plain = inside.normalize("NFKC").replaceAll("、", ",").replaceAll("。", ".");
  const parts = plain.replace(/\s+/g, "").split(",");
  if (parts.length !== 4 || !parts.every((part) => NUMBER.test(part))) return null;
  const [x1, y1, x2, y2] = parts.map(Number);
  return x1 < x2 && x2 <= 1 && y1 < y2 && y2 <= 1 ? [x1, y1, x2, y2] : null;
}

/** The text of a box, with as many decimals as the model was trained on. */
export const write = (box, decimals) => `[${box.map((side) => fixed(side, decimals)).join(",")}]`;

/** As Python writes it: toFixed goes away from zero where two are as near, Python to the even. */
function fixed(value, decimals) {
  const exact = value.toFixed(60);
  const end = exact.indexOf(".") + 1 + decimals;
  const halfway = /^50*$/.test(exact.slice(end)) && "02468".includes(exact[end - 1]);
  return halfway ? exact.slice(0, end) : value.toFixed(decimals);
}

/** One name for equal boxes, however they are written. */
export const key = (box) => box.join(",");

/** The box in whole pixels of an image. */
export function pixels(box, width, height) {
  return box.map((side, at) => Math.round(side * (at % 2 ? height : width)));
}

/** The box between two points of an image, in fractions, within it. */
export function between([ax, ay], [bx, by]) {
  const inside = (value) => Math.min(Math.max(value, 0), 1);
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)].map(inside);
}
