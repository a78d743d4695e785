// The words of the page in English and Chinese, and the choice between them.
import { kept } from "./kept.mjs";

export const LANGUAGES = { en: "en", zh: "zh-Hans" };
const KEPT = "zv-language";

/** Both catalogues: { en, zh }. */
export async function load() {
  const read = async (name) => [name, await (await fetch(`page/words/${name}.json`)).json()];
  return Object.fromEntries(await Promise.all(Object.keys(LANGUAGES).map(read)));
}

/** The language that was chosen before, else the first of the browser's that we have. */
export function preferred() {
  const asked = navigator.languages.map((one) => one.slice(0, 2).toLowerCase());
  return [kept.get(KEPT), ...asked].find((one) => one in LANGUAGES) ?? "en";
}

/** Makes a language that of the document, and remembers it. */
export function choose(name) {
  kept.set(KEPT, name);
  document.documentElement.lang = LANGUAGES[name];
}

/** `t("key", { name: value })` for a catalogue. */
export const teller = (words) => (key, values = {}) =>
  words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** The language of a text, for voices and fonts. */
export const languageOf = (text) => (/\p{Script=Han}/u.test(text) ? "zh-Hans" : "en");
