// One agent: what is wrong, how that is known, what to do, and what happened.

import { agentPath, get, post } from "./api.js";
import { element, eventLine, setText, terms } from "./dom.js";
import { showFindings } from "./findings.js";
import { agentOf } from "./fleet.js";
import { SHAPES, actions, ago, clock, moment, until, why } from "./words.js";

/** What is known of it, each with its age. */
function evidence(record, now) {
  const wake = record.last_wake_sent_at && Date.parse(record.last_wake_sent_at);
  const delivered = { accepted: "somebody was subscribed", no_subscriber: "nobody was subscribed" }[record.wake_delivery]
    ?? record.wake_delivery;
  const rejected = record.last_rejection;
  return terms([
    ["Last seen", ago(record.last_seen_at && Date.parse(record.last_seen_at), now)],
    ["Last wake", wake && `${ago(wake, now)}${delivered ? `, ${delivered}` : ""}`],
    ["Attempts", `${record.wake_attempts} of ${record.policy.max_wake_attempts}, generation ${record.lifecycle_generation}`],
    ["Rejected", rejected && `${rejected.reason} ×${rejected.count}, ${ago(Date.parse(rejected.at), now)}${rejected.detail ? `: ${rejected.detail}` : ""}`],
    ["Last exit", record.last_exit_status], ["Note", record.note], ["Reports", record.reported_status],
    ["Paused by", record.paused_by.join(", ")], ["Paused until", moment(record.paused_until)],
  ]);
}

const entry = (event) => eventLine(event, null, [
  `generation ${event.record.lifecycle_generation}`,
  event.record.wake_attempts ? `wake ${event.record.wake_attempts} of ${event.record.policy.max_wake_attempts}` : "",
  event.event === "offline" ? event.record.last_provision_error : "",
]);

/** @returns the page, with `close`. */
export function agentPage(fleet, address) {
  const title = element("h1", { text: address });
  const verdict = element("p", { class: "verdict" });
  const known = element("div");
  const deadline = element("p", { class: "deadline", role: "timer", "aria-live": "off" });
  const todo = element("div");
  const doing = element("div", { class: "actions" });
  const answer = element("p", { class: "answer", role: "status" });
  const past = element("ol", { class: "history" });
  const policy = element("div");
  const raw = element("pre", { tabindex: "0", "aria-label": "Record" });
  const node = element("section", { class: "agent", "aria-label": `Agent ${address}` },
    element("a", { href: "#/", text: "‹ Fleet" }), title, verdict, deadline,
    element("div", { class: "columns" },
      element("div", {},
        element("div", { class: "card" }, element("h2", { text: "Evidence" }), known),
        element("div", { class: "card" }, element("h2", { text: "What to do" }), todo, doing, answer),
        element("details", { class: "card" }, element("summary", { text: "Policy" }), policy),
        element("details", { class: "card" }, element("summary", { text: "Record" }), raw)),
      element("div", { class: "card" }, element("h2", { text: "History" }), past)));
  let record = null;
  /** Of the events that are shown: one may come by the stream and by the list. */
  let ids = new Set();
  let buttons = "";

  async function act(action) {
    setText(answer, `${action}: asked …`);
    try {
      await post(`${agentPath(address)}/${action}`);
      setText(answer, `${action}: done, ${clock(Date.now())}`);
      await load();
    } catch (error) {
      setText(answer, `${action}: ${error.message}`);
    }
  }

  function tick() {
    if (!record) return;
    const now = Date.now();
    const due = record.checkin_deadline_at && Date.parse(record.checkin_deadline_at);
    setText(deadline, due ? `Its check-in is due ${until(due, now)} (${clock(due)}).` : "");
    known.replaceChildren(evidence(record, now));
  }

  function show(next) {
    if (record && record.revision > next.revision) return;
    record = next;
    const agent = agentOf(record);
    verdict.dataset.status = agent.status;
    setText(verdict, `${SHAPES[agent.status]} ${agent.status}${why(agent) ? `: ${why(agent)}` : ""}`);
    const list = actions(agent);
    const wanted = list.map(({ action }) => action).join();
    if (wanted !== buttons) {
      buttons = wanted;
      doing.replaceChildren(...list.map(({ action, name, shell }) => element("div", {},
        element("button", { type: "button", "data-action": action, text: name, onclick: () => act(action) }),
        element("code", { text: shell }))));
    }
    const kinds = new Set(Object.keys(record.policy_overrides));
    policy.replaceChildren(terms(Object.entries(record.policy).map(([name, value]) =>
      [name, `${value}${kinds.has(name) ? " (this agent's own)" : ""}`])));
    setText(raw, JSON.stringify(record, null, 2));
    tick();
  }

  /** What the doctor says of it and of what it needs. */
  async function examine() {
    try {
      showFindings(todo, await get(agentPath(address).replace("agents", "doctor")), "Nothing to do.");
    } catch (error) {
      if (!todo.hasChildNodes()) setText(todo, error.message);
    }
  }

  async function load() {
    examine();
    try {
      const [one, events] = await Promise.all([
        get(agentPath(address)), get(`${agentPath(address)}/history?limit=100`)]);
      show(one.record);
      ids = new Set(events.events.map(({ id }) => id));
      past.replaceChildren(...events.events.map(entry));
    } catch (error) {
      setText(verdict, error.message);
    }
  }

  const heard = ({ detail }) => {
    if (detail.record?.agent !== address) return;
    show(detail.record);
    if (!ids.has(detail.id)) past.prepend(entry(detail));
    ids.add(detail.id);
    examine();
    if (detail.event === "deleted") setText(verdict, "It was deleted.");
  };
  fleet.addEventListener("lifecycle", heard);
  const timer = setInterval(tick, 1000);
  // A plain heartbeat makes no event.
  const again = setInterval(() => { if (!document.hidden) load(); }, 10000);
  load();
  return {
    node, name: "agent", wake: () => act("wake"),
    pause: () => record && act(record.paused_by.includes("agent") ? "resume" : "pause"),
    close() {
      fleet.removeEventListener("lifecycle", heard);
      clearInterval(timer);
      clearInterval(again);
    },
  };
}
