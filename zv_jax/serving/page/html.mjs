// Markup as templates: html`<p>${text}</p>`; texts in it are never markup.
import htm from "./vendor/htm.mjs";
import { h } from "./vendor/preact.mjs";

export const html = htm.bind(h);
