// The fleet: counts as filters, a search, and the agents, broken first. What is filtered lies in the address.

import { bulk } from "./bulk.js";
import { element, setText } from "./dom.js";
import { save } from "./export.js";
import { Table } from "./table.js";
import { SHAPES, STATUSES, needsYou, rank, why } from "./words.js";

const FILTERS = ["needs you", ...STATUSES, "paused"];

const ACTIONS = { wake: "Wake", pause: "Pause", resume: "Resume" };
/** By what a column is sorted; what is absent comes last. */
const KEYS = {
  "Agent": (agent) => agent.agent, "Status": rank, "Why": why, "Wakes": (agent) => agent.attempts,
  "Deadline": (agent) => agent.deadline ?? Infinity, "Last seen": (agent) => agent.lastSeen ?? Infinity,
  "Role": (agent) => agent.role, "Board": (agent) => agent.board ?? "\uffff",
};

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
  /** A column, behind a `-` when it is sorted downwards; "" for broken first. */
  let sort = KEYS[parameters.get("sort")?.replace(/^-/, "")] ? parameters.get("sort") : "";
  const chosen = element("span", { class: "found" });
  const acting = element("div", { class: "bar chosen", role: "group", "aria-label": "Chosen agents", hidden: true }, chosen,
    Object.entries(ACTIONS).map(([action, name]) => element("button", { type: "button", text: `${name}…`,
      onclick: () => bulk(action, name, [...table.chosen], () => table.view.focus()) })));
  const table = new Table((address) => fleet.agents.get(address), (name) => {
    sort = sort === name ? `-${name}` : sort === `-${name}` ? "" : name;
    note();
    arrange();
  }, () => {
    acting.hidden = table.chosen.size === 0;
    setText(chosen, `${table.chosen.size.toLocaleString("en")} chosen`);
  });
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
    element("div", { class: "bar" }, element("label", { for: "search", text: "Search" }), search, found, moved,
      element("span", { class: "export", role: "group", "aria-label": "Export what is shown" }, ["csv", "json"].map((form) =>
        element("button", { type: "button", text: form.toUpperCase(), title: `Save what is shown as ${form.toUpperCase()}`,
          onclick: () => save(shown.map((address) => fleet.agents.get(address)).filter(Boolean), form) })))),
    acting, table.view);
  let shown = [];
  let isDue = false;

  /** The address says what is shown, so that it can be sent to somebody, and survives a reload. */
  function note() {
    const wanted = new URLSearchParams();
    if (status) wanted.set("status", status);
    if (search.value) wanted.set("q", search.value);
    if (sort) wanted.set("sort", sort);
    history.replaceState(null, "", wanted.size ? `#/?${wanted}` : "#/");
  }

  function order() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const key = KEYS[sort.replace(/^-/, "")] ?? (() => 0);
    const direction = sort.startsWith("-") ? -1 : 1;
    const found = [];
    for (const agent of fleet.agents.values()) {
      if ((!status || isOf(agent, status)) && isFound(agent, words)) found.push([key(agent), rank(agent), agent.agent]);
    }
    found.sort((a, b) => (a[0] < b[0] ? -direction : a[0] > b[0] ? direction : a[1] - b[1] || (a[2] < b[2] ? -1 : 1)));
    return found.map(([, , address]) => address);
  }

  function arrange(wanted = order()) {
    shown = wanted;
    moved.hidden = true;
    table.show(shown);
    table.sorted(sort.replace(/^-/, ""), sort.startsWith("-") ? "descending" : "ascending");
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
