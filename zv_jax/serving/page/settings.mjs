// The parameters of answers: what is left empty is the server's choice.
import { html } from "./html.mjs";
import { kept } from "./kept.mjs";

const KEPT = "zv-parameters";

/** Name, and the attributes of its field; `most` is a property of the model. */
const FIELDS = [
  { name: "temperature", min: 0, max: 2, step: "any" },
  { name: "top_p", min: 0, max: 1, step: "any" },
  { name: "top_k", min: 0, step: 1 },
  { name: "max_tokens", min: 1, step: 1, most: "max_tokens" },
  { name: "seed", step: 1 },
  { name: "n", min: 1, step: 1, most: "max_answers" },
];

/** The values of before, as texts: { name: text }. */
export const remembered = () => {
  const values = kept.get(KEPT);
  return Object.fromEntries(FIELDS.map(({ name }) => [name, String(values?.[name] ?? "")]));
};

/** The fields of a request. The server judges them: its error says what is possible. */
export function parameters(values) {
  const given = FIELDS.map(({ name }) => [name, values[name].trim()]).filter(([, text]) => text);
  return Object.fromEntries(given.map(([name, text]) => [name, Number(text)]));
}

export function Settings({ t, model, values, change }) {
  const put = (name, text) => {
    const next = { ...values, [name]: text };
    kept.set(KEPT, next);
    change(next);
  };
  return html`<details class="settings">
    <summary>${t("parameters")}</summary>
    <p class="hint">${t("parametersHint")}</p>
    <div class="fields">
      ${FIELDS.map(({ name, most, ...rest }) => {
        const max = most && model?.[most] ? { max: model[most] } : {};
        return html`<label key=${name}>
          <span>${t(name)}</span>
          <input type="number" name=${name} ...${rest} ...${max} value=${values[name]}
            placeholder=${most && model?.[most] && name === "max_tokens" ? model[most] : ""}
            onInput=${(event) => put(name, event.target.value)} />
          <small>${name}</small>
        </label>`;
      })}
    </div>
  </details>`;
}
