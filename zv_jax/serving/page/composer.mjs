// Where a question is written, with the images that it shows.
import { named } from "./conversation.mjs";
import { Figure } from "./figure.mjs";
import { html } from "./html.mjs";
import { files } from "./images.mjs";
import { Component, createRef } from "./vendor/preact.mjs";

/** Whether a key ends the question; Enter in an input method chooses a character. */
export const sends = (event) =>
  event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;

export class Composer extends Component {
  text = createRef();
  chooser = createRef();
  state = { lit: null };

  componentDidMount() {
    this.props.ready(this);
  }

  focus() {
    this.text.current.focus();
  }

  /** Puts a box where the cursor is, and the cursor behind it. */
  insert(box) {
    const { value, selectionStart: from, selectionEnd: to } = this.text.current;
    this.props.write(value.slice(0, from) + box + value.slice(to), () => {
      this.focus();
      this.text.current.setSelectionRange(from + box.length, from + box.length);
    });
  }

  press = (event) => {
    if (!sends(event)) return;
    event.preventDefault();
    this.props.ask();
  };

  paste = (event) => {
    const given = files(event.clipboardData);
    if (!given.length) return;
    event.preventDefault();
    this.props.add(given);
  };

  choose = (event) => {
    this.props.add([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  };

  render({ t, draft, figures, busy, editing, possible, write, move, remove, point, cancel, ask }, { lit }) {
    const light = (name) => this.setState({ lit: name });
    const own = new Set(draft.images.map(({ id }) => id));
    return html`<form class="composer" onSubmit=${(event) => (event.preventDefault(), ask())}>
      ${editing && html`<p class="hint">${t("editing")}</p>`}
      ${figures.length > 0 &&
      html`<div class="strip">
        ${figures.map(({ image, boxes }) => {
          const at = draft.images.findIndex(({ id }) => id === image.id);
          const name = { name: image.name };
          return html`<${Figure} key=${image.id} t=${t} image=${image} boxes=${boxes} lit=${lit} light=${light}>
            <button type="button" onClick=${() => point(image)}>${t("point")}</button>
            ${own.has(image.id) &&
            html`<span class="order">
              ${own.size > 1 &&
              html`<button type="button" disabled=${at === 0} aria-label=${t("earlier", name)} title=${t("earlier", name)} onClick=${() => move(at, -1)}>←</button>
              <button type="button" disabled=${at === own.size - 1} aria-label=${t("later", name)} title=${t("later", name)} onClick=${() => move(at, 1)}>→</button>`}
              <button type="button" aria-label=${t("remove", name)} title=${t("remove", name)} onClick=${() => (remove(at), this.focus())}>×</button>
            </span>`}
          <//>`;
        })}
      </div>`}
      <textarea
        ref=${this.text} rows="2" dir="auto" aria-label=${t("question")} placeholder=${t("placeholder")}
        value=${draft.text} onInput=${(event) => write(event.target.value)}
        onKeyDown=${this.press} onPaste=${this.paste}
      ></textarea>
      ${named(draft).length > 0 && figures.length > 1 && html`<p class="hint">${t("whichImage")}</p>`}
      <div class="buttons">
        <input ref=${this.chooser} type="file" accept="image/*" multiple hidden onChange=${this.choose} />
        <button type="button" onClick=${() => this.chooser.current.click()}>${t("addImages")}</button>
        ${editing && html`<button type="button" onClick=${cancel}>${t("cancel")}</button>`}
        <button type="submit" class="main" disabled=${busy || !possible}>${t("send")}</button>
      </div>
    </form>`;
  }
}
