// The ring, and the other nodes of it where [Admin] peers names any: their /status.json is read by
// this page, not by the node. Uses what page.js has.
"use strict";

const PEER_PERIOD_MS = 10000; // Each answer tells of all channels; once in ten seconds costs little.
const HASHES = 2n ** 64n;
const peers = new Map(); // What is known of each: status, requests a second, why it is silent.
let askedPeersAt = -Infinity;

// ---- asking

async function askPeer(peer) {
  const known = peers.get(peer) || { status: null };
  try {
    const answer = await fetch(`http://${peer}/status.json`,
      { credentials: "omit", signal: AbortSignal.timeout(PEER_PERIOD_MS) });
    const status = await answer.json();
    status.at = performance.now();
    const handled = (one) => one.requests.reduce((sum, request) => sum + request.handled, 0);
    const before = known.status;
    const isSame = before && before.node && status.node && before.uptime_s <= status.uptime_s;
    const perSecond = isSame
      ? (handled(status) - handled(before)) / ((status.at - before.at) / 1000) : null;
    peers.set(peer, { status, perSecond, error: null });
  } catch (error) {
    peers.set(peer, { ...known, perSecond: null, error: error.message });
  }
}

// Every node may have the same list: what this page came from is left out.
function askPeers(list) {
  const now = performance.now();
  if (now - askedPeersAt < PEER_PERIOD_MS) return;
  askedPeersAt = now;
  const others = list.filter((peer) => peer !== location.host);
  for (const peer of peers.keys()) if (!others.includes(peer)) peers.delete(peer);
  for (const peer of others) {
    if (!peers.has(peer)) peers.set(peer, { status: null, perSecond: null, error: null });
    askPeer(peer);
  }
}

// ---- drawing

// The hash space, from the top on clockwise. Hashes are told by their first 32 bits.
function arc(range, name, title) {
  const turn = (hash) => (parseInt(hash.slice(0, 8), 16) / 2 ** 32) * 2 * Math.PI;
  const [from, to] = [turn(range.min), turn(range.max) + (2 * Math.PI) / 2 ** 32];
  const path = document.createElementNS(SVG, "path");
  const end = Math.min(to, from + 2 * Math.PI - 0.001);
  const at = (angle) => `${40 * Math.sin(angle)} ${-40 * Math.cos(angle)}`;
  const large = end - from > Math.PI ? 1 : 0;
  path.setAttribute("d", `M ${at(from)} A 40 40 0 ${large} 1 ${at(end)}`);
  path.setAttribute("class", name);
  path.append(document.createElementNS(SVG, "title"));
  path.firstChild.textContent = title;
  return path;
}

function label(x, y, value, name) {
  const element = document.createElementNS(SVG, "text");
  element.setAttribute("x", x);
  element.setAttribute("y", y);
  element.setAttribute("class", name);
  element.textContent = value;
  return element;
}

function percent(share) {
  return `${(share * 100).toFixed(share < 0.1 ? 2 : 1)} %`;
}

// What no node has, and what more than one has, as shares of the hash space.
function coverage(ranges) {
  const number = (hash) => BigInt(`0x${hash}`);
  const sorted = ranges.filter((range) => range.share > 0)
    .map((range) => [number(range.min), number(range.max) + 1n])
    .sort((a, b) => (a[0] < b[0] ? -1 : 1));
  let [next, missing, twice] = [0n, 0n, 0n];
  for (const [from, to] of sorted) {
    if (from > next) missing += from - next;
    else twice += (to < next ? to : next) - from;
    if (to > next) next = to;
  }
  missing += HASHES - next;
  const share = (part) => Number(part) / Number(HASHES);
  return { missing: share(missing), twice: share(twice) };
}

function drawRing(node, others) {
  const ring = $("ring");
  const circle = document.createElementNS(SVG, "circle");
  circle.setAttribute("r", 40);
  const parts = [circle];
  // Beside each other no two look the same, whatever their colours.
  others.sort((a, b) => (a.range.min < b.range.min ? -1 : 1)).forEach(({ name, range }, at) => {
    if (range.share > 0) parts.push(arc(range, at % 2 ? "peer odd" : "peer", name));
  });
  if (node.range.share > 0) parts.push(arc(node.range, "own", "this node"));
  for (const range of node.giving.concat(node.taking ? [node.taking] : [])) {
    parts.push(arc(range, "away", "on its way"));
  }
  parts.push(label(0, 3, percent(node.range.share), ""), label(0, -52, "0", "edge"),
    label(0, 57, "8000…", "edge"));
  ring.replaceChildren(...parts);
  const rest = others.map(({ name, range }) => `; ${name} has ${percent(range.share)}`).join("");
  ring.setAttribute("aria-label", `The hash space: this node has ${percent(node.range.share)}, `
    + `from ${node.range.min} to ${node.range.max}${rest}`);
}

function nodeRow(name, status, perSecond, error) {
  if (!status || !status.node) {
    const state = error ? `No answer: ${error}` : status ? stateOf(status)[0] : "Asked …";
    return { cells: [name, state, "–", "–", "–", "–", "–"], text: [1, 2], bad: Boolean(error) };
  }
  const { node, totals } = status;
  const [message, kind] = error ? [`No answer: ${error}`, "bad"] : stateOf(status);
  return {
    cells: [name, message, `${node.range.min} to ${node.range.max}`, percent(node.range.share),
      count(totals.records), bytes(status.process.resident_bytes), count(perSecond)],
    text: [1, 2], bad: kind === "bad",
  };
}

function showRing(status, perSecond) {
  const answering = [...peers].filter(([, peer]) => peer.status && peer.status.node && !peer.error);
  const others = answering.map(([name, peer]) => ({ name, range: peer.status.node.range }));
  drawRing(status.node, others);
  $("nodes").hidden = !peers.size;
  if (!peers.size) return;
  rows("node-rows", [
    nodeRow(`${location.host} (this one)`, status, perSecond, null),
    ...[...peers].map(([name, peer]) =>
      ({ ...nodeRow(name, peer.status, peer.perSecond, peer.error), href: `http://${name}/` })),
  ], "–");
  const { missing, twice } = coverage([status.node.range, ...others.map((one) => one.range)]);
  const silent = peers.size - answering.length;
  text("coverage", [
    missing ? `${percent(missing)} of the hash space has no node that answers` : "All of the hash space has a node",
    ...(twice ? [`${percent(twice)} has more than one`] : []),
    ...(silent ? [`${silent} of ${peers.size + 1} nodes did not answer`] : []),
  ].join("; "));
  $("coverage").className = missing || twice || silent ? "bad" : "";
}
