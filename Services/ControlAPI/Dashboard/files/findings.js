// What `rollcall doctor` finds, as it says it.

import { element } from "./dom.js";
import { moment } from "./words.js";

const finding = (found) => element("li", { class: "finding", "data-id": found.id },
  element("p", { class: found.severity === "error" ? "ill" : "odd" },
    `${found.severity === "error" ? "✗" : "!"} ${found.summary} `, element("code", { class: "quiet", text: found.id })),
  element("p", { class: "quiet", text: found.cause }),
  found.evidence.length ? element("ul", { class: "quiet" }, found.evidence.map(({ what, source, at }) =>
    element("li", { text: `${what} (${source}${at ? `, ${moment(Date.parse(at))}` : ""})` }))) : null,
  element("ul", {}, found.actions.map(({ summary, command }) =>
    element("li", {}, summary, command ? [": ", element("code", { text: command })] : null))));

/** Shows a diagnosis; `well` is said when nothing is found. What is shown already is left alone: somebody may be copying it. */
export function showFindings(node, diagnosis, well) {
  const content = JSON.stringify(diagnosis.findings);
  if (node.dataset.content === content) return;
  node.dataset.content = content;
  node.replaceChildren(diagnosis.findings.length
    ? element("ol", { class: "findings" }, diagnosis.findings.map(finding)) : element("p", { class: "well", text: well }));
}
