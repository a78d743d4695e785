// Chooses the language, remembers it, and translates what a style sheet cannot reach.
(() => {
  const zh = document.getElementById("lang-zh"), en = document.getElementById("lang-en");
  const names = ["alt", "aria-label", "title"];
  const key = "zv-report-lang";
  let kept = null;
  try { kept = localStorage.getItem(key); } catch { /* a page opened from disk may have none */ }
  const asked = (navigator.languages || [navigator.language || ""])
    .map((l) => l.toLowerCase().slice(0, 2)).find((l) => l === "zh" || l === "en");
  ((kept || asked) === "zh" ? zh : en).checked = true;
  const show = () => {
    const chinese = zh.checked, title = document.querySelector("title");
    document.documentElement.lang = chinese ? "zh-Hans" : "en";
    title.dataset.en ??= title.textContent;
    title.textContent = chinese ? title.dataset.zh : title.dataset.en;
    for (const name of names) {
      for (const node of document.querySelectorAll(`[data-${name}-zh]`)) {
        if (!node.hasAttribute(`data-${name}-en`)) {
          node.setAttribute(`data-${name}-en`, node.getAttribute(name));
        }
        node.setAttribute(name, node.getAttribute(`data-${name}-${chinese ? "zh" : "en"}`));
      }
    }
  };
  for (const button of [zh, en]) {
    button.addEventListener("change", () => {
      try { localStorage.setItem(key, zh.checked ? "zh" : "en"); } catch { /* as above */ }
      show();
    });
  }
  show();
})();
