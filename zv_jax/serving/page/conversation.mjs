// What was asked and answered, and what of it the model is sent.
import { find, key } from "./boxes.mjs";

let made = 0;

/** A name that no other turn or image of this page has. */
export const unique = () => ++made;

/** What is being written: `pointed` says, by the name of a box, on which image it was drawn. */
export const draft = () => ({ text: "", images: [], pointed: {} });

/** A question without an answer. `state`: running, done, stopped or failed (with its `error`). */
export function turn({ text, images, pointed }) {
  return { id: unique(), text, images, pointed, answers: [], chosen: 0, state: "done", error: null };
}

/** Whether the turn is part of the dialogue: a question that failed is not. */
export function answered({ answers, chosen, state }) {
  return state === "done" ? answers.length > 0 : Boolean(answers[chosen]?.text);
}

/** The turns as OpenAI's messages; the last one asks. */
export function messages(turns) {
  const asked = turns.at(-1);
  return turns
    .filter((one) => one === asked || answered(one))
    .flatMap((one) => [
      question(one),
      ...(one === asked ? [] : [{ role: "assistant", content: one.answers[one.chosen].text }]),
    ]);
}

/** The images of what `messages` gives for these turns, in order. */
export function sent(turns) {
  const asked = turns.at(-1);
  return turns.filter((one) => one === asked || answered(one)).flatMap((one) => one.images);
}

function question({ text, images }) {
  if (!images.length) return { role: "user", content: text };
  const shown = images.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return { role: "user", content: [...shown, ...(text ? [{ type: "text", text }] : [])] };
}

/** The boxes that a turn names, each once, numbered from 1: [{ box, name, number }]. */
export function named({ text, answers = [] }) {
  const boxes = [text, ...answers.map((one) => one.text)].flatMap((one) => find(one));
  const once = new Map(boxes.map(({ box }) => [key(box), box]));
  return [...once].map(([name, box], at) => ({ box, name, number: at + 1 }));
}

/**
 * The images that turn `at` is about, each with the boxes that belong on it:
 * its own, those its boxes were drawn on, or else the latest that were shown.
 * A box of an answer does not say of which image it is: `unsure` where there are several.
 */
export function figures(turns, at) {
  const { images, pointed } = turns[at];
  const boxes = named(turns[at]);
  const drawn = new Set(boxes.map(({ name }) => pointed[name]).filter(Boolean));
  const shown = new Map(turns.slice(0, at + 1).flatMap((one) => one.images).map((i) => [i.id, i]));
  const latest = turns.slice(0, at + 1).findLast((one) => one.images.length)?.images ?? [];
  const open = boxes.some(({ name }) => !shown.has(pointed[name]));
  const about = new Map((images.length ? images : open ? latest : []).map((i) => [i.id, i]));
  for (const id of drawn) if (shown.has(id)) about.set(id, shown.get(id));
  return [...about.values()].map((image) => ({
    image,
    boxes: boxes
      .filter(({ name }) => !shown.has(pointed[name]) || pointed[name] === image.id)
      .map((one) => ({ ...one, unsure: !shown.has(pointed[one.name]) && about.size > 1 })),
  }));
}
