// Serin's dashboard. It asks for `/v1/stream` and shows what comes; it gives no orders.
// Whatever the daemon says is put in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";
const KEEP_POINTS = 900;
const KEEP_EVENTS = 200;
// A connection that says nothing for so long is dead, whatever TCP thinks of it.
const SILENCE_MS = 6000;
const RETRY_MS = 2000;
const Z95 = 1.959964;

const $ = (id) => document.getElementById(id);

// --- Elements -----------------------------------------------------------------------------------

/** An element with attributes and children; what is no element becomes text. */
function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Sets a text only if it is another: nothing flickers, and selections stay. */
function put(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function mark(target, name, value) {
  if (value === null) target.removeAttribute(name);
  else if (target.getAttribute(name) !== value) target.setAttribute(name, value);
}

/** Rows by key, in the order given; those that are gone are removed. */
function rows(body, keys, make) {
  body.kept ??= new Map();
  const wanted = new Set(keys);
  for (const [key, row] of body.kept) {
    if (!wanted.has(key)) { row.remove(); body.kept.delete(key); }
  }
  return keys.map((key, at) => {
    let row = body.kept.get(key);
    if (!row) { row = make(key); body.kept.set(key, row); }
    if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    return row;
  });
}

// --- Words and numbers --------------------------------------------------------------------------

/** A share that was asked for, exactly. */
const exact = (ppm) => `${Number((ppm / 1e4).toFixed(4))}%`;
/** A share that was measured. */
const rounded = (share) => `${(share * 100).toFixed(2)}%`;
const plain = (number) => `${Number(number.toFixed(number < 10 ? 2 : 1))}`;

function duration(seconds) {
  const [d, h, m, s] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  if (m) return `${m} min ${s} s`;
  return `${s} s`;
}

function latency(us) {
  if (us < 1000) return `${plain(us)} µs`;
  if (us < 1e6) return `${plain(us / 1000)} ms`;
  return `${plain(us / 1e6)} s`;
}

/** Wilson's interval for a share of so many connections. */
function interval(hits, of) {
  if (!of) return null;
  const [share, z2] = [hits / of, Z95 * Z95];
  const middle = (share + z2 / (2 * of)) / (1 + z2 / of);
  const half = (Z95 / (1 + z2 / of)) * Math.sqrt(share * (1 - share) / of + z2 / (4 * of * of));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

const ICONS = {
  holding: "▶", baking: "▶", paused: "‖", scheduled: "◷", promoted: "✓", aborted: "✕", "rolled-back": "↶", "taken-over": "✎",
};
const BAD = new Set(["aborted", "rolled-back"]);

const words = (state) => state.replaceAll("-", " ");
const stateOf = (release) => (release ? words(release.state) : "no release");
const iconOf = (release) => (release ? ICONS[release.state] ?? "…" : "");
const stepOf = (release) => (release?.step ? `${release.step} of ${release.steps}` : NONE);
const leftOf = (release) => (release?.left_s === null || release?.left_s === undefined ? NONE : duration(release.left_s));

/** Both shares of a service, or none. */
function shares(summary) {
  const measured = summary.measured;
  return {
    asked: summary.candidate === null ? null : summary.share_ppm / 1e6,
    hits: measured?.candidate_connections ?? 0,
    of: measured?.connections ?? 0,
  };
}

const measuredOf = ({ hits, of }) => (of ? rounded(hits / of) : NONE);

// --- The table of services ----------------------------------------------------------------------

const cell = (field, label, kind = "") => element("td", { role: "cell", "data-field": field, "data-label": label, class: kind });

function serviceRow(name) {
  const link = element("a", { href: `#/${encodeURIComponent(name)}`, "data-field": "name" }, name);
  return element("tr", { role: "row" },
    element("th", { role: "rowheader", scope: "row" }, link),
    cell("active", "active"), cell("candidate", "candidate"),
    cell("asked", "asked", "number"), cell("measured", "measured", "number"),
    cell("release", "release"), cell("step", "step", "number"), cell("left", "left", "number"));
}

function set(row, values) {
  for (const [field, value] of Object.entries(values)) put(row.querySelector(`[data-field="${field}"]`), value);
}

function showServices(services) {
  const needle = $("filter").value.trim();
  const shown = needle ? services.filter((one) => one.service.includes(needle)) : services;
  $("filter-line").hidden = services.length <= 12 && !needle;
  const table = $("services");
  rows(table.tBodies[0], shown.map((one) => one.service), serviceRow).forEach((row, at) => {
    const one = shown[at];
    const split = shares(one);
    set(row, {
      active: one.active + (one.dead.includes(one.active) ? " (down)" : ""),
      candidate: one.candidate ?? NONE,
      asked: split.asked === null ? NONE : exact(one.share_ppm),
      measured: measuredOf(split),
      release: `${iconOf(one.release)} ${stateOf(one.release)}`.trim(),
      step: stepOf(one.release),
      left: leftOf(one.release),
    });
    mark(row.querySelector('[data-field="release"]'), "class", BAD.has(one.release?.state) ? "bad" : "");
    mark(row, "aria-current", one.service === chosen ? "true" : null);
  });
  table.hidden = !shown.length;
  $("none").hidden = shown.length > 0;
  put($("none"), services.length ? "No name has that." : "There is no service; add a [[service]] to the configuration.");
}

// --- Plots --------------------------------------------------------------------------------------

const HEIGHT = 210;
const ROOM = { left: 56, right: 12, top: 8, bottom: 24 };

/** A frame that is as wide as its place, so that its text keeps its size on a phone. */
function frame(place, label) {
  const width = Math.max(240, place.clientWidth);
  const svg = drawn("svg", { role: "img", "aria-label": label, width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
  const [right, bottom] = [width - ROOM.right, HEIGHT - ROOM.bottom];
  const line = (kind, x1, y1, x2, y2) => svg.append(drawn("path", { class: kind, d: `M${x1} ${y1}L${x2} ${y2}` }));
  return {
    svg,
    x: (part) => ROOM.left + part * (right - ROOM.left),
    y: (part) => bottom - part * (bottom - ROOM.top),
    tickX(at, text) {
      const anchor = at > right - 16 ? "end" : at < ROOM.left + 10 ? "start" : "middle";
      line("grid", at, ROOM.top, at, bottom);
      svg.append(drawn("text", { x: at, y: HEIGHT - 7, "text-anchor": anchor }, text));
    },
    tickY(at, text) {
      line("grid", ROOM.left, at, right, at);
      svg.append(drawn("text", { x: ROOM.left - 6, y: at + 4, "text-anchor": "end" }, text));
    },
    axes() { svg.append(drawn("path", { class: "axis", d: `M${ROOM.left} ${ROOM.top}V${bottom}H${right}` })); },
    path(kind, d) { if (d) svg.append(drawn("path", { class: kind, d })); },
  };
}

function nothing(place, why) {
  if (place.firstChild?.className === "nothing") put(place.firstChild, why);
  else place.replaceChildren(element("p", { class: "nothing" }, why));
}

/** A round number at or above one, as the top of an axis. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= value * 0.999);
}

const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

/** Steps of a value that stays until the next; a gap in time, or no value, breaks the line. */
function line(points, x, y) {
  let d = "";
  let before = null;
  for (const it of points) {
    const value = y(it);
    if (value === null) { before = null; continue; }
    const joined = before !== null && it.at - before < SILENCE_MS;
    d += `${joined ? "L" : "M"}${point(x(it), value)}`;
    before = it.at;
  }
  return d;
}

/** The same for two values, with what is between them filled. */
function band(points, x, low, high) {
  let [d, piece] = ["", []];
  const flush = () => {
    if (piece.length > 1) {
      const up = piece.map((it) => point(x(it), high(it)));
      const down = piece.toReversed().map((it) => point(x(it), low(it)));
      d += `M${[...up, ...down].join("L")}Z`;
    }
    piece = [];
  };
  for (const it of points) {
    if (!it.band || (piece.length && it.at - piece.at(-1).at >= SILENCE_MS)) flush();
    if (it.band) piece.push(it);
  }
  flush();
  return d;
}

function showRamp(points) {
  const place = $("ramp").querySelector(".plot");
  const last = points.at(-1);
  if (!points.some((it) => it.asked !== null)) return nothing(place, "There is no candidate, so there is no share to plot.");
  const known = points.flatMap((it) => [it.asked, it.measured, ...(it.band ?? [])]).filter((it) => it !== null);
  const most = Math.min(1, ceiling(Math.max(0.0001, ...known)));
  const [from, until] = [points[0].at, Math.max(last.at, points[0].at + 10_000)];
  const said = last.asked === null ? "no candidate now" : `asked ${exact(last.asked * 1e6)}, measured ${measuredOf(last)}`
    + (last.band ? `, 95% interval ${rounded(last.band[0])} to ${rounded(last.band[1])}` : "");
  const plot = frame(place, `Candidate's share over the last ${duration(Math.round((last.at - from) / 1000))}: ${said}.`);
  for (const part of [0, 0.25, 0.5, 0.75, 1]) plot.tickY(plot.y(part), exact(Math.round(part * most * 1e6)));
  const span = (until - from) / 1000;
  const step = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400].find((it) => span / it <= 5) ?? 172800;
  for (let ago = 0; ago <= span; ago += step) plot.tickX(plot.x(1 - ago / span), ago ? `−${duration(ago)}` : "now");
  const x = (it) => plot.x((it.at - from) / (until - from) + (until > last.at ? (until - last.at) / (until - from) : 0));
  const y = (value) => (value === null ? null : plot.y(value / most));
  plot.path("band", band(points, x, (it) => y(it.band[0]), (it) => y(it.band[1])));
  plot.path("measured", line(points, x, (it) => y(it.measured)));
  plot.path("asked", line(points, x, (it) => y(it.asked)));
  plot.axes();
  place.replaceChildren(plot.svg);
}

const total = (curve) => curve.reduce((sum, [, hits]) => sum + hits, 0);

/** The value that this part of all is at or below. */
function quantile(curve, part) {
  const wanted = part * total(curve);
  let sum = 0;
  for (const [end, hits] of curve) {
    sum += hits;
    if (sum >= wanted) return end;
  }
  return null;
}

const described = (name, curve) => (curve.length
  ? `${name}: median ${latency(quantile(curve, 0.5))}, 99% ${latency(quantile(curve, 0.99))}, of ${total(curve)}`
  : `${name}: none`);

function showLatency(id, title, curves, why) {
  const figure = $(id);
  const [place, numbers] = [figure.querySelector(".plot"), figure.querySelector(".numbers")];
  const all = curves ? [...curves.candidate, ...curves.baseline] : [];
  if (!all.length) {
    put(numbers, "");
    return nothing(place, why);
  }
  const said = `${described("candidate", curves.candidate)}; ${described("baseline", curves.baseline)}`;
  put(numbers, said);
  const ends = all.map(([end]) => end);
  const [low, high] = [Math.log10(Math.min(...ends) * 0.8), Math.log10(Math.max(...ends) * 1.15)];
  const plot = frame(place, `${title}, part of connections within a time. ${said}.`);
  for (const part of [0, 0.25, 0.5, 0.75, 1]) plot.tickY(plot.y(part), `${part * 100}%`);
  const x = (us) => plot.x(Math.max(0, (Math.log10(us) - low) / (high - low)));
  const factors = high - low < 1.5 ? [1, 2, 5] : [1];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const factor of factors) {
      const us = factor * 10 ** power;
      if (Math.log10(us) >= low && Math.log10(us) <= high) plot.tickX(x(us), latency(us));
    }
  }
  for (const name of ["baseline", "candidate"]) {
    const [curve, of] = [curves[name], total(curves[name])];
    let [d, sum] = ["", 0];
    for (const [end, hits] of curve) {
      sum += hits;
      d += d ? `H${x(end).toFixed(1)}V${plot.y(sum / of).toFixed(1)}` : `M${point(x(end), plot.y(0))}V${plot.y(sum / of).toFixed(1)}`;
    }
    plot.path(name, d && `${d}H${plot.x(1).toFixed(1)}`);
  }
  plot.axes();
  place.replaceChildren(plot.svg);
}

// --- Evidence -----------------------------------------------------------------------------------

function verdictText(verdict) {
  if (verdict === "no-worse") return "No worse, by all signals.";
  if (verdict === "undecided") return "Undecided as yet.";
  if (verdict === "starved") return "Too few connections of the candidate were seen to say.";
  if (verdict.harm) return `Harm, by ${words(verdict.harm)} first.`;
  if (verdict.unsound) return `Unsound: clients that nothing tells apart differ by ${words(verdict.unsound)}.`;
  return `${verdict}`;
}

/** Two bars; the mark on each is its limit. JSON has no number for what is beyond all. */
function bars(one, room) {
  const width = Math.max(240, room);
  const told = [["harm", one.harm, one.harm_limit], ["no worse", one.no_worse, one.no_worse_limit]];
  const number = (value) => (value === null ? "∞" : value.toFixed(1).replace("-", "−"));
  const label = told.map(([name, value, limit]) => `${name} ${number(value)} of ${number(limit)}`).join(", ");
  const svg = drawn("svg", { role: "img", class: "bar", "aria-label": `${words(one.signal)}: ${label}`, width, height: 40, viewBox: `0 0 ${width} 40` });
  const [left, right] = [66, 82];
  told.forEach(([name, value, limit], at) => {
    const [y, whole] = [at * 20 + 3, width - left - right];
    // The limit is at four fifths, so that what is beyond it can be seen.
    const part = value === null ? 1 : Math.min(1, Math.max(0, value / limit) * 0.8);
    svg.append(
      drawn("text", { x: 0, y: y + 12 }, name),
      drawn("rect", { class: "track", x: left, y, width: whole, height: 14 }),
      drawn("rect", { class: name.replace(" ", "-"), x: left, y, width: (part * whole).toFixed(1), height: 14 }),
      drawn("path", { class: "limit", d: `M${left + whole * 0.8} ${y - 2}v18` }),
      drawn("text", { x: width, y: y + 12, "text-anchor": "end" }, `${number(value)} of ${number(limit)}`));
  });
  return svg;
}

function showEvidence(judged) {
  put($("verdict"), judged ? `${verdictText(judged.verdict)} ${judged.judged} connections of ${judged.candidate} were judged, against ${judged.active}.`
    : "None: the release is not judged, or nothing has been measured yet.");
  $("verdict").className = judged?.verdict.harm ? "bad" : "";
  const signals = judged?.signals ?? [];
  const make = () => element("li", {}, element("b"), element("div"), element("p"));
  rows($("evidence"), signals.map((one) => one.signal), make).forEach((item, at) => {
    const [name, place, sentence] = item.children;
    put(name, words(signals[at].signal));
    place.replaceChildren(bars(signals[at], place.clientWidth));
    put(sentence, signals[at].sentence);
  });
  const notes = judged?.notes ?? [];
  rows($("notes"), notes, (note) => element("li", {}, note));
}

// --- Backends -----------------------------------------------------------------------------------

function backendRow() {
  return element("tr", { role: "row" },
    element("th", { role: "rowheader", scope: "row", "data-field": "name" }),
    cell("pool", "pool"), cell("health", "health"), cell("state", "state"),
    cell("weight", "weight", "number"), cell("effective", "effective", "number"),
    cell("connections", "connections", "number"), cell("rate", "a second", "number"));
}

const HEALTH = { up: "▲ up", down: "▼ down", unchecked: "○ unchecked" };

/** Connections a second over the last few seconds. */
function rate(key, at, connections) {
  const seen = counted.get(key) ?? [];
  if (seen.length && connections < seen.at(-1)[1]) seen.length = 0;
  seen.push([at, connections]);
  if (seen.length > 4) seen.shift();
  counted.set(key, seen);
  const [[first, before], elapsed] = [seen[0], at - seen[0][0]];
  return elapsed > 0 ? (connections - before) * 1000 / elapsed : null;
}

function showBackends(status, at) {
  const all = status.pools.flatMap((pool) => pool.backends.map((backend) => [pool, backend]));
  rows($("backends").tBodies[0], all.map(([pool, backend]) => `${pool.name} ${backend.name}`), backendRow).forEach((row, index) => {
    const [pool, backend] = all[index];
    const speed = rate(`${status.service} ${pool.name} ${backend.name}`, at, backend.connections);
    const why = [backend.checks?.why, backend.checks?.flapping ? "flapping" : null, backend.next_hop === "resolved" ? null : `next hop ${words(backend.next_hop)}`].filter(Boolean);
    set(row, {
      name: backend.name,
      pool: `${pool.name} (${pool.role}${pool.dead ? ", dead" : ""})`,
      health: [HEALTH[backend.health] ?? backend.health, ...why].join(", "),
      state: backend.leaving ? `${backend.state}, leaving` : backend.state,
      weight: `${backend.weight}`,
      effective: plain(backend.effective_weight),
      connections: `${backend.connections}`,
      rate: speed === null ? NONE : plain(speed),
    });
    mark(row.querySelector('[data-field="health"]'), "class", backend.health === "down" ? "bad" : backend.health === "up" ? "good" : "");
  });
}

// --- What happened ------------------------------------------------------------------------------

function eventItem(entry) {
  const time = new Date(entry.time);
  const shown = time.toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const object = entry.object ? ` ${entry.object}` : "";
  const change = entry.object && entry.after ? ` (${entry.before ?? NONE} → ${entry.after})` : "";
  const where = [
    entry.step ? `step ${entry.step} of ${entry.steps}` : null,
    entry.candidate ? `${exact(entry.share_ppm)} to ${entry.candidate}` : null,
  ].filter(Boolean).join(", ");
  return element("li", {},
    element("time", { datetime: entry.time, title: entry.time }, shown),
    element("p", {},
      element("strong", {}, words(entry.event) + object), `${change}${entry.cause ? `: ${entry.cause}` : ""} `,
      element("span", { class: "who" }, `by ${entry.actor.name}${where ? `; ${where}` : ""}`)));
}

function addEvents(entries) {
  const list = $("events");
  for (const entry of entries) {
    if (entry.service !== chosen || seen.has(entry.seq)) continue;
    seen.add(entry.seq);
    list.prepend(eventItem(entry));
  }
  while (list.children.length > KEEP_EVENTS) list.lastChild.remove();
}

// --- One service --------------------------------------------------------------------------------

function showGates(gates) {
  const list = $("gates");
  list.hidden = !gates.length;
  rows(list, gates.map((gate) => `${gate.point} ${gate.name}`), () => element("li")).forEach((item, at) => {
    const gate = gates[at];
    put(item, `Gate ${gate.name} (${gate.kind}, ${gate.point}): ${gate.outcome ?? "not asked yet"}${gate.why ? `, ${gate.why}` : ""}`);
  });
}

function showService(detail, summary, at) {
  $("known").hidden = !detail;
  $("gone").hidden = Boolean(detail);
  if (!detail) return;
  const { status, judged } = detail;
  const release = status.release;
  const split = shares(status);
  put($("state").querySelector(".icon"), iconOf(release));
  put($("state").querySelector(".word"), stateOf(release));
  $("state").className = BAD.has(release?.state) ? "bad" : "";
  put($("step"), stepOf(release) + (release?.audience ? `, audience ${release.audience}` : ""));
  put($("asked"), split.asked === null ? NONE : exact(status.share_ppm));
  const known = split.asked !== null && split.of > 0;
  put($("measured"), known ? measuredOf(split) : NONE);
  const between = known && interval(split.hits, split.of);
  put($("interval"), between ? `${rounded(between[0])} to ${rounded(between[1])}, of ${split.of}` : "");
  put($("left"), leftOf(release));
  put($("pools"), status.candidate === null ? status.active : `${status.active} → ${status.candidate}`);
  const waits = [
    release?.reason,
    release?.scheduled_ms ? `It goes on at ${new Date(release.scheduled_ms).toLocaleString()} at the earliest.` : null,
    release?.together?.length ? `It goes at one moment with all of ${release.together.join(", ")}.` : null,
    release?.deadline_left_s ? `It is aborted in ${duration(release.deadline_left_s)}, unless it goes on.` : null,
    status.pending ? `The order to ${status.pending} waits ${duration(status.arming_s ?? 0)} while sessions are pinned.` : null,
  ].filter(Boolean);
  $("why").hidden = !waits.length;
  put($("why"), waits.join(" "));
  showGates(release?.gates ?? []);
  showRamp(history.get(status.service) ?? []);
  const unjudged = "Nothing is measured: the release is not judged.";
  for (const [id, field, title] of [["handshake", "handshake", "Handshake"], ["first-byte", "first_byte", "First byte"]]) {
    const curves = detail.latency?.[field];
    const none = field === "first_byte" && status.forward !== "nat" ? "What servers send is not seen with this way to forward." : "Nothing has been measured yet.";
    showLatency(id, title, curves, curves ? none : unjudged);
  }
  showEvidence(judged);
  showBackends(status, at);
  announce(status.service, release, split, status.share_ppm);
}

/** Tells a screen reader what a release does, once for each change. */
function announce(service, release, split, ppm) {
  const text = `${service}: ${stateOf(release)}${release?.step ? `, step ${stepOf(release)}` : ""}${split.asked === null ? "" : `, asked ${exact(ppm)}`}`;
  put($("said"), text);
}

// --- The stream ---------------------------------------------------------------------------------

let chosen = null;
let source = null;
let heard = 0;
let retry = 0;
/** Points of each service's ramp since the page was opened. */
const history = new Map();
/** Counts of connections that a rate is taken from. */
const counted = new Map();
/** Numbers of the entries that are shown. */
const seen = new Set();
let latest = [];

function remember(services, at) {
  for (const one of services) {
    if (one.candidate === null && one.service !== chosen && !history.has(one.service)) continue;
    const split = shares(one);
    const known = split.asked !== null && split.of > 0;
    const points = history.get(one.service) ?? [];
    points.push({ at, ...split, measured: known ? split.hits / split.of : null, band: known ? interval(split.hits, split.of) : null });
    // Every other of the older half goes: a long ramp is kept whole, if less finely.
    if (points.length > KEEP_POINTS) points.splice(0, KEEP_POINTS / 2, ...points.slice(0, KEEP_POINTS / 2).filter((_, index) => index % 2 === 0));
    history.set(one.service, points);
  }
}

function receive({ target, data }) {
  const told = JSON.parse(data);
  heard = performance.now();
  link("live");
  $("problem").hidden = told.problem === null;
  put($("problem"), told.problem ?? "");
  if (told.services) {
    latest = told.services;
    remember(latest, told.at_ms);
    if (chosen === null) choose();
    showServices(latest);
  }
  // What was on its way when another service was chosen is not of that one.
  if (chosen !== null && target.service === chosen) {
    addEvents(told.events);
    if (told.problem === null) showService(told.detail, latest, told.at_ms);
  }
}

function link(state) {
  mark($("link"), "data-state", state);
  put($("link"), state);
}

function listen() {
  clearTimeout(retry);
  source?.close();
  const query = chosen === null ? "" : `?service=${encodeURIComponent(chosen)}`;
  source = new EventSource(`/v1/stream${query}`);
  source.service = chosen;
  source.onmessage = receive;
  source.onerror = ({ target }) => {
    if (target !== source) return;
    link("reconnecting");
    // A refusal ends an EventSource for good; a lost connection it seeks again by itself.
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(listen, RETRY_MS);
  };
  heard = performance.now();
}

/** The service in the address, or else one whose release is under way, or the first. */
function choose() {
  const { hash } = location;
  // A jump within the page chooses nothing.
  if (chosen !== null && hash && !hash.startsWith("#/")) return;
  const named = hash.startsWith("#/") ? decode(hash.slice(2)) : null;
  const busy = latest.find((one) => one.release?.under_way) ?? latest[0];
  const next = named ?? busy?.service ?? null;
  if (next === chosen) return;
  chosen = next;
  seen.clear();
  $("events").replaceChildren();
  $("detail").hidden = chosen === null;
  $("known").hidden = true;
  put($("detail-title"), chosen ?? "");
  document.title = chosen === null ? "Serin" : `${chosen} · Serin`;
  mark($("log"), "href", `/v1/events?service=${encodeURIComponent(chosen ?? "")}`);
  listen();
}

function decode(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

addEventListener("hashchange", () => {
  choose();
  showServices(latest);
  if (location.hash.startsWith("#/")) $("detail").focus();
});
$("filter").addEventListener("input", () => showServices(latest));
setInterval(() => {
  if (performance.now() - heard > SILENCE_MS) { link("reconnecting"); listen(); }
}, 1000);

choose();
if (source === null) listen();
