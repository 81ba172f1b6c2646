// What states and times are called, and which agents need somebody: pure functions.

/** In the order of worry: a filter each. */
export const STATUSES = ["offline", "updating", "provisioning", "deleting", "online"];
export const SHAPES = { offline: "✗", updating: "◐", provisioning: "◔", deleting: "–", online: "●" };

/** An agent that should be there and is not: Rollcall has done what it can. One that said goodbye, or that nobody has woken, rests. */
export const needsYou = (agent) =>
  agent.status === "offline" && !agent.paused && agent.reason !== "never_woken" && agent.reason !== "goodbye";

/** Broken first; the healthy last. */
export function rank(agent) {
  if (needsYou(agent)) return 0;
  if (agent.status === "updating" || agent.status === "provisioning") return agent.error || agent.attempts > 1 ? 1 : 2;
  if (agent.status === "deleting") return 3;
  return agent.status === "offline" ? 4 : agent.rejection ? 5 : 6;
}

/** Why an agent is as it is, in one line: what is particular to it comes first. */
export function why(agent) {
  const told = agent.error?.replace(/^Agent did not check in after wake; max wake attempts reached(: )?/,
    (_, more) => `no check-in after ${agent.attempts} ${agent.attempts === 1 ? "wake" : "wakes"}${more ?? ""}`)
    || rejection(agent);
  if (agent.paused) return `paused${told ? `; ${told}` : ""}`;
  if (told && agent.status !== "online") return told;
  switch (agent.status) {
    case "offline":
      return { never_woken: "never woken", goodbye: "it said goodbye", lapsed: "it fell silent",
        checkin_missed: "it did not check in" }[agent.reason] ?? "";
    case "updating":
    case "provisioning":
      return agent.attempts === 0 ? "about to be woken"
        : agent.attempts > 1 ? `missed ${agent.attempts - 1} of ${agent.attempts} wakes` : "woken, waiting for its check-in";
    default: return told || agent.note || "";
  }
}

const rejection = (agent) =>
  agent.rejection ? `heartbeats rejected: ${agent.rejection.reason}${agent.rejection.count ? ` ×${agent.rejection.count}` : ""}` : "";

/** The state of the fleet as one sentence. */
export function sentence(agents, needing) {
  if (agents === 0) return "No agents yet: rollcall provision GW/AGENT adds one.";
  const all = `${agents.toLocaleString("en")} ${agents === 1 ? "agent" : "agents"}`;
  if (needing === 0) return `None of ${all} needs you.`;
  return `${needing.toLocaleString("en")} of ${all} ${needing === 1 ? "needs" : "need"} you.`;
}

/** A duration in its two largest units. */
export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

export const ago = (time, now) => (time ? `${span(now - time)} ago` : "never");

/** How long until a deadline; `""` when there is none. */
export const until = (time, now) => (!time ? "" : time > now ? `in ${span(time - now)}` : "now");

export const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
export const moment = (time) => (time ? new Date(time).toLocaleString("en-GB") : "");

/** What somebody may do about an agent: the action of the API, its name, the same for a shell. */
export function actions(agent) {
  const list = [{ action: "wake", name: "Wake", shell: `rollcall wake ${agent.agent}` }];
  const pause = agent.pausedBy.includes("agent") ? "resume" : "pause";
  list.push({ action: pause, name: pause === "pause" ? "Pause" : "Resume", shell: `rollcall ${pause} ${agent.agent}` });
  return list;
}
