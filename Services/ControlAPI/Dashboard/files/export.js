// What the table shows as a file: CSV for a sheet, JSON for a program.

import { element } from "./dom.js";
import { why } from "./words.js";

const time = (value) => (value ? new Date(value).toISOString() : null);

const row = (agent) => ({
  agent: agent.agent, status: agent.status, why: why(agent), wake_attempts: agent.attempts,
  checkin_deadline_at: time(agent.deadline), last_seen_at: time(agent.lastSeen), role: agent.role, board: agent.board,
  paused: agent.paused, stale_templates: agent.stale,
});

/** What an agent says of itself is text for a sheet, too, and no formula. */
const cell = (value) => `"${String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;

function csv(rows) {
  const names = Object.keys(row({}));
  return [names, ...rows.map((one) => names.map((name) => one[name]))].map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

/** @param form `csv` or `json`. */
export function save(agents, form) {
  const rows = agents.map(row);
  const [type, text] = form === "csv" ? ["text/csv", csv(rows)] : ["application/json", `${JSON.stringify(rows, null, 1)}\n`];
  const url = URL.createObjectURL(new Blob([text], { type }));
  const stamp = new Date().toISOString().slice(0, 19).replace(/\D/g, "");
  element("a", { href: url, download: `agents-${stamp}.${form}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
