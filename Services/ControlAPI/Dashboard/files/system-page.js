// The gateways and Rollcall's own services.

import { get } from "./api.js";
import { element } from "./dom.js";
import { showFindings } from "./findings.js";
import { ago } from "./words.js";

const grid = (caption, heads, rows) => element("div", { class: "card wide", tabindex: "0", role: "group", "aria-label": caption },
  element("table", {}, element("caption", { text: caption }),
    element("thead", {}, element("tr", {}, heads.map((text) => element("th", { scope: "col", text })))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell) =>
      element("td", {}, cell instanceof Node ? cell : String(cell ?? ""))))))));

const state = (text, isWell) => element("span", { class: isWell ? "well" : "ill", text: `${isWell ? "●" : "✗"} ${text}` });

/** How many agents of a gateway are there, are not, and are about to be. */
const shares = (by = {}, total) => {
  const { online = 0, offline = 0, provisioning = 0, updating = 0 } = by;
  return [element("span", { class: "share" }, String(online), total
    ? element("meter", { min: 0, max: total, value: online, "aria-label": `${online} of ${total} online` }) : null),
  offline ? element("span", { class: "ill", text: String(offline) }) : 0, provisioning + updating];
};

/** Why a service cannot do its work, by its own word. */
const trouble = (service) => [service.blind && `judges nobody: ${service.blind}`, service.trouble, service.unserved,
  service.dead_letters && "has dead letters",
  ...(service.warnings ?? []).map(({ detail }) => detail)].filter(Boolean).join("; ");

/** @returns the page, with `close`. */
export function systemPage() {
  const found = element("div");
  const body = element("div");
  const node = element("section", { class: "system", "aria-label": "System" }, element("h1", { text: "System" }),
    element("div", { class: "card" }, element("h2", { text: "Doctor" }), found), body);
  // By itself: it has most to say when the others are not answered.
  async function examine() {
    try {
      showFindings(found, await get("doctor"), "Nothing is wrong.");
    } catch (error) {
      delete found.dataset.content;
      found.replaceChildren(element("p", { class: "ill", text: error.message }));
    }
  }
  async function load() {
    try {
      const [{ gateways }, { services }, { by_gateway: counts }] =
        await Promise.all([get("gateways"), get("services"), get("summary")]);
      const now = Date.now();
      body.replaceChildren(
        grid("Gateways", ["Gateway", "State", "Online", "Offline", "On the way", "Agents"], gateways.map((one) => [
          element("a", { href: `#/?q=${encodeURIComponent(`gateway:${one.gateway.toLowerCase()}`)}`, text: one.gateway }),
          state(one.state, one.state === "connected"), ...shares(counts[one.gateway]?.by_status, one.agents), one.agents])),
        grid("Services", ["Service", "State", "Trouble", "Started", "Version"], services.map((one) => [
          `${one.service}/${one.instance}`, state(one.state, one.state === "running" && !trouble(one)), trouble(one),
          ago(Date.parse(one.started_at), now), one.version])));
    } catch (error) {
      body.replaceChildren(element("p", { class: "notice", role: "alert", text: error.message }));
    }
  }
  const isRead = () => node.contains(document.activeElement);
  const again = (work, pause) => setInterval(() => { if (!document.hidden && !isRead()) work(); }, pause);
  const timers = [again(load, 5000), again(examine, 15000)];
  load();
  examine();
  return { node, name: "system", close: () => timers.forEach(clearInterval) };
}
