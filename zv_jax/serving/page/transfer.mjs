// A conversation as a file: out of the page, and back into it.
import { unique } from "./conversation.mjs";

const FORMAT = "zv-conversation-1";
const IMAGE = /^data:image\/(?:png|jpeg|webp|gif|bmp);base64,[A-Za-z0-9+/]+=*$/;

/** The conversation as JSON. */
export function written(model, turns) {
  const kept = turns.map(({ text, images, pointed, answers, chosen, state }) => ({
    text,
    images: images.map(({ name, width, height, url }) => ({ name, width, height, url })),
    pointed: Object.entries(pointed)
      .map(([name, id]) => [name, images.findIndex((one) => one.id === id)])
      .filter(([, at]) => at >= 0),
    answers: answers.map(({ text: said, reason, weights }) => ({ text: said, reason, weights })),
    chosen,
    state: state === "running" ? "stopped" : state,
  }));
  return JSON.stringify({ format: FORMAT, model, turns: kept }, null, 1);
}

/** The turns in such a file. A file of anything else is an error, and changes nothing. */
export function read(text) {
  const { format, turns } = JSON.parse(text);
  if (format !== FORMAT || !Array.isArray(turns)) throw new TypeError(`format: ${format}`);
  return turns.map(turn);
}

function turn({ text, images, pointed, answers, chosen, state }) {
  const shown = images.map(image);
  must(["done", "stopped", "failed"].includes(state), "state");
  must(Number.isInteger(chosen) && chosen >= 0 && chosen < Math.max(answers.length, 1), "chosen");
  return {
    id: unique(),
    text: words(text, "text"),
    images: shown,
    pointed: Object.fromEntries(pointed.map(([name, at]) => [words(name, "pointed"), shown[at].id])),
    answers: answers.map((one) => ({
      text: words(one.text, "answers"),
      reason: one.reason === null ? null : words(one.reason, "reason"),
      weights: one.weights == null ? null : words(one.weights, "weights"),
    })),
    chosen,
    state,
    error: null,
  };
}

function image({ name, width, height, url }) {
  // Anything but the bytes of an image would be fetched, or sent for the server to fetch.
  must(typeof url === "string" && IMAGE.test(url), "url");
  must([width, height].every((side) => Number.isInteger(side) && side > 0), "width, height");
  return { id: unique(), name: words(name, "name"), width, height, url };
}

function words(value, name) {
  must(typeof value === "string", name);
  return value;
}

function must(right, name) {
  if (!right) throw new TypeError(name);
}

/** Has the browser save a text as a file. */
export function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
