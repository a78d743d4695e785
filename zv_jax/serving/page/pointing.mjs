// Asking by pointing: a box drawn on an image with mouse, pen, finger or keys.
import { between, write } from "./boxes.mjs";
import { inPixels, place } from "./figure.mjs";
import { html } from "./html.mjs";
import { Component, createRef } from "./vendor/preact.mjs";

const STEP = 0.01; // of the image, for each press of a key; ten times as much with Control
const START = [0.3, 0.3, 0.7, 0.7];
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** A dialogue over the page. `take(box)` gets the box in fractions; `close()` ends it. */
export class Pointing extends Component {
  dialog = createRef();
  area = createRef();
  state = { box: null };
  corner = null;

  componentDidMount() {
    this.dialog.current.showModal();
    this.area.current.focus();
  }

  /** Where a pointer is, in fractions of the image. */
  at({ clientX, clientY }) {
    const { left, top, width, height } = this.area.current.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height];
  }

  down = (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    this.area.current.focus();
    this.area.current.setPointerCapture(event.pointerId);
    this.corner = this.at(event);
    this.setState({ box: null });
  };

  move = (event) => {
    if (this.corner) this.setState({ box: between(this.corner, this.at(event)) });
  };

  up = (event) => {
    this.move(event);
    this.corner = null;
  };

  /** Arrows move the box; with Shift, its lower right corner. */
  press = (event) => {
    const direction = KEYS[event.key];
    if (event.key === "Enter") {
      event.preventDefault();
      return this.take();
    }
    if (!direction) return undefined;
    event.preventDefault();
    const by = direction.map((sign) => sign * STEP * (event.ctrlKey ? 10 : 1));
    const box = this.state.box ?? START;
    return this.setState({ box: event.shiftKey ? stretched(box, by) : moved(box, by) });
  };

  /** The box as the model will read it, if one is left after rounding. */
  text() {
    const { box } = this.state;
    const text = box && write(box, this.props.decimals);
    const [x1, y1, x2, y2] = text ? JSON.parse(text) : [0, 0, 0, 0];
    return x1 < x2 && y1 < y2 ? text : null;
  }

  take = () => {
    const text = this.text();
    if (text) this.props.take(text);
  };

  render({ t, image, close }, { box }) {
    const text = this.text();
    return html`<dialog ref=${this.dialog} class="pointing" aria-label=${t("point")} onClose=${close}>
      <p class="hint" id="pointing-hint">${t("pointingHint")}</p>
      <div class="frame">
        <div
          class="shown" ref=${this.area} tabindex="0" role="application"
          aria-label=${t("pointingArea", { name: image.name })} aria-describedby="pointing-hint"
          onPointerDown=${this.down} onPointerMove=${this.move}
          onPointerUp=${this.up} onPointerCancel=${this.up} onKeyDown=${this.press}
        >
          <img src=${image.url} alt="" width=${image.width} height=${image.height} draggable=${false} />
          ${box && html`<div class="box colour1 lit" style=${place(box)}></div>`}
        </div>
      </div>
      <output aria-live="polite">
        ${text ? html`<code>${text}</code> ${inPixels(t, JSON.parse(text), image)}` : t("noBox")}
      </output>
      <div class="buttons">
        <button type="button" class="main" disabled=${!text} onClick=${this.take}>${t("take")}</button>
        <button type="button" onClick=${() => this.dialog.current.close()}>${t("cancel")}</button>
      </div>
    </dialog>`;
  }
}

function moved([x1, y1, x2, y2], [dx, dy]) {
  const x = Math.min(Math.max(dx, -x1), 1 - x2);
  const y = Math.min(Math.max(dy, -y1), 1 - y2);
  return [x1 + x, y1 + y, x2 + x, y2 + y];
}

function stretched([x1, y1, x2, y2], [dx, dy]) {
  const side = (from, to) => Math.min(Math.max(to, from + STEP), 1);
  return [x1, y1, side(x1, x2 + dx), side(y1, y2 + dy)];
}
