// An image with the boxes that a turn names, lit together with their text.
import { pixels } from "./boxes.mjs";
import { Heat } from "./heat.mjs";
import { html } from "./html.mjs";

export const colour = (number) => `colour${((number - 1) % 6) + 1}`;

/** Puts an element over an image, by fractions of it. */
export const place = (box) => ({
  left: `${box[0] * 100}%`,
  top: `${box[1] * 100}%`,
  width: `${(box[2] - box[0]) * 100}%`,
  height: `${(box[3] - box[1]) * 100}%`,
});

/** The box in pixels of the original image, in words. */
export function inPixels(t, box, image) {
  const [x1, y1, x2, y2] = pixels(box, image.width, image.height);
  return t("inPixels", { x1, y1, x2, y2, width: image.width, height: image.height });
}

/**
 * `children` are buttons of the image. `lit` is the name of the box that is shown alone, `look` the
 * map of where the model looks, if it is shown.
 */
export function Figure({ t, image, boxes, lit, light, look, children }) {
  return html`<figure>
    <div class="shown">
      <img src=${image.url} alt=${image.name} width=${image.width} height=${image.height} />
      ${look && html`<${Heat} t=${t} ...${look} />`}
      ${boxes.map(
        ({ box, name, number, unsure }) => html`<div
          key=${name}
          class="box ${colour(number)} ${unsure ? "unsure" : ""} ${lit === name ? "lit" : ""}"
          style=${place(box)}
          title=${inPixels(t, box, image)}
          data-box=${name}
          onMouseEnter=${() => light(name)}
          onMouseLeave=${() => light(null)}
        ><b>${number}</b></div>`,
      )}
    </div>
    <figcaption>
      <span class="name" title=${image.name}>${image.name}</span>
      <span class="size">${image.width} × ${image.height}</span>
      ${children}
    </figcaption>
    ${boxes.length > 0 &&
    html`<ul class="pixels">
      ${boxes.map(
        ({ box, name, number }) => html`<li
          key=${name} class=${lit === name ? "lit" : ""}
          onMouseEnter=${() => light(name)} onMouseLeave=${() => light(null)}
        ><b class=${colour(number)}>${number}</b> ${inPixels(t, box, image)}</li>`,
      )}
    </ul>`}
    ${boxes.some(({ unsure }) => unsure) && html`<p class="hint">${t("unsure")}</p>`}
  </figure>`;
}
