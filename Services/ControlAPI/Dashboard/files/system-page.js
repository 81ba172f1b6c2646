// The gateways and Rollcall's own services.

import { get } from "./api.js";
import { element } from "./dom.js";
import { ago } from "./words.js";

const grid = (caption, heads, rows) => element("div", { class: "card wide", tabindex: "0", role: "group", "aria-label": caption },
  element("table", {}, element("caption", { text: caption }),
    element("thead", {}, element("tr", {}, heads.map((text) => element("th", { scope: "col", text })))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell) =>
      element("td", {}, cell instanceof Node ? cell : String(cell ?? ""))))))));

const state = (text, isWell) => element("span", { class: isWell ? "well" : "ill", text: `${isWell ? "●" : "✗"} ${text}` });

/** Why a service cannot do its work, by its own word. */
const trouble = (service) => [service.blind && `judges nobody: ${service.blind}`, service.trouble, service.unserved,
  service.dead_letters && "has dead letters"].filter(Boolean).join("; ");

/** @returns the page, with `close`. */
export function systemPage() {
  const body = element("div");
  const node = element("section", { class: "system", "aria-label": "System" }, element("h1", { text: "System" }), body);
  async function load() {
    try {
      const [{ gateways }, { services }, { by_gateway: counts }] =
        await Promise.all([get("gateways"), get("services"), get("summary")]);
      const now = Date.now();
      body.replaceChildren(
        grid("Gateways", ["Gateway", "State", "Online", "Agents"], gateways.map((one) => [
          element("a", { href: `#/?q=${encodeURIComponent(`gateway:${one.gateway.toLowerCase()}`)}`, text: one.gateway }),
          state(one.state, one.state === "connected"), counts[one.gateway]?.by_status.online, one.agents])),
        grid("Services", ["Service", "State", "Trouble", "Started", "Version"], services.map((one) => [
          `${one.service}/${one.instance}`, state(one.state, one.state === "running" && !trouble(one)), trouble(one),
          ago(Date.parse(one.started_at), now), one.version])));
    } catch (error) {
      body.replaceChildren(element("p", { class: "notice", role: "alert", text: error.message }));
    }
  }
  const timer = setInterval(() => { if (!document.hidden && !body.contains(document.activeElement)) load(); }, 5000);
  load();
  return { node, name: "system", close: () => clearInterval(timer) };
}
