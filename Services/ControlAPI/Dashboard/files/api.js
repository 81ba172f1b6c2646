// The one module that speaks HTTP: every request carries the operator's token.

const KEY = "rollcall-token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

/** A refusal in the server's own words (problem+json), or that nobody answered (`status` 0). */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api/v1/${path}`, {
      ...options, cache: "no-store", headers: { ...options.headers, Authorization: `Bearer ${token.get()}` },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "the server does not answer");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refusal(response.status, problem.detail || problem.title || `status ${response.status}`);
}

/** The answer to a GET. */
export const get = async (path, options) => (await send(path, options)).json();

/** The answer to a command. */
export const post = async (path, body = {}) =>
  (await send(path, {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  })).json();

/** The path of an agent, whose address is `GATEWAY/AGENT`. */
export const agentPath = (address) => `agents/${address.split("/").map(encodeURIComponent).join("/")}`;

/**
 * Reads Server-Sent Events until the stream ends: `EventSource` cannot send a token.
 * @param last the id after which to go on; `null` for from now on.
 * @param heard called with `{id, event, data}`, and with `{silent}` for a sign of life: for how many seconds nobody behind
 *   the server has answered it; 0 when all is well.
 */
export async function stream(last, heard, signal) {
  const headers = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) };
  const response = await send("events", { headers, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith(":")) heard({ silent: Number(/^: silent (\d+)/.exec(block)?.[1] ?? 0) });
      const message = { id: null, event: "message", data: null };
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":");
        const name = line.slice(0, colon);
        if (name in message) message[name] = line.slice(colon + 1).replace(/^ /, "");
      }
      if (message.id !== null) heard({ silent: 0, ...message });
    }
  }
}
