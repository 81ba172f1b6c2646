// What happens, as it is committed; held still on demand.

import { agentLink, element, eventLine, setText } from "./dom.js";
import { get } from "./api.js";

const LINES_MAX = 500;

const link = (subject) => (subject.includes("/") ? element("a", { href: agentLink(subject), text: subject })
  : element("a", { href: `#/?q=${encodeURIComponent(`gateway:${subject.toLowerCase()}`)}`, text: subject }));

const line = (event) => eventLine(event, link(event.subject), [
  event.event === "offline" ? event.record.last_provision_error : "",
  event.gateway ? `${event.agents} ${event.agents === 1 ? "agent" : "agents"} behind it` : "",
  event.left_out ? `${event.left_out} more in between` : ""]);

/** @returns the page, with `close`. */
export function eventsPage(fleet) {
  let held = null;
  const list = element("ol", { class: "history" });
  const hold = element("button", { type: "button", "aria-pressed": "false", text: "Hold", onclick: () => {
    if (held) add(held);
    held = held ? null : [];
    hold.setAttribute("aria-pressed", held !== null);
    setText(hold, held ? "Go on" : "Hold");
    setText(waiting, "");
  } });
  const waiting = element("span", { class: "quiet", role: "status" });
  const node = element("section", { class: "events", "aria-label": "Events" }, element("h1", { text: "Events" }),
    element("div", { class: "bar" }, hold, waiting), list);

  function add(events) {
    list.prepend(...events.slice(-LINES_MAX).reverse().map(line));
    while (list.childElementCount > LINES_MAX) list.lastChild.remove();
  }

  const heard = ({ detail }) => {
    if (!held) return add([detail]);
    held.push(detail);
    if (held.length > LINES_MAX) held.shift();
    setText(waiting, held.length === LINES_MAX ? `more than ${LINES_MAX} events wait` : `${held.length} events wait`);
  };
  fleet.addEventListener("lifecycle", heard);
  // What went before, for a page that would else begin empty.
  get("history?limit=50").then(({ events }) => list.append(...events.map(line)),
    (error) => setText(waiting, error.message));
  return { node, name: "events", close: () => fleet.removeEventListener("lifecycle", heard) };
}
