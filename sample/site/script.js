// Fills the list of checks: each one shows a thing that a page needs from the server it will run on.
// Tests read the outcome from the class of each item, and from `data-done` on <html> once all have ended.

const waiting = new Set(["protocol", "api", "cross", "socket", "events", "third-party"]);

function report(name, outcome, text) {
  if (!waiting.delete(name)) return;
  const item = document.getElementById(`check-${name}`);
  item.className = outcome;
  item.querySelector("span").textContent = text;
  if (waiting.size === 0) document.documentElement.dataset.done = "yes";
}

async function getJson(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

function checkProtocol() {
  const [entry] = performance.getEntriesByType("navigation");
  const spoken = entry?.nextHopProtocol || "not told";
  const secure = location.protocol === "https:" && window.isSecureContext;
  report("protocol", secure ? "good" : "bad", `${spoken}, ${secure ? "a secure context" : "not a secure context"}`);
}

function checkApi() {
  getJson("/api/hello").then(
    (hello) => report("api", "good", `“${hello.message}”`),
    (error) => report("api", "bad", `did not answer: ${error.message}`),
  );
}

function checkCross() {
  getJson("https://api.example.com/hello").then(
    (hello) => report("cross", "good", `${hello.host} allowed this page to read it`),
    (error) => report("cross", "bad", `did not answer: ${error.message}`),
  );
}

function checkSocket() {
  const words = `ping ${Math.random().toString(36).slice(2, 8)}`;
  const started = performance.now();
  const socket = new WebSocket(`wss://${location.host}/live`);
  socket.onopen = () => socket.send(words);
  socket.onmessage = ({ data }) => {
    const took = (performance.now() - started).toFixed(1);
    report("socket", data === words ? "good" : "bad", data === words ? `“${words}” came back in ${took} ms` : `came back as “${data}”`);
    socket.close();
  };
  socket.onclose = () => report("socket", "bad", "closed before it answered");
}

function checkEvents() {
  const events = new EventSource("/events");
  let seen = 0;
  events.onmessage = ({ data }) => {
    seen += 1;
    if (seen < 3) return;
    events.close();
    report("events", "good", `three came one by one, the last: “${data}”`);
  };
  events.onerror = () => {
    events.close();
    report("events", "bad", "the stream broke off");
  };
}

// The attributes on the script element note what happened before this file ran; the listeners, what happens later.
function checkThirdParty() {
  const script = document.querySelector("script[data-third-party]");
  const loaded = () => report("third-party", "good", "loaded: this network forwards it (-w)");
  const refused = () => report("third-party", "held", "refused, and counted in the ledger (see -w)");
  if (script.dataset.outcome === "loaded") return loaded();
  if (script.dataset.outcome === "refused") return refused();
  script.addEventListener("load", loaded);
  script.addEventListener("error", refused);
}

document.getElementById("host").textContent = location.host;
checkProtocol();
checkApi();
checkCross();
checkSocket();
checkEvents();
checkThirdParty();
