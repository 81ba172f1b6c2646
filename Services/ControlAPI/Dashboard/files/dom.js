// Elements are made and filled as text alone: nothing that came from an agent is ever read as markup.

import { clock, moment } from "./words.js";

/** An element. `properties`: `class`, `text`, `on…` listeners, and attributes; children are nodes or text, `null` is none. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Where the page of an agent is. */
export const agentLink = (address) => `#/agent/${address.split("/").map(encodeURIComponent).join("/")}`;

/** A line of what happened; `about` comes behind the event's name, `notes` at the end. */
export const eventLine = (event, about, notes) => element("li", { "data-event": event.event },
  element("time", { datetime: event.time, title: moment(event.time), text: clock(event.time) }), " ",
  element("b", { text: event.event }), about ? [" ", about] : null, ` ${event.reason ?? ""} `,
  element("span", { class: "quiet", text: notes.filter(Boolean).join(", ") }));

/** Writes only what is new: an unchanged text costs no layout and is not announced again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Calls `body` once in the next frame, however often it is asked. */
export function onceAFrame(body) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      body();
    });
  };
}

/** A list of terms; what is absent is left out. */
export function terms(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", {}, known.flatMap(([name, value]) => [
    element("dt", { text: name }), element("dd", {}, value instanceof Node ? value : String(value)),
  ]));
}
