// The frame of the dashboard: token, link, sentence, pages by their address, keys.

import { agentPage } from "./agent-page.js";
import { get, token } from "./api.js";
import { setText } from "./dom.js";
import { eventsPage } from "./events-page.js";
import { Fleet } from "./fleet.js";
import { fleetPage } from "./fleet-page.js";
import { systemPage } from "./system-page.js";
import { clock, needsYou, sentence } from "./words.js";

const part = (id) => document.getElementById(id);
let fleet = null;
let page = null;

function note(text) {
  part("notice").hidden = !text;
  setText(part("notice"), text ?? "");
}

// MARK: Token

function askToken(reason) {
  leave();
  note(reason);
  setText(part("sentence"), "");
  part("login").hidden = false;
  part("forget").hidden = true;
  part("token").focus();
}

function leave() {
  fleet?.stop();
  fleet = null;
  page?.close();
  page = null;
  part("page").replaceChildren();
  part("found").hidden = true;
  showLink();
}

part("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  token.set(part("token").value.trim());
  try {
    await get("summary");
    part("token").value = "";
    enter();
  } catch (error) {
    if (error.status === 401) token.forget();
    askToken(error.status === 401 ? `This token is not accepted: ${error.message}.` : `${error.message}.`);
  }
});

part("forget").addEventListener("click", () => {
  token.forget();
  askToken("The token is forgotten.");
});

function enter() {
  note(null);
  part("login").hidden = true;
  part("forget").hidden = false;
  fleet = new Fleet();
  fleet.addEventListener("link", showLink);
  fleet.start();
  route();
  askDoctor();
}

// MARK: Head

function showLink() {
  const link = fleet?.link ?? "none";
  part("link").dataset.state = link;
  if (link === "refused") {
    token.forget();
    return askToken(`This token is not accepted any more: ${fleet.problem}.`);
  }
  const since = fleet?.at ? clock(fleet.at) : "never";
  setText(part("link"), { live: "● live", reconnecting: `◌ reconnecting, data of ${since}`,
    silent: `✗ nothing is judged since ${since}` }[link] ?? "not connected");
}

/** How much the doctor finds, beside the way to it. */
async function askDoctor() {
  if (!fleet || document.hidden) return;
  let found = null;
  try {
    found = (await get("doctor")).findings;
  } catch {
    // The link says that nobody answers.
  }
  const count = fleet ? found?.length ?? 0 : 0;
  part("found").hidden = count === 0;
  part("found").dataset.state = found?.some(({ severity }) => severity === "error") ? "ill" : "odd";
  setText(part("found"), `${count} ${count === 1 ? "finding" : "findings"}`);
}
setInterval(askDoctor, 15000);

/** Once a second at most, so that it can be listened to. */
setInterval(() => {
  if (!fleet) return;
  showLink();
  if (!fleet) return;
  note(fleet.problem);
  if (!fleet.isLoaded) return setText(part("sentence"), "Reading the fleet …");
  let needing = 0;
  for (const agent of fleet.agents.values()) if (needsYou(agent)) needing += 1;
  const isOld = fleet.link !== "live";
  setText(part("sentence"), `${isOld ? "Before that: " : ""}${sentence(fleet.agents.size, needing)}`);
  part("sentence").dataset.state = isOld ? "old" : needing ? "ill" : "well";
  document.title = needing ? `(${needing}) Rollcall` : "Rollcall";
}, 1000);

// MARK: Pages

function route() {
  if (!fleet) return;
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const [name, ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
  page?.close();
  if (name === "agent" && rest.length === 2) page = agentPage(fleet, rest.join("/"));
  else if (name === "events") page = eventsPage(fleet);
  else if (name === "system") page = systemPage();
  else page = fleetPage(fleet, new URLSearchParams(query));
  part("page").replaceChildren(page.node);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === page.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

addEventListener("hashchange", route);

// MARK: Keys

let isGoing = false;
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !fleet) return;
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (page?.name === "agent") location.hash = "#/";
    else document.activeElement?.blur();
    return;
  }
  if (event.target.matches("input:not([type=checkbox]), textarea, select") || document.querySelector("dialog[open]")) return;
  const target = isGoing ? { f: "#/", e: "#/events", s: "#/system" }[event.key] : undefined;
  isGoing = event.key === "g";
  if (target) location.hash = target;
  else if (event.key === "/" && page?.search) page.search();
  else if (event.key === "j") page?.move?.(1);
  else if (event.key === "k") page?.move?.(-1);
  else if (event.key === "w" && page?.wake) page.wake();
  else if (event.key === "p" && page?.pause) page.pause();
  else if (event.key === "?") part("help").showModal();
  else return;
  event.preventDefault();
});

if (token.get()) enter();
else askToken(null);
