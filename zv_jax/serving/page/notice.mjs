// What keeps a question from being asked: an image that cannot be read, a missing key.
import { html } from "./html.mjs";
import { Problem } from "./turn.mjs";

/** Words of the catalogue (`word`, `values`), or an error of the server. */
export function Notice({ t, word, values, error, close }) {
  return html`<div class="notice">
    ${error ? html`<${Problem} t=${t} error=${error} />` : html`<p role="alert">${t(word, values)}</p>`}
    <button type="button" aria-label=${t("close")} title=${t("close")} onClick=${close}>×</button>
  </div>`;
}

/** The field for the server's key. */
export function Key({ t, wrong, unlock }) {
  const entered = (event) => {
    event.preventDefault();
    unlock(new FormData(event.target).get("key").trim());
  };
  return html`<form class="notice" onSubmit=${entered}>
    <label>${t(wrong ? "wrongKey" : "key")}
      <input type="password" name="key" autocomplete="off" required />
    </label>
    <button type="submit" class="main">${t("unlock")}</button>
  </form>`;
}
