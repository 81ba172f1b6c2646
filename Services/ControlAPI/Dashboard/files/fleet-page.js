// The fleet: counts as filters, a search, and the agents, broken first. What is filtered lies in the address.

import { element, setText } from "./dom.js";
import { Table } from "./table.js";
import { SHAPES, STATUSES, needsYou, rank, why } from "./words.js";

const FILTERS = ["needs you", ...STATUSES, "paused"];

const isOf = (agent, filter) =>
  filter === "needs you" ? needsYou(agent) : filter === "paused" ? agent.paused : agent.status === filter;

/**
 * Whether every word is found: `gateway:`, `board:`, `role:`, `status:`, `paused:`, `stale:` and `why:` look in one place,
 * others everywhere.
 */
function isFound(agent, words) {
  return words.every((word) => {
    const [, name, value] = /^(gateway|board|role|status|paused|stale|why):(.+)$/.exec(word) ?? [];
    if (name === "paused" || name === "stale") return agent[name] === (value === "yes");
    if (name === "why") return why(agent).toLowerCase().includes(value);
    if (name) return (agent[name] ?? "").toLowerCase() === value;
    return `${agent.agent} ${agent.role} ${agent.board ?? ""} ${why(agent)}`.toLowerCase().includes(word);
  });
}

/** @returns the page, with `close`. */
export function fleetPage(fleet, parameters) {
  let status = parameters.get("status") ?? "";
  const table = new Table((address) => fleet.agents.get(address));
  const search = element("input", { type: "search", id: "search", value: parameters.get("q") ?? "", spellcheck: "false",
    placeholder: "name, why, gateway: board: stale:yes …", "aria-keyshortcuts": "/",
    oninput: () => { note(); arrange(); } });
  const found = element("span", { class: "found" });
  const moved = element("button", { type: "button", class: "moved", hidden: true, onclick: () => arrange() });
  const buttons = new Map(FILTERS.map((filter) => [filter, element("button", { type: "button", class: "filter",
    "data-filter": filter, onclick: () => { status = status === filter ? "" : filter; note(); arrange(); } },
    element("b", { text: "0" }), ` ${SHAPES[filter] ?? ""} ${filter}`.replace("  ", " "))]));
  const page = element("section", { class: "fleet", "aria-label": "Fleet" },
    element("h1", { class: "hidden", text: "Fleet" }),
    element("div", { class: "filters", role: "group", "aria-label": "Filter by status" }, [...buttons.values()]),
    element("div", { class: "bar" }, element("label", { for: "search", text: "Search" }), search, found, moved),
    table.view);
  let shown = [];
  let isDue = false;

  /** The address says what is shown, so that it can be sent to somebody, and survives a reload. */
  function note() {
    const wanted = new URLSearchParams();
    if (status) wanted.set("status", status);
    if (search.value) wanted.set("q", search.value);
    history.replaceState(null, "", wanted.size ? `#/?${wanted}` : "#/");
  }

  function order() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [];
    for (const agent of fleet.agents.values()) {
      if ((!status || isOf(agent, status)) && isFound(agent, words)) chosen.push([rank(agent), agent.agent]);
    }
    chosen.sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1));
    return chosen.map(([, address]) => address);
  }

  function arrange(wanted = order()) {
    shown = wanted;
    moved.hidden = true;
    table.show(shown);
    setText(found, `${shown.length.toLocaleString("en")} of ${fleet.agents.size.toLocaleString("en")}`);
    for (const [filter, button] of buttons) button.setAttribute("aria-pressed", filter === status);
  }

  function count() {
    const counts = new Map(FILTERS.map((filter) => [filter, 0]));
    for (const agent of fleet.agents.values()) {
      for (const filter of FILTERS) if (isOf(agent, filter)) counts.set(filter, counts.get(filter) + 1);
    }
    for (const [filter, button] of buttons) setText(button.firstChild, counts.get(filter).toLocaleString("en"));
  }

  /** At most once a second: what changed is drawn where it is, and takes its new place when nobody reads the table. */
  function settle() {
    table.draw();
    if (!isDue) return;
    isDue = false;
    count();
    const wanted = order();
    const places = wanted.filter((address, index) => shown[index] !== address).length || shown.length - wanted.length;
    if (places === 0) return arrange(wanted);
    if (!table.isRead || shown.length === 0) return arrange(wanted);
    moved.hidden = false;
    setText(moved, "The order changed: show");
  }

  const changed = () => { isDue = true; };
  fleet.addEventListener("change", changed);
  const timer = setInterval(settle, 500);
  count();
  arrange();
  return {
    node: page, name: "fleet", search: () => search.focus(), move: (by) => table.move(by),
    close() {
      fleet.removeEventListener("change", changed);
      clearInterval(timer);
      table.resize.disconnect();
    },
  };
}
