// A grid for any number of agents: only the rows on screen exist, and they are reused while one scrolls.

import { agentLink, element, onceAFrame, setText } from "./dom.js";
import { SHAPES, ago, needsYou, until, why } from "./words.js";

const COLUMNS = ["Agent", "Status", "Why", "Wakes", "Deadline", "Last seen", "Role", "Board"];

export class Table {
  #order = [];
  #rows = [];
  #current = 0;
  #lookup;
  #choosing;
  /** The addresses that are chosen, of those that are shown. */
  chosen = new Set();

  /**
   * @param lookup the agent of an address, or `undefined`.
   * @param sorting called with the name of a column.
   * @param choosing called when others are chosen.
   */
  constructor(lookup, sorting, choosing) {
    this.#lookup = lookup;
    this.#choosing = choosing;
    this.all = element("input", { type: "checkbox", "aria-label": "Choose all that are shown", onchange: () => this.#chooseAll() });
    this.heads = new Map(COLUMNS.map((name) => [name, element("span", { role: "columnheader", "aria-sort": "none" },
      element("button", { type: "button", text: name, onclick: () => sorting(name) }))]));
    this.draw = onceAFrame(() => this.#draw());
    this.body = element("div", { class: "rows", role: "rowgroup" });
    this.view = element("div", { class: "view", tabindex: "0", role: "grid", "aria-label": "Agents",
      "aria-colcount": COLUMNS.length + 1, "aria-multiselectable": "true", onscroll: this.draw, onkeydown: (event) => this.#key(event), onfocus: this.draw },
      element("div", { class: "row head", role: "row", "aria-rowindex": "1" },
        element("span", { role: "columnheader", class: "pick" }, this.all), [...this.heads.values()]),
      this.body);
    this.resize = new ResizeObserver(this.draw);
    this.resize.observe(this.view);
  }

  /** Shows these addresses in this order; the row that was chosen stays so. */
  show(order) {
    const chosen = this.#order[this.#current];
    this.#order = order;
    this.#current = Math.max(0, order.indexOf(chosen));
    const shown = new Set(order);
    this.#choose([...this.chosen].filter((address) => shown.has(address)));
    this.view.setAttribute("aria-rowcount", order.length + 1);
    this.draw();
  }

  /** Says by which column it is sorted: `ascending`, `descending`. */
  sorted(by, direction) {
    for (const [name, head] of this.heads) head.setAttribute("aria-sort", name === by ? direction : "none");
  }

  #choose(addresses) {
    this.chosen = new Set(addresses);
    this.all.checked = this.chosen.size > 0 && this.chosen.size === this.#order.length;
    this.all.indeterminate = this.chosen.size > 0 && !this.all.checked;
    this.#choosing();
    this.draw();
  }

  #chooseAll() { this.#choose(this.all.checked ? this.#order : []); }

  #toggle(address) {
    if (!this.chosen.delete(address)) this.chosen.add(address);
    this.#choose(this.chosen);
  }

  /** Whether somebody reads it just now: then no row may move. */
  get isRead() {
    return this.view.scrollTop > 0 || this.view.matches(":hover") || this.view.contains(document.activeElement);
  }

  move(by) {
    if (this.#order.length === 0) return;
    this.#current = Math.min(this.#order.length - 1, Math.max(0, this.#current + by));
    const height = this.#height();
    const top = this.#current * height;
    const room = this.view.clientHeight - height;
    if (top < this.view.scrollTop) this.view.scrollTop = top;
    else if (top + height > this.view.scrollTop + room) this.view.scrollTop = top + height - room;
    this.view.focus({ preventScroll: true });
    this.draw();
  }

  #height() {
    return parseFloat(getComputedStyle(this.view).getPropertyValue("--row")) || 32;
  }

  #key(event) {
    if (event.target !== this.view) return;
    const page = Math.max(1, Math.floor(this.view.clientHeight / this.#height()) - 2);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (by !== undefined) this.move(by);
    else if (event.key === " " && this.#order.length > 0) this.#toggle(this.#order[this.#current]);
    else if (event.key === "Enter" && this.#order.length > 0) location.hash = agentLink(this.#order[this.#current]);
    else return;
    event.preventDefault();
  }

  #make() {
    const link = element("a", { tabindex: "-1" });
    const cells = COLUMNS.map((name, index) =>
      element("span", { role: "gridcell", class: `cell ${name.toLowerCase().replace(" ", "-")}` }, index === 0 ? link : null));
    const box = element("input", { type: "checkbox", tabindex: "-1", onchange: () => this.#toggle(link.textContent) });
    const pick = element("span", { role: "gridcell", class: "cell pick", onclick: (event) => event.stopPropagation() }, box);
    const row = element("div", { class: "row", role: "row" }, pick, cells);
    row.addEventListener("click", () => { location.hash = link.getAttribute("href"); });
    this.body.append(row);
    return { row, link, cells, box };
  }

  #draw() {
    const height = this.#height();
    this.body.style.height = `${this.#order.length * height}px`;
    const first = Math.max(0, Math.floor(this.view.scrollTop / height) - 3);
    const count = Math.min(this.#order.length - first, Math.ceil(this.view.clientHeight / height) + 6);
    while (this.#rows.length < count) this.#rows.push(this.#make());
    const now = Date.now();
    this.#rows.forEach((parts, slot) => {
      const index = first + slot;
      parts.row.hidden = slot >= count;
      if (slot < count) this.#fill(parts, index, height, now);
    });
    const isFocused = document.activeElement === this.view && this.#order.length > 0;
    if (isFocused) this.view.setAttribute("aria-activedescendant", `row-${this.#current}`);
    else this.view.removeAttribute("aria-activedescendant");
  }

  #fill({ row, link, cells, box }, index, height, now) {
    const address = this.#order[index];
    const agent = this.#lookup(address);
    row.style.transform = `translateY(${index * height}px)`;
    row.id = `row-${index}`;
    row.setAttribute("aria-rowindex", index + 2);
    row.setAttribute("aria-selected", this.chosen.has(address));
    row.classList.toggle("current", index === this.#current);
    box.checked = this.chosen.has(address);
    if (link.textContent !== address) box.setAttribute("aria-label", `Choose ${address}`);
    row.dataset.status = agent?.status ?? "gone";
    row.classList.toggle("needs", agent !== undefined && needsYou(agent));
    if (link.getAttribute("href") !== agentLink(address)) link.setAttribute("href", agentLink(address));
    setText(link, address);
    const values = agent
      ? [`${SHAPES[agent.status] ?? "?"} ${agent.status}`, why(agent), agent.attempts ? String(agent.attempts) : "",
        until(agent.deadline, now), ago(agent.lastSeen, now), agent.role, agent.board ?? ""]
      : ["– deleted", "", "", "", "", "", ""];
    values.forEach((value, column) => setText(cells[column + 1], value));
    if (cells[2].title !== values[1]) cells[2].title = values[1];
  }
}
