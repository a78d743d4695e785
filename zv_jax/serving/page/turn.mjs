// A question with its images, its answers, and what can be done with them.
import { Answer, Question } from "./answer.mjs";
import { answered, figures, named } from "./conversation.mjs";
import { Figure } from "./figure.mjs";
import { html } from "./html.mjs";
import { Component } from "./vendor/preact.mjs";

export class Turn extends Component {
  state = {
    lit: null,
    looks: null, // by the id of an image: where the model looked
    looking: new Set(), // ids of images over which that is shown
    failed: null,
  };

  light = (lit) => this.setState({ lit });

  /** A question that is asked again may be read by other weights. */
  componentDidUpdate() {
    const { turns, at } = this.props;
    if (this.state.looks && turns[at].state === "running") {
      this.setState({ looks: null, looking: new Set() });
    }
  }

  /** Shows or hides where the model looks in an image, asked for once. */
  look = async ({ id }) => {
    const { turns, at, actions } = this.props;
    const looking = new Set(this.state.looking);
    if (!looking.delete(id)) looking.add(id);
    this.setState({ looking, failed: null });
    if (this.state.looks || !looking.has(id)) return;
    try {
      this.setState({ looks: await actions.looks(turns.slice(0, at + 1)) });
    } catch (error) {
      this.setState({ looking: new Set(), failed: actions.failed(error) });
    }
  };

  render({ t, turns, at, last, busy, follows, sees, replaced, actions }, { lit, looks, looking, failed }) {
    const turn = turns[at];
    const boxes = named(turn);
    const ended = turn.state !== "running";
    return html`<li class="turn ${replaced ? "replaced" : ""}">
      <section class="question" aria-label=${t("you")}>
        <h2>${t("you")}</h2>
        ${figures(turns, at).map(
          (one) => html`<${Figure}
            key=${one.image.id} t=${t} ...${one} lit=${lit} light=${this.light}
            look=${looking.has(one.image.id) && looks?.get(one.image.id)}
          >
            <button type="button" onClick=${() => actions.point(one.image)}>${t("point")}</button>
            ${sees &&
            html`<button
              type="button" aria-pressed=${looking.has(one.image.id)} title=${t("lookHint")}
              onClick=${() => this.look(one.image)}
            >${t("look")}</button>`}
          <//>`,
        )}
        ${failed && html`<${Problem} t=${t} error=${failed} />`}
        ${turn.text && html`<${Question} text=${turn.text} boxes=${boxes} lit=${lit} light=${this.light} />`}
        <div class="buttons">
          <button type="button" disabled=${busy} onClick=${() => actions.edit(turn)}>${t("edit")}</button>
          ${turn.text && html`<${Copy} t=${t} text=${turn.text} />`}
        </div>
      </section>
      <section class="answer" aria-label=${t("model")} aria-busy=${!ended}>
        <h2>${t("model")}</h2>
        ${turn.answers.map(
          ({ text, reason, weights }, index) => html`<div class="one" key=${index}>
            ${turn.answers.length > 1 &&
            html`<label class="choice">
              <input
                type="radio" name="chosen${turn.id}" checked=${turn.chosen === index} disabled=${busy}
                onChange=${() => actions.choose(turn, index)}
              /> ${t("answer", { number: index + 1 })}
              ${last || turn.chosen !== index ? "" : t("goesOn")}
            </label>`}
            <${Answer} text=${text} boxes=${boxes} lit=${lit} light=${this.light} />
            ${follows && weights && html`<p class="hint">${t("weights", { step: weights.replace("step_", "") })}</p>`}
            ${reason === "length" && html`<p class="hint">${t("cut")}</p>`}
            ${text && ended && html`<div class="buttons"><${Copy} t=${t} text=${text} /></div>`}
          </div>`,
        )}
        ${!ended && !turn.answers.some(({ text }) => text) && html`<p class="hint waiting">${t("thinking")}</p>`}
        ${turn.state === "done" && turn.answers.every(({ text }) => !text) &&
        html`<p class="hint">${t("empty")}</p>`}
        ${turn.state === "stopped" && html`<p class="hint">${t("stopped")}</p>`}
        ${turn.error && html`<${Problem} t=${t} error=${turn.error} />`}
        ${ended && !answered(turn) && html`<p class="hint">${t("leftOut")}</p>`}
        <div class="buttons">
          ${!ended && html`<button type="button" class="main" onClick=${actions.stop}>${t("stop")}</button>`}
          ${ended && last && html`<button type="button" disabled=${busy} onClick=${() => actions.retry(turn)}>${t("retry")}</button>`}
        </div>
      </section>
    </li>`;
  }
}

/** An error as the server words it. */
export function Problem({ t, error }) {
  return html`<div class="problem" role="alert">
    <p>${error.param && html`<code>${error.param}</code>${": "}`}${error.message}</p>
    ${error.expected && html`<p>${t("expected")} ${error.expected}</p>`}
    ${error.fix && html`<p>${t("fix")} ${error.fix}</p>`}
  </div>`;
}

class Copy extends Component {
  state = { done: false };

  copy = async (event) => {
    const { text } = this.props;
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      this.setState({ done: true });
      return;
    }
    // Pages that came over plain HTTP from another machine may not write to the clipboard.
    const shown = event.target.closest("section, .one").querySelector(".text");
    getSelection().selectAllChildren(shown);
  };

  render({ t }, { done }) {
    return html`<button type="button" onClick=${this.copy} onBlur=${() => this.setState({ done: false })}>
      ${t(done ? "copied" : "copy")}
    </button>`;
  }
}
