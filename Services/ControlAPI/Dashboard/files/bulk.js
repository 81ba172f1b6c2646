// One action for many agents: confirmed by their number, and carried out at a pace that the server takes.

import { agentPath, get, post } from "./api.js";
import { element, setText } from "./dom.js";
import { span } from "./words.js";

const AT_A_TIME = 4;
/** Of a gateway that says nothing else. */
const WAKES_A_SECOND = 50;

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** How long the wakes of these agents take at least: each gateway has a pace of its own. */
async function pace(addresses) {
  const counts = new Map();
  for (const address of addresses) {
    const gateway = address.split("/")[0];
    counts.set(gateway, (counts.get(gateway) ?? 0) + 1);
  }
  const { gateways } = await get("gateways");
  const rates = new Map(gateways.map((one) => [one.gateway, parseFloat(one.policy?.wake_rate) || WAKES_A_SECOND]));
  const seconds = Math.max(...[...counts].map(([gateway, count]) => count / (rates.get(gateway) ?? WAKES_A_SECOND)));
  return `Wakes go out at ${[...new Set([...counts.keys()].map((gateway) => rates.get(gateway) ?? WAKES_A_SECOND))].join(" or ")}`
    + ` a second for each gateway: ${span(seconds * 1000)} at least.`;
}

/** Asks whether it is meant, does it, and says how far it is; `done` is called when its dialog is closed. */
export function bulk(action, name, addresses, done) {
  const count = addresses.length;
  const title = `${name} ${count.toLocaleString("en")} ${count === 1 ? "agent" : "agents"}`;
  const how = element("p", { text: "" });
  const typed = element("input", { id: "bulk-count", inputmode: "numeric", autocomplete: "off",
    oninput: () => { go.disabled = typed.value.trim() !== String(count); } });
  const go = element("button", { type: "submit", disabled: true, text: name });
  const close = element("button", { type: "button", text: "Cancel", onclick: () => dialog.close() });
  const bar = element("progress", { max: count, value: 0, hidden: true, "aria-label": "Progress" });
  const answer = element("p", { role: "status" });
  const dialog = element("dialog", { class: "bulk", "aria-labelledby": "bulk-title" },
    element("form", { onsubmit: run }, element("h2", { id: "bulk-title", text: title }), how,
      element("label", { for: "bulk-count", text: `Type ${count} to confirm` }), typed, bar, answer,
      element("div", { class: "bar" }, go, close)));
  let next = 0;
  let ended = 0;
  let refused = 0;
  let problem = "";

  const tell = () => {
    bar.value = ended;
    setText(answer, `${ended.toLocaleString("en")} of ${count.toLocaleString("en")}${refused ? `, ${refused} refused: ${problem}` : ""}`);
  };

  async function work() {
    while (next < count && dialog.open) {
      const address = addresses[next++];
      for (;;) {
        try {
          await post(`${agentPath(address)}/${action}`);
        } catch (error) {
          if (error.status === 429 && dialog.open) {
            await wait(1000);
            continue;
          }
          refused += 1;
          problem = `${address}: ${error.message}`;
        }
        break;
      }
      ended += 1;
      tell();
    }
  }

  async function run(event) {
    event.preventDefault();
    go.hidden = typed.disabled = true;
    bar.hidden = false;
    setText(close, "Stop");
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
    setText(close, "Close");
    close.focus();
  }

  dialog.addEventListener("close", () => {
    dialog.remove();
    done();
  });
  document.body.append(dialog);
  dialog.showModal();
  typed.focus();
  if (action === "wake") pace(addresses).then((text) => setText(how, text), (error) => setText(how, error.message));
}
