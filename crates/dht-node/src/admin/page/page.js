// Reads /status.json every two seconds and draws it. Nothing is sent but these reads; all text goes
// in as text, never as markup.
"use strict";

const PERIOD_MS = 2000;
const HISTORY_MAX = 150; // Five minutes.
const HISTORY_MIN = 30; // A graph is as wide as a minute at least.
const ROWS_MAX = 200; // Of the table of channels, so that a thousand of them do not slow it down.
const SVG = "http://www.w3.org/2000/svg";
const trail = [];
let last = null;
let paused = false;

const $ = (id) => document.getElementById(id);

function text(id, value) {
  const element = $(id);
  if (element.textContent !== value) element.textContent = value;
}

function count(n) {
  if (n === null || n === undefined) return "–";
  if (n < 10 && n % 1) return n.toFixed(1);
  return Math.round(n).toLocaleString("en-US");
}

function bytes(n) {
  if (n === null || n === undefined) return "–";
  let unit = 0;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

function micros(n) {
  if (n === null) return "–";
  if (n < 1000) return `${Math.round(n)} µs`;
  return n < 1e6 ? `${(n / 1000).toFixed(n < 1e4 ? 1 : 0)} ms` : `${(n / 1e6).toFixed(1)} s`;
}

function span(s) {
  if (s === null || s === undefined) return "–";
  if (s > 0 && s < 0.05) return "< 0.1 s";
  if (s < 10 && s % 1) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

// ---- tables and lists

// A row that is there already is kept, so that a screen reader or a selection stays where it is.
function rows(id, wanted, none) {
  const body = $(id);
  const list = wanted.length ? wanted : [{ cells: [none], span: 9 }];
  while (body.rows.length > list.length) body.deleteRow(-1);
  list.forEach((row, at) => {
    const tr = body.rows[at] || body.insertRow();
    tr.className = row.bad ? "bad-row" : "";
    while (tr.cells.length > row.cells.length) tr.deleteCell(-1);
    row.cells.forEach((value, column) => {
      let cell = tr.cells[column];
      if (!cell) {
        cell = document.createElement(column ? "td" : "th");
        if (!column) cell.scope = "row";
        tr.append(cell);
      }
      const isText = (row.text || []).includes(column);
      cell.className = isText ? "text" : "";
      cell.colSpan = row.span || 1;
      if (row.href && !column) link(cell, row.href, value);
      else if (cell.firstElementChild || cell.textContent !== value) cell.textContent = value;
    });
  });
}

function link(cell, href, value) {
  if (!cell.firstElementChild) cell.replaceChildren(document.createElement("a"));
  const a = cell.firstElementChild;
  if (a.href !== href) a.href = href;
  if (a.textContent !== value) a.textContent = value;
}

function facts(id, wanted) {
  const list = $(id);
  const grouped = list.classList.contains("tiles");
  const holders = [...list.querySelectorAll("dt")].map((dt) => [dt, dt.nextElementSibling]);
  while (holders.length > wanted.length) {
    const [dt, dd] = holders.pop();
    if (grouped) dt.parentElement.remove(); else { dt.remove(); dd.remove(); }
  }
  wanted.forEach(([name, value, state], at) => {
    if (!holders[at]) {
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      const parent = grouped ? list.appendChild(document.createElement("div")) : list;
      parent.append(dt, dd);
      holders[at] = [dt, dd];
    }
    const [dt, dd] = holders[at];
    if (dt.textContent !== name) dt.textContent = name;
    if (dd.textContent !== value) dd.textContent = value;
    dd.className = state || "";
  });
}

// ---- figures between two answers

function pass(request) {
  return `${request.protocol} ${request.request}`;
}

function rates(now, before, seconds) {
  const old = new Map(before.requests.map((request) => [pass(request), request]));
  return now.requests.map((request) => {
    const was = old.get(pass(request));
    const buckets = request.buckets.map((n, at) => n - (was ? was.buckets[at] : 0));
    return {
      ...request,
      perSecond: (request.handled - (was ? was.handled : 0)) / seconds,
      recent: buckets,
    };
  });
}

// The time that a share of the requests does not exceed; within a bucket, evenly spread.
function quantile(buckets, edges, share) {
  const all = buckets.reduce((sum, n) => sum + n, 0);
  if (!all) return null;
  let left = all * share;
  for (let at = 0; at < buckets.length; at += 1) {
    if (left <= buckets[at] && buckets[at]) {
      const from = at ? edges[at - 1] : 0;
      const to = at < edges.length ? edges[at] : edges[edges.length - 1];
      return from + (to - from) * (left / buckets[at]);
    }
    left -= buckets[at];
  }
  return edges[edges.length - 1];
}

function sum(requests) {
  const buckets = [];
  for (const request of requests) {
    request.recent.forEach((n, at) => { buckets[at] = (buckets[at] || 0) + n; });
  }
  return buckets;
}

// ---- graphs

function draw(id, series, show, log) {
  const svg = $(id);
  const [width, height] = [300, 100];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const values = series.flatMap((one) => one.values).filter((n) => n !== null);
  const scale = (n) => (log ? Math.log10(Math.max(n, 10) / 10) : n);
  const top = Math.max(...values.map(scale), log ? 2 : 1) * 1.1;
  const shown = Math.max(trail.length, HISTORY_MIN);
  series.forEach((one, number) => {
    const line = svg.children[number] || svg.appendChild(document.createElementNS(SVG, "polyline"));
    line.setAttribute("class", number ? "two" : "one");
    const first = shown - one.values.length;
    const points = one.values.map((n, at) => [first + at, n]).filter(([, n]) => n !== null);
    line.setAttribute("points", points.map(([at, n]) =>
      `${(at / (shown - 1)) * width},${height - (scale(n) / top) * height}`).join(" "));
  });
  const now = series.map((one) => `${one.name} ${show(one.values.at(-1) ?? null)}`).join(", ");
  const most = values.length ? show(Math.max(...values)) : "–";
  const period = span((shown * PERIOD_MS) / 1000);
  text(`${id}-now`, `${now}; most ${most}`);
  text("graph-period", `Graphs: the last ${period}`);
  svg.setAttribute("aria-label", `Last ${period}: now ${now}; most ${most}`);
}

function drawGraphs() {
  const of = (name) => trail.map((point) => point[name]);
  draw("graph-requests", [{ name: "all", values: of("requests") }], count);
  draw("graph-latency", [
    { name: "p50 ─", values: of("p50") }, { name: "p99 ┄", values: of("p99") },
  ], micros, true);
  draw("graph-bytes", [
    { name: "in ─", values: of("received") }, { name: "out ┄", values: of("sent") },
  ], bytes);
}

// ---- the whole page

function stateOf(status) {
  if (status.phase === "loading") return ["Loading dumps and log", ""];
  if (status.phase === "stopping") return ["Stopping: writes dumps", ""];
  if (status.dumps.trouble) return [`Degraded: ${status.dumps.trouble}`, "bad"];
  return ["Healthy, serving", "good"];
}

function showState(status) {
  const state = $("state");
  const [message, name] = stateOf(status);
  state.className = `state ${name}`;
  text("state", message);
  document.title = `${status.dumps && status.dumps.trouble ? "⚠ " : ""}dhtnode`
    + (status.node ? ` ${status.node.address}:${status.node.port}` : "");
  text("updated", `up ${span(status.uptime_s)}, version ${status.version}, `
    + `as of ${new Date(status.unix_time * 1000).toLocaleTimeString("en-GB")}`);
}

function showRequests(list, edges) {
  const busy = list.filter((request) => request.handled || request.active);
  busy.sort((a, b) => b.perSecond - a.perSecond || b.handled - a.handled);
  rows("requests", busy.map((request) => ({
    cells: [request.request, request.protocol, count(request.perSecond),
      micros(quantile(request.recent, edges, 0.5)), micros(quantile(request.recent, edges, 0.99)),
      count(request.active), count(request.handled), count(request.slow)],
    text: [1],
  })), "No requests yet.");
}

function showChannels(status) {
  const wanted = $("filter").value.trim().toLowerCase();
  const order = $("order").value;
  const found = status.channels.filter((channel) => channel.name.toLowerCase().includes(wanted));
  // Trouble first; a channel that was never dumped is the oldest.
  const key = (channel) => channel[order] ?? Infinity;
  found.sort((a, b) => (b.dump_error ? 1 : 0) - (a.dump_error ? 1 : 0)
    || (order === "name" ? 0 : key(b) - key(a)) || a.name.localeCompare(b.name));
  rows("channel-rows", found.slice(0, ROWS_MAX).map((channel) => ({
    cells: [channel.name, count(channel.records), bytes(channel.value_bytes),
      count(channel.subscribers),
      channel.dump_age_s === null ? "never" : `${span(channel.dump_age_s)} ago`,
      span(channel.dump_took_s), channel.dump_error || "none"],
    bad: Boolean(channel.dump_error), text: [6],
  })), wanted ? "No channel has such a name." : "No channels yet: the first Put makes one.");
  const shown = Math.min(found.length, ROWS_MAX);
  text("channels-caption", `${shown} of ${count(status.totals.channels)} channels`
    + (status.channels.length < status.totals.channels ? " (the largest are looked through)" : ""));
}

function showNode(node) {
  text("where", `${node.address}:${node.port}`);
  facts("node", [
    ["range", `${node.range.min} to ${node.range.max}`], ["share", percent(node.range.share)],
    ["legacy", `${node.address}:${node.port}`], ["neo", `${node.address}:${node.neo_port}`],
    ["workers", `${node.workers}, on ${node.io}`],
    ["moves", node.taking ? `takes ${node.taking.min} to ${node.taking.max}`
      : node.is_giving ? "gives a part away" : "none"],
    ...node.given_away.map((part) => ["given away", `${part.min} to ${part.max}`]),
    ...(node.disputed ? [["undecided", `${node.disputed.min} to ${node.disputed.max}`, "bad"]] : []),
  ]);
}

function showDumps(status) {
  const { dumps, changelog } = status;
  const ages = status.channels.map((channel) => channel.dump_age_s).filter((age) => age !== null);
  facts("dump-facts", [
    ["state", dumps.trouble || "ok", dumps.trouble ? "bad" : "good"],
    ["running", dumps.running ? `channel ${dumps.running}`
      + (dumps.stalled_s === null ? "" : `, stalled for ${span(dumps.stalled_s)}`) : "none"],
    ["oldest dump", ages.length ? `${span(Math.max(...ages))} ago` : "–"],
    ["written", count(dumps.done)],
    ["failed", count(dumps.failures), dumps.failures ? "bad" : ""],
  ]);
  facts("log-facts", changelog ? [
    ["log of changes", bytes(changelog.bytes)],
    ["since the last dumps", bytes(changelog.since_dump_bytes)],
    ["position", changelog.position ? count(changelog.position) : "none yet"],
    ["in all dumps up to", count(changelog.floor)],
    ["closed files", count(changelog.closed_segments)],
    ["level disk", changelog.disk_lost ? "refused: a sync failed" : "ok", changelog.disk_lost ? "bad" : ""],
  ] : [["log of changes", "off: level memory"]]);
}

function showStreams(status) {
  rows("stream-rows", status.streams.slowest.map((stream) => ({
    cells: [stream.peer, `${stream.protocol} ${stream.request}`, stream.channel,
      count(stream.waiting), stream.lag_s ? span(stream.lag_s) : "in step", count(stream.lost),
      `${span(stream.since_s)} ago`],
    text: [1, 2],
    bad: stream.lag_s > 10 || stream.lost > 0,
  })), "Nobody listens to changes.");
  text("streams-caption", `${count(status.streams.count)} Listens and Mirrors, who lags most first; `
    + `${count(status.stream_losses)} changes lost since the start`);
}

function showSlow(slow) {
  rows("slow-rows", slow.last.map((one) => ({
    cells: [new Date(one.unix_time * 1000).toLocaleTimeString("en-GB"), micros(one.ms * 1000),
      micros(one.handling_ms * 1000), `${one.count > 1 ? `${one.count} × ` : ""}${one.protocol} ${one.request}`,
      one.channel || "–", one.key || "–", one.peer],
    text: [3, 4, 5, 6],
  })), slow.threshold_ms === null ? "Not watched." : "None.");
  text("slow-caption", slow.threshold_ms === null ? "Not watched: [Admin] slow_request_ms is 0"
    : `The last requests that took ${micros(slow.threshold_ms * 1000)} or more, from first byte to last`);
}

function showHot(hot) {
  rows("hot-rows", hot.keys.map((one) => ({
    cells: [one.key, one.channel, count(one.per_s), percent(one.share)],
    text: [1],
  })), hot.sample ? "No key stands out." : "Not sampled.");
  text("hot-caption", hot.sample ? `One in ${count(hot.sample)} requests is looked at: `
    + `${count(hot.samples)} in the last ${span(hot.over_s)}` : "Not sampled: [Admin] hot_key_sample is 0");
}

function show(status) {
  showState(status);
  if (!status.node) return;
  const before = last && last.node && last.uptime_s <= status.uptime_s ? last : status;
  const seconds = Math.max((status.at - before.at) / 1000, 0.001);
  const list = rates(status, before, seconds);
  if (before !== status) {
    const all = sum(list);
    trail.push({
      requests: list.reduce((total, request) => total + request.perSecond, 0),
      p50: quantile(all, status.edges_micros, 0.5), p99: quantile(all, status.edges_micros, 0.99),
      received: (status.totals.received_bytes - before.totals.received_bytes) / seconds,
      sent: (status.totals.sent_bytes - before.totals.sent_bytes) / seconds,
    });
    if (trail.length > HISTORY_MAX) trail.shift();
  }
  const newest = trail.at(-1);
  const cpu = ((status.process.cpu_s - before.process.cpu_s) / seconds) * 100;
  const open = status.connections.reduce((total, one) => total + one.open, 0);
  facts("glance", [
    ["requests per s", newest ? count(newest.requests) : "–"],
    ["p99 latency", newest ? micros(newest.p99) : "–"],
    ["records", count(status.totals.records)], ["values", bytes(status.totals.value_bytes)],
    ["memory", bytes(status.process.resident_bytes)],
    ["cores in use", (cpu / 100).toFixed(2)], ["connections", count(open)],
    ["channels", count(status.totals.channels)],
  ]);
  drawGraphs();
  showRequests(list, status.edges_micros);
  showNode(status.node);
  showRing(status, newest ? newest.requests : null);
  showChannels(status);
  showDumps(status);
  showStreams(status);
  showSlow(status.slow);
  showHot(status.hot);
  rows("memory-rows", status.memory.map(([purpose, n]) =>
    ({ cells: [purpose.replace("_", " "), bytes(n)] })), "–");
  rows("queue-rows", status.totals.queues.map(([name, peak, bound]) =>
    ({ cells: [name.replace("_", " "), count(peak), count(bound)] })), "–");
}

async function look() {
  if (!paused && !document.hidden) {
    try {
      const answer = await fetch("/status.json", { signal: AbortSignal.timeout(10 * PERIOD_MS) });
      const status = await answer.json();
      status.at = performance.now();
      show(status);
      last = status;
      askPeers(status.peers);
    } catch (error) {
      $("state").className = "state bad";
      text("state", `No answer from the node (${error.message}); trying again`);
    }
  }
  setTimeout(look, PERIOD_MS);
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  text("pause", paused ? "Go on" : "Pause");
});
for (const id of ["filter", "order"]) {
  $(id).addEventListener("input", () => last && last.node && showChannels(last));
}
look();
