"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const pick = id => document.getElementById(id);
const PAGE = 60;
let shown = PAGE;

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}
for (const task of ["", ...new Set(data.samples.map(s => s.task))]) {
  const option = element("option", task || "all · 全部", pick("task"));
  option.value = task;
}
for (const s of data.scores) {
  const row = element("tr", undefined, pick("scores"));
  element("td", s.task, row);
  element("td", `${s.metric} ${s.value.toFixed(2)} [${s.interval.map(v => v.toFixed(2)).join(", ")}]`, row);
  element("td", s.unreadable ? `${s.unreadable} / ${s.n} unreadable · 无法读懂` : "", row);
  element("td", s.protocol, row);
}
function facts(list, name, value) {
  if (value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length)) return;
  element("dt", name, list);
  for (const text of [].concat(value)) element("dd", String(text), list);
}
function counted(texts) {
  const counts = new Map();
  for (const text of texts || []) counts.set(text, (counts.get(text) || 0) + 1);
  return [...counts].map(([text, n]) => n > 1 ? `${text} × ${n}` : text);
}
function card(s) {
  const box = element("article");
  if (s.correct !== null) box.className = s.correct ? "right" : "wrong";
  for (const [number, name] of [].concat(s.image || []).entries()) {
    const figure = element("figure", undefined, box);
    const image = element("img", undefined, figure);
    image.src = name; image.loading = "lazy"; image.alt = "";
    for (const [x1, y1, x2, y2] of (number === 0 && s.boxes) || []) {  // boxes are the first picture's
      const mark = element("span", undefined, figure);
      Object.assign(mark.style, { left: 100 * x1 + "%", top: 100 * y1 + "%",
        width: 100 * (x2 - x1) + "%", height: 100 * (y2 - y1) + "%" });
    }
  }
  const list = element("dl", undefined, box);
  list.lang = s.lang === "zh" ? "zh-Hans" : s.lang;
  facts(list, "question · 问题", s.question);
  facts(list, "options · 选项", (s.options || []).map((text, i) => `(${String.fromCharCode(97 + i)}) ${text}`));
  facts(list, "references · 参考", counted(s.references));
  facts(list, "answer · 回答", s.prediction);
  if (s.compared !== s.prediction) facts(list, "compared · 用于比较", s.compared);
  if (typeof s.score === "number") facts(list, "score · 得分", String(Number(s.score.toFixed(2))));
  element("small", `${s.task} · ${s.id}`, box);
  return box;
}
function draw() {
  const task = pick("task").value, which = pick("which").value;
  const words = pick("words").value.toLowerCase();
  const found = data.samples.filter(s =>
    (!task || s.task === task) &&
    (which === "all" || s.correct === (which === "right")) &&
    (!words || JSON.stringify([s.id, s.question, s.references, s.prediction]).toLowerCase().includes(words)));
  pick("list").replaceChildren(...found.slice(0, shown).map(card));
  pick("count").textContent = `${Math.min(shown, found.length)} / ${found.length}`;
  pick("more").hidden = found.length <= shown;
}
for (const id of ["task", "which", "words"]) pick(id).addEventListener("input", () => { shown = PAGE; draw(); });
pick("more").addEventListener("click", () => { shown += PAGE; draw(); });
draw();
