// An answer as it grows: rendered anew only when its text has, with its boxes as buttons.
import { colour } from "./figure.mjs";
import { html } from "./html.mjs";
import { languageOf } from "./language.mjs";
import { pieces, rendered } from "./markdown.mjs";
import { Component, createRef } from "./vendor/preact.mjs";

export class Answer extends Component {
  body = createRef();

  componentDidMount() {
    this.put();
  }

  componentDidUpdate(before) {
    if (before.text !== this.props.text) this.put();
    else if (before.lit !== this.props.lit) this.light();
  }

  put() {
    this.body.current.replaceChildren(rendered(this.props.text, this.mark));
    this.light();
  }

  mark = (name, text) => {
    const { boxes, light } = this.props;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.box = name;
    button.className = `mention ${colour(boxes.find((one) => one.name === name).number)}`;
    button.textContent = text;
    for (const start of ["mouseenter", "focus"]) button.addEventListener(start, () => light(name));
    for (const end of ["mouseleave", "blur"]) button.addEventListener(end, () => light(null));
    return button;
  };

  light() {
    for (const button of this.body.current.querySelectorAll("button.mention")) {
      button.classList.toggle("lit", button.dataset.box === this.props.lit);
    }
  }

  render({ text }) {
    return html`<div class="text" dir="auto" lang=${languageOf(text)} ref=${this.body}></div>`;
  }
}

/** A question: the user's own words, never markup; its boxes light up as those of answers do. */
export function Question({ text, boxes, lit, light }) {
  return html`<p class="text" dir="auto" lang=${languageOf(text)}>
    ${pieces(text).map(({ text: part, name }) =>
      name
        ? html`<button
            type="button" data-box=${name}
            class="mention ${colour(boxes.find((one) => one.name === name).number)}
              ${lit === name ? "lit" : ""}"
            onMouseEnter=${() => light(name)} onMouseLeave=${() => light(null)}
            onFocus=${() => light(name)} onBlur=${() => light(null)}
          >${part}</button>`
        : part,
    )}
  </p>`;
}
