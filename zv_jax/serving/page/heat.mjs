// Where a model looks, drawn over an image: the more attention, the warmer and the less transparent.
import { html } from "./html.mjs";
import { Component, createRef } from "./vendor/preact.mjs";

/** Red, green, blue and opacity of each place, from 0 to 255: nothing where least, most where most. */
export function colours(weights) {
  const least = Math.min(...weights);
  const range = Math.max(...weights) - least || 1;
  const bytes = weights.map((weight) => {
    const share = (weight - least) / range;
    return [255, Math.round(220 * share), 0, Math.round(200 * share)];
  });
  return new Uint8ClampedArray(bytes.flat());
}

/** One pixel for each patch, stretched over the image as the image was for the model. */
export class Heat extends Component {
  canvas = createRef();

  componentDidMount() {
    this.draw();
  }

  componentDidUpdate(before) {
    if (before.weights !== this.props.weights) this.draw();
  }

  draw() {
    const { weights, rows, columns } = this.props;
    const image = new ImageData(colours(weights), columns, rows);
    this.canvas.current.getContext("2d").putImageData(image, 0, 0);
  }

  render({ t, rows, columns }) {
    return html`<canvas class="heat" ref=${this.canvas} width=${columns} height=${rows}
      role="img" aria-label=${t("heat")} />`;
  }
}
