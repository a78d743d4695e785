// What is read aloud of a growing answer: sentence after sentence, never a token.

const END = /[。！？!?\n]|\.(?=\s)/g;

/** The length of the part of `text` that is made of complete sentences. */
export function complete(text) {
  let end = 0;
  for (const match of text.matchAll(END)) end = match.index + 1;
  return end;
}
