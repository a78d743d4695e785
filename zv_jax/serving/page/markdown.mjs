// A model's text as nodes: Markdown, sanitised, nothing in it fetched, its boxes marked.
import { find, key } from "./boxes.mjs";
import { Marked } from "./vendor/marked.mjs";
import purify from "./vendor/purify.mjs";

const escaped = (text) =>
  text.replace(/[&<>"]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[one]);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // Shown as the model wrote them: markup is text, and an image is its address.
    html: ({ text }) => escaped(text),
    image: ({ raw }) => escaped(raw),
  },
});

const ALLOWED = {
  ALLOWED_TAGS: (
    "p br hr strong em del code pre blockquote ul ol li a h1 h2 h3 h4 h5 h6 table thead tbody tr th td"
  ).split(" "),
  ALLOWED_ATTR: ["href", "start"],
  ALLOWED_URI_REGEXP: /^https?:\/\//i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** A fragment for `text`; `mark(name, text)` makes the node that stands for a box. */
export function rendered(text, mark) {
  const fragment = purify.sanitize(marked.parse(text), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    if (!link.hasAttribute("href")) {
      link.replaceWith(...link.childNodes);
      continue;
    }
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.title = link.href; // where it goes may be another place than its text says
  }
  markBoxes(fragment, mark);
  return fragment;
}

function markBoxes(fragment, mark) {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  for (const node of nodes) {
    const parts = pieces(node.data);
    if (parts.length > 1 || parts[0]?.name) {
      node.replaceWith(...parts.map(({ text, name }) => (name ? mark(name, text) : text)));
    }
  }
}

/** A text cut at its boxes: [{ text, name }], `name` of those that are boxes. */
export function pieces(text) {
  const out = [];
  let from = 0;
  for (const { start, end, box } of find(text)) {
    if (start > from) out.push({ text: text.slice(from, start) });
    out.push({ text: text.slice(start, end), name: key(box) });
    from = end;
  }
  if (from < text.length) out.push({ text: text.slice(from) });
  return out;
}
