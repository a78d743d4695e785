// The name of the model, and what concerns the conversation as a whole.
import { html } from "./html.mjs";
import { LANGUAGES } from "./language.mjs";

const NAMES = { en: "EN", zh: "中文" };

export function Header({ t, model, language, translate, some, clear, save, open }) {
  const opened = (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) open(file);
  };
  return html`<header>
    <h1>${model?.id ?? t("title")}</h1>
    <div class="buttons">
      <button type="button" disabled=${!some} onClick=${clear}>${t("new")}</button>
      <button type="button" disabled=${!some} onClick=${save}>${t("export")}</button>
      <label class="button">
        <input type="file" class="hidden" accept=".json,application/json" onChange=${opened} />
        ${t("import")}
      </label>
      <span class="languages" role="group" aria-label="Language / 语言">
        ${Object.entries(LANGUAGES).map(
          ([name, lang]) => html`<button
            type="button" lang=${lang} aria-pressed=${language === name} onClick=${() => translate(name)}
          >${NAMES[name]}</button>`,
        )}
      </span>
    </div>
  </header>`;
}
