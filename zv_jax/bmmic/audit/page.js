// Shows one pair at a time, takes decisions from keys and buttons, keeps and saves them.
(() => {
  const pick = (id) => document.getElementById(id);
  const main = pick("items"), articles = [...main.querySelectorAll("article")];
  const places = new Map(articles.map((article, place) => [article.dataset.id, place]));
  const key = `zv-audit-${main.dataset.audit}`, choices = ["accept", "reject"];
  const decisions = new Map();
  let current = 0;

  const words = (en, zh) => (pick("lang-zh").checked ? zh : en);
  const message = (en, zh) => { pick("message").textContent = words(en, zh); };
  const state = () => ({
    audit: main.dataset.audit,
    who: pick("who").value.trim(),
    decisions: Object.fromEntries(articles.map((a) => a.dataset.id)
      .filter((id) => decisions.has(id)).map((id) => [id, decisions.get(id)])),
  });
  const keep = () => {
    try { localStorage.setItem(key, JSON.stringify(state())); } catch { /* none for a file */ }
  };
  const mark = (article) => {
    const choice = decisions.get(article.dataset.id);
    if (choice) article.dataset.decision = choice; else delete article.dataset.decision;
    article.querySelector(".mark").textContent =
      choice === "accept" ? `✓ ${words("accepted", "已接受")}`
        : choice === "reject" ? `✗ ${words("rejected", "已拒绝")}` : "";
    pick("done").textContent = String(decisions.size);
  };
  const show = (place) => {
    current = Math.max(0, Math.min(articles.length - 1, place));
    articles.forEach((article, n) => article.classList.toggle("shown", n === current));
    scrollTo(0, 0);
  };
  const decide = (choice) => {
    const article = articles[current];
    if (choice) decisions.set(article.dataset.id, choice); else decisions.delete(article.dataset.id);
    article.querySelector(".verdicts").open = Boolean(choice);
    mark(article);
    keep();
    if (choice && decisions.size === articles.length) {
      message("All pairs are decided: save the decisions.", "全部完成：请保存决定。");
    }
  };
  // A second press of the same key goes on, so that the filters can be read in between.
  const press = (choice) => {
    if (decisions.get(articles[current].dataset.id) === choice) show(current + 1); else decide(choice);
  };
  const save = () => {
    const text = JSON.stringify(state(), null, 1) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "decisions.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    message(`${decisions.size} decisions saved.`, `已保存 ${decisions.size} 个决定。`);
  };
  const take = (text) => {
    let given = null;
    try { given = JSON.parse(text); } catch { /* said below */ }
    if (!given || given.audit !== main.dataset.audit || typeof given.decisions !== "object") {
      message("These are no decisions on this page.", "这不是本页的决定。");
      return false;
    }
    for (const [id, choice] of Object.entries(given.decisions || {})) {
      if (places.has(id) && choices.includes(choice)) decisions.set(id, choice);
    }
    if (typeof given.who === "string") pick("who").value = given.who;
    articles.forEach(mark);
    const open = articles.findIndex((article) => !decisions.has(article.dataset.id));
    show(open < 0 ? 0 : open);
    return true;
  };

  if (!articles.length) return;
  main.classList.add("one");
  let kept = null;
  try { kept = localStorage.getItem(key); } catch { /* none for a file */ }
  if (!kept || !take(kept)) show(0);

  const does = {
    a: () => press("accept"), r: () => press("reject"), u: () => decide(null), s: save,
    j: () => show(current + 1), k: () => show(current - 1),
    arrowright: () => show(current + 1), arrowleft: () => show(current - 1),
    v: () => { const box = articles[current].querySelector(".verdicts"); box.open = !box.open; },
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement && event.target.type !== "radio";
    const act = does[event.key.toLowerCase()];
    if (!act || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  pick("accept").addEventListener("click", () => press("accept"));
  pick("reject").addEventListener("click", () => press("reject"));
  pick("next").addEventListener("click", () => show(current + 1));
  pick("previous").addEventListener("click", () => show(current - 1));
  pick("save").addEventListener("click", save);
  pick("who").addEventListener("input", keep);
  pick("load").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file && take(await file.text())) { keep(); message("Continued.", "已继续。"); }
  });
  for (const id of ["lang-en", "lang-zh"]) {
    pick(id).addEventListener("change", () => articles.forEach(mark));
  }
})();
