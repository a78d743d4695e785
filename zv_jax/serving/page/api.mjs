// The server's API, as every other client uses it.
import { events } from "./sse.mjs";

/** The server says no; `error` is its own object: message, param, expected, fix. */
export class Refused extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, { status, error });
  }
}

/** Nobody answers, or not to the end. */
export class Away extends Error {}

/** The model that is served: its `id`, and what it allows. */
export async function model(key) {
  const reply = await reach("v1/models", { headers: headers(key) });
  return (await reply.json()).data[0];
}

/** Whether the server answers again. */
export async function alive() {
  return fetch("healthz", { cache: "no-store" }).then((reply) => reply.ok, () => false);
}

/**
 * The pieces of the answers: { index, text, reason, weights }; `reason` is null until the last one,
 * `weights` where the server does not name them.
 */
export async function* chat(body, key, signal) {
  const reply = await reach("v1/chat/completions", {
    method: "POST",
    headers: { ...headers(key), "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  for await (const data of heard(reply.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(200, chunk.error);
    for (const { index, delta, finish_reason: reason } of chunk.choices) {
      const weights = chunk.system_fingerprint ?? null;
      yield { index, text: delta.content ?? "", reason, weights };
    }
  }
  throw new Away();
}

/** Where the model looks in each image of a dialogue: { rows, columns, weights }, row by row. */
export async function attention(body, key) {
  const reply = await reach("v1/attention", {
    method: "POST",
    headers: { ...headers(key), "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await reply.json()).data;
}

async function* heard(body) {
  try {
    yield* events(body);
  } catch (error) {
    throw gone(error);
  }
}

async function reach(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    throw gone(error);
  }
  if (!reply.ok) throw await refusal(reply);
  return reply;
}

// What fetch and its streams raise for a broken connection is a TypeError.
const gone = (error) => (error instanceof TypeError ? new Away() : error);

async function refusal(reply) {
  const text = await reply.text();
  try {
    return new Refused(reply.status, JSON.parse(text).error);
  } catch {
    // A proxy in between has pages of its own.
    return new Refused(reply.status, { message: `${reply.status} ${text.slice(0, 300)}` });
  }
}

const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});
