// The page: its state, and what changes it.
import * as api from "./api.mjs";
import { Composer } from "./composer.mjs";
import { draft, figures, messages, sent, turn, unique } from "./conversation.mjs";
import { Header } from "./header.mjs";
import { html } from "./html.mjs";
import { Unusable, files, read } from "./images.mjs";
import { untilClosed } from "./kept.mjs";
import { choose, load, preferred, teller } from "./language.mjs";
import { Key, Notice } from "./notice.mjs";
import { Pointing } from "./pointing.mjs";
import { complete } from "./sentences.mjs";
import { Settings, parameters, remembered } from "./settings.mjs";
import * as transfer from "./transfer.mjs";
import { Turn } from "./turn.mjs";
import { Component, render } from "./vendor/preact.mjs";

const KEY = "zv-key";
const AGAIN = 2000; // milliseconds between questions whether the server is back

class App extends Component {
  composer = null;
  controller = null;
  before = null; // what was being written when an edit began
  state = {
    language: preferred(),
    model: null,
    turns: [],
    draft: draft(),
    editing: null, // id of the turn whose question is written anew
    pointing: null, // image
    values: remembered(),
    key: untilClosed.get(KEY) ?? "",
    locked: false, // the server asks for a key
    away: false,
    notice: null, // { word, values }, or { error } of the server
    spoken: "",
  };

  get t() {
    return teller(this.props.words[this.state.language]);
  }

  componentDidMount() {
    choose(this.state.language);
    for (const name of ["dragover", "drop"]) document.addEventListener(name, this.drop);
    this.connect();
  }

  drop = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault(); // or the browser would open the file in place of the page
    if (event.type === "drop") this.add(files(event.dataTransfer));
  };

  /** Asks which model is here, until somebody answers. */
  connect = async () => {
    try {
      const model = await api.model(this.state.key);
      document.title = model.id;
      const notice = model.max_answers ? null : { word: "noAnswers" };
      this.setState({ model, locked: false, away: false, notice });
    } catch (error) {
      this.failed(error);
    }
  };

  /** Shows that the server cannot be asked, and why; the error object that a turn may show. */
  failed(error) {
    if (error instanceof api.Away) {
      this.setState({ away: true });
      setTimeout(this.back, AGAIN);
      return { message: this.t("broken") };
    }
    if (!(error instanceof api.Refused)) throw error;
    if (error.status === 401) this.setState(({ key }) => ({ locked: true, key: "", wrong: Boolean(key) }));
    else if (!this.state.model) this.setState({ notice: { error: error.error } });
    return error.error;
  }

  back = async () => {
    if (await api.alive()) this.connect();
    else setTimeout(this.back, AGAIN);
  };

  unlock = (key) => {
    untilClosed.set(KEY, key);
    this.setState({ key }, this.connect);
  };

  // The question that is being written.

  write = (text, then) => this.setState(({ draft: now }) => ({ draft: { ...now, text } }), then);

  images(change) {
    this.setState(({ draft: now }) => ({ draft: { ...now, images: change(now.images) } }));
  }

  add = async (given) => {
    this.setState({ notice: null });
    for (const file of given) {
      try {
        const image = await read(file);
        this.images((now) => [...now, image]);
      } catch (error) {
        if (!(error instanceof Unusable)) throw error;
        this.setState({ notice: { word: error.word, values: { name: error.name } } });
      }
    }
  };

  move = (at, by) => this.images((now) => now.with(at, now[at + by]).with(at + by, now[at]));

  remove = (at) => this.images((now) => now.toSpliced(at, 1));

  point = (image) => this.setState({ pointing: image });

  take = (text) => {
    const { pointing } = this.state;
    const name = JSON.parse(text).join(",");
    const noted = ({ draft: now }) => ({
      pointing: null,
      draft: { ...now, pointed: { ...now.pointed, [name]: pointing.id } },
    });
    this.setState(noted, () => this.composer.insert(text));
  };

  edit = (asked) => {
    const { text, images, pointed, id } = asked;
    if (!this.before) this.before = this.state.draft;
    const focus = () => this.composer.focus();
    this.setState({ draft: { text, images, pointed }, editing: id }, focus);
  };

  cancelEdit = () => {
    this.setState({ draft: this.before, editing: null });
    this.before = null;
  };

  // Questions and answers.

  get busy() {
    return this.state.turns.some(({ state }) => state === "running");
  }

  get possible() {
    const { draft: now, model } = this.state;
    return Boolean(model?.max_answers) && Boolean(now.text.trim() || now.images.length);
  }

  ask = () => {
    if (this.busy || !this.possible) return;
    const { turns, editing, draft: now } = this.state;
    const end = editing === null ? turns.length : turns.findIndex(({ id }) => id === editing);
    const asked = turn({ ...now, text: now.text.trim() });
    this.before = null;
    const next = { turns: [...turns.slice(0, end), asked], draft: draft(), editing: null, notice: null };
    this.setState(next, () => this.run(asked));
  };

  retry = (asked) => this.run(asked);

  stop = () => this.controller?.abort();

  /** Where the model looked in each image when the last of `turns` was asked, by the image's id. */
  looks = async (turns) => {
    const { model, key } = this.state;
    const maps = await api.attention({ model: model.id, messages: messages(turns) }, key);
    return new Map(sent(turns).map(({ id }, at) => [id, maps[at]]));
  };

  choose = (asked, chosen) => this.change(asked.id, () => ({ chosen }));

  change(id, how, then) {
    const one = (old) => (old.id === id ? { ...old, ...how(old) } : old);
    this.setState(({ turns }) => ({ turns: turns.map(one) }), then);
  }

  /** Has a turn, the last one, answered. */
  async run({ id }) {
    const { model, values, key, turns } = this.state;
    this.controller = new AbortController();
    this.change(id, () => ({ state: "running", answers: [], chosen: 0, error: null }), toTheEnd);
    this.setState({ spoken: "" });
    const body = { model: model.id, messages: messages(turns), ...parameters(values) };
    try {
      for await (const piece of api.chat(body, key, this.controller.signal)) {
        const follows = atTheEnd();
        this.change(id, ({ answers }) => ({ answers: grown(answers, piece) }), follows && toTheEnd);
        this.speak(id);
      }
      this.change(id, () => ({ state: "done" }), () => this.speak(id));
    } catch (error) {
      if (error.name === "AbortError") this.change(id, () => ({ state: "stopped" }));
      else this.change(id, () => ({ state: "failed", error: this.failed(error) }));
    }
  }

  /** Has complete sentences of the first answer read aloud, and its rest once it has ended. */
  speak(id) {
    this.setState(({ turns, spoken }) => {
      const { answers, state } = turns.find((one) => one.id === id) ?? { answers: [] };
      const text = answers[0]?.text ?? "";
      const now = state === "running" ? text.slice(0, complete(text)) : text;
      return now === spoken ? null : { spoken: now };
    });
  }

  // The conversation as a file.

  clear = () => {
    this.stop();
    this.before = null;
    this.setState({ turns: [], draft: draft(), editing: null, notice: null, spoken: "" });
    this.composer.focus();
  };

  save = () => {
    const { model, turns } = this.state;
    transfer.save(transfer.written(model?.id ?? "", turns), `${model?.id ?? "zv"}-${unique()}.json`);
  };

  open = async (file) => {
    try {
      const turns = transfer.read(await file.text());
      this.stop();
      this.before = null;
      this.setState({ turns, draft: draft(), editing: null, notice: null }, toTheEnd);
    } catch (error) {
      this.setState({ notice: { word: "noConversation", values: { name: file.name, why: error.message } } });
    }
  };

  translate = (language) => {
    choose(language);
    this.setState({ language });
  };

  render(_, { model, turns, editing, pointing, values, language, locked, wrong, away, notice, spoken, ...state }) {
    const { t, busy } = this;
    const at = editing === null ? turns.length : turns.findIndex(({ id }) => id === editing);
    const shown = figures([...turns.slice(0, at), state.draft], at);
    return html`
      <${Header} t=${t} model=${model} language=${language} translate=${this.translate}
        some=${turns.length > 0} clear=${this.clear} save=${this.save} open=${this.open} />
      <main>
        <${Settings} t=${t} model=${model} values=${values} change=${(next) => this.setState({ values: next })} />
        ${!turns.length && html`<p class="hello">${t("hello")}</p>`}
        <ol class="turns">
          ${turns.map(
            ({ id }, index) => html`<${Turn} key=${id} t=${t} turns=${turns} at=${index} busy=${busy}
              last=${index === turns.length - 1} follows=${model?.follows} sees=${model?.sees} replaced=${index >= at} actions=${this} />`,
          )}
        </ol>
        <p class="hidden" role="status" aria-live="polite" data-spoken>${spoken}</p>
      </main>
      <footer>
        ${away && html`<p class="notice" role="alert">${t("away")}</p>`}
        ${notice && html`<${Notice} t=${t} ...${notice} close=${() => this.setState({ notice: null })} />`}
        ${locked && html`<${Key} t=${t} wrong=${wrong} unlock=${this.unlock} />`}
        <${Composer} ready=${(composer) => (this.composer = composer)} t=${t} draft=${state.draft} figures=${shown} busy=${busy}
          editing=${editing !== null} possible=${this.possible} write=${this.write} add=${this.add}
          move=${this.move} remove=${this.remove} point=${this.point} ask=${this.ask} cancel=${this.cancelEdit} />
      </footer>
      ${pointing && html`<${Pointing} t=${t} image=${pointing} decimals=${model?.box_decimals ?? 3}
        take=${this.take} close=${() => this.setState({ pointing: null })} />`}
    `;
  }
}

/** The answers with one more piece. */
function grown(answers, { index, text, reason, weights }) {
  const next = answers.slice();
  while (next.length <= index) next.push({ text: "", reason: null, weights: null });
  const before = next[index];
  next[index] = {
    text: before.text + text,
    reason: reason ?? before.reason,
    weights: weights ?? before.weights,
  };
  return next;
}

const page = () => document.scrollingElement;

/** Whoever has scrolled up to read is not taken away from there. */
const atTheEnd = () => page().scrollHeight - page().scrollTop - innerHeight < 80;

const toTheEnd = () => page().scrollTo(0, page().scrollHeight);

const words = await load();
render(html`<${App} words=${words} />`, document.getElementById("page"));
