// All agents as they are known here: loaded once, then kept in step by the stream of events.

import { Refusal, get, stream } from "./api.js";

const time = (value) => (typeof value === "string" ? Date.parse(value) : value ?? null);

/** An agent as the pages want it, of a record of the API or a row of its table. */
export function agentOf(record) {
  const rejection = record.last_rejection ?? null;
  return {
    agent: record.agent, gateway: record.agent.split("/")[0], board: record.board_id ?? null, role: record.role,
    status: record.status, attempts: record.wake_attempts, deadline: time(record.checkin_deadline_at),
    lastSeen: time(record.last_seen_at), error: record.last_provision_error ?? null,
    reason: record.offline_reason ?? null, note: record.note ?? null,
    rejection: typeof rejection === "string" ? { reason: rejection } : rejection,
    pausedBy: record.paused_by ?? [], paused: record.paused ?? (record.paused_by ?? []).length > 0,
    stale: record.stale_templates ?? isStale(record.templates_digest, record.templates_digest_reported),
    revision: record.revision,
  };
}

const isStale = (wanted, reported) => Boolean(wanted && reported && wanted !== reported);

/** Every agent, of the table of the fleet. */
async function loadAgents() {
  const { columns, rows } = await get("fleet");
  return rows.map((row) => {
    const record = Object.fromEntries(columns.map((name, index) => [name, row[index]]));
    return agentOf({ ...record, agent: `${record.gateway}/${record.agent}`, board_id: record.board });
  });
}

/** Says `change` when agents changed, `link` when the connection did, `lifecycle` with each event. */
export class Fleet extends EventTarget {
  agents = new Map();
  /** `none`, `live`, `reconnecting`, `silent` when the server is there and nobody behind it, or `refused` by the server. */
  link = "none";
  /** The last sign of life, of all that what is shown comes from. */
  at = null;
  problem = null;
  #position = null;
  #abort = new AbortController();
  #reload = null;

  /** Loads, and follows until `stop`. */
  async start() {
    const { signal } = this.#abort;
    for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 15000)) {
      const attempt = new AbortController();
      const end = () => attempt.abort();
      signal.addEventListener("abort", end);
      // The server says something every 15 s: who hears nothing for 20 s is cut off.
      let heardAt = Date.now();
      const watch = setInterval(() => { if (Date.now() - heardAt > 20000) end(); }, 2000);
      try {
        await stream(this.#position, (message) => {
          heardAt = Date.now();
          pause = 500;
          this.#hear(message);
        }, attempt.signal);
      } catch (error) {
        if (error instanceof Refusal && (error.status === 401 || error.status === 403)) {
          this.problem = error.message;
          this.#say("refused");
          return;
        }
      } finally {
        clearInterval(watch);
        signal.removeEventListener("abort", end);
        attempt.abort();
      }
      if (signal.aborted) return;
      this.#say("reconnecting");
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  stop() {
    this.#abort.abort();
    clearInterval(this.#reload);
  }

  #hear(message) {
    this.at = Date.now() - message.silent * 1000;
    if (message.silent > 0) return this.#say("silent");
    if (!message.id) {
      // Before the first event there is nothing to show.
      if (this.link !== "none") this.#say("live");
      return;
    }
    const isFirst = this.#position === null || message.event === "reset";
    this.#position = message.id;
    if (isFirst) this.#load();
    this.#say("live");
    if (message.data === null || message.event === "reset") return;
    const event = JSON.parse(message.data);
    // A gateway's event has none, nor has what an agent is refused that nobody knows.
    if (event.record) this.#take(agentOf(event.record), event.event === "deleted");
    this.dispatchEvent(new CustomEvent("lifecycle", { detail: { ...event, position: message.id } }));
  }

  /** The stream is open already: what changes while the list comes is newer than the list. */
  async #load() {
    // A plain heartbeat makes no event: when an agent was last seen is read anew.
    this.#reload ??= setInterval(() => { if (!document.hidden && this.link === "live") this.#load(); }, 30000);
    try {
      const agents = await loadAgents();
      const there = new Set(agents.map(({ agent }) => agent));
      for (const address of this.agents.keys()) {
        if (!there.has(address)) this.#absent(address);
      }
      for (const agent of agents) this.#take(agent, false);
      this.isLoaded = true;
      this.dispatchEvent(new Event("change"));
    } catch (error) {
      this.problem = error.message;
      this.#say(this.link);
      setTimeout(() => { if (!this.#abort.signal.aborted) this.#load(); }, 3000);
    }
  }

  /** Not in a list: gone, unless it came while the list was made; the next one says. */
  #absent(address) {
    const known = this.agents.get(address);
    if (known.missed) this.agents.delete(address);
    else known.missed = true;
  }

  #take(agent, isGone) {
    const known = this.agents.get(agent.agent);
    if (isGone) this.agents.delete(agent.agent);
    else if (!known || known.revision <= agent.revision) this.agents.set(agent.agent, agent);
    this.dispatchEvent(new Event("change"));
  }

  #say(link) {
    const isNew = this.link !== link;
    this.link = link;
    if (link === "live") this.problem = null;
    if (isNew) this.dispatchEvent(new Event("link"));
  }
}
