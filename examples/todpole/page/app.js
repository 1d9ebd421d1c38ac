// The pond's page: brings the line, the pond and the canvas together with what people do.

import { Line } from "./line.js";
import { Painter } from "./painter.js";
import { Pond } from "./pond.js";

const get = (id) => document.getElementById(id);

// How often our place is sent: while we move, and as a sign of life while we rest.
const MOVING = 180;
const RESTING = 4_000;

// One that has just come does not see those who rest; they show themselves, not all at once.
const SHOW_WITHIN = 600;

// All pages together would say too much.
const TEXTS_AT_ONCE = 5;
const TEXT_COMES_BACK = 1_500;

const KEYS = new Map([
  ["ArrowUp", [0, -1]],
  ["ArrowDown", [0, 1]],
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
]);

const canvas = get("pond");
const text = get("text");
const pond = new Pond();
const painter = new Painter(canvas);
const line = new Line(socketUrl(), { up() {}, message, connecting, down });

const pointer = { at: null, held: false };
const held = new Set();
const sent = { at: 0, x: 0, y: 0, angle: 0, name: null };
let texts = TEXTS_AT_ONCE;
let countdown = 0;

function socketUrl() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}/`;
}

// ---- The line

function connecting() {
  clearInterval(countdown);
  show("connecting", "Connecting…");
}

function down(delay) {
  pond.me.id = null;
  const due = Date.now() + delay;
  const tell = () => {
    const seconds = Math.max(1, Math.ceil((due - Date.now()) / 1000));
    show("lost", `No connection. Next try in ${seconds} s.`);
  };
  clearInterval(countdown);
  countdown = setInterval(tell, 500);
  tell();
}

function message(data) {
  let said;
  try {
    said = JSON.parse(data);
  } catch {
    return;
  }
  switch (said?.type) {
    case "welcome":
      welcome(said.id);
      break;
    case "update":
      update(said);
      break;
    case "message":
      hear(said.id, String(said.message ?? ""));
      break;
    case "closed":
      pond.others.delete(said.id);
      list();
      break;
  }
}

function show(state, words) {
  Object.assign(get("state").dataset, { state });
  get("state").textContent = words;
}

function welcome(id) {
  line.settled();
  pond.me.id = id;
  pond.others.clear();
  show("online", "Connected");
  report();
  list();
}

function update(said) {
  const [x, y, angle, momentum] = [said.x, said.y, said.angle, said.momentum].map(Number);
  if (![x, y, angle, momentum].every(Number.isFinite)) return;
  const name = String(said.name ?? "");
  if (said.id === pond.me.id) {
    pond.me.name = name;
  } else if (pond.update({ id: said.id, x, y, angle, momentum, name })) {
    setTimeout(report, Math.random() * SHOW_WITHIN);
  }
  list();
}

function hear(id, words) {
  const swimmer = pond.find(id);
  if (!swimmer || !words) return;
  swimmer.say(words);
  const entry = document.createElement("li");
  entry.textContent = `${swimmer.name}: ${words}`;
  get("said").append(entry);
  if (get("said").childElementCount > 50) get("said").firstElementChild.remove();
}

// Sends where we are.
function report() {
  const { id, x, y, angle, momentum } = pond.me;
  if (id === null) return;
  const name = get("name").value.trim();
  const place = {
    type: "update",
    x: x.toFixed(1),
    y: y.toFixed(1),
    angle: angle.toFixed(3),
    momentum: momentum.toFixed(3),
  };
  if (name) place.name = name;
  if (line.send(place)) Object.assign(sent, { at: performance.now(), x, y, angle, name });
}

function reportIfDue(now) {
  const { x, y, angle } = pond.me;
  const moved = Math.hypot(x - sent.x, y - sent.y) > 1 || Math.abs(angle - sent.angle) > 0.1;
  if (now - sent.at > (moved ? MOVING : RESTING)) report();
}

// ---- Who is there, for those who do not see the canvas as well

function list() {
  const entries = new Map([...get("swimmers").children].map((entry) => [entry.dataset.id, entry]));
  for (const { id, name, x, y } of [pond.me, ...pond.others.values()]) {
    if (id === null) continue;
    const entry = entries.get(String(id)) ?? document.createElement("li");
    entries.delete(String(id));
    if (entry.textContent !== name) entry.textContent = name;
    Object.assign(entry.dataset, { id, at: `${Math.round(x)} ${Math.round(y)}` });
    entry.classList.toggle("me", id === pond.me.id);
    if (!entry.isConnected) get("swimmers").append(entry);
  }
  for (const gone of entries.values()) gone.remove();
  get("count").textContent = get("swimmers").childElementCount;
}

// ---- Time

let before = performance.now();

function frame(now) {
  // A page that was hidden does not leap.
  const passed = Math.min(now - before, 200);
  before = now;
  pond.pass(Math.max(0, passed), looksAt(), pointer.held || held.size > 0);
  painter.paint(pond, now);
  reportIfDue(now);
  requestAnimationFrame(frame);
}

function looksAt() {
  if (held.size > 0) {
    const [dx, dy] = [...held].map((key) => KEYS.get(key)).reduce(([ax, ay], [bx, by]) => [ax + bx, ay + by]);
    return dx || dy ? { x: pond.me.x + dx * 100, y: pond.me.y + dy * 100 } : null;
  }
  return pointer.at && painter.inPond(pointer.at.x, pointer.at.y, pond.camera);
}

// ---- What people do

function listen() {
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus();
    pointer.at = { x: event.clientX, y: event.clientY };
    pointer.held = true;
    get("hint").hidden = true;
  };
  canvas.onpointermove = (event) => {
    pointer.at = { x: event.clientX, y: event.clientY };
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    pointer.held = false;
  };
  addEventListener("keydown", press);
  addEventListener("keyup", (event) => held.delete(event.key));
  addEventListener("blur", () => held.clear());
  get("talk").onsubmit = (event) => {
    event.preventDefault();
    talk();
  };
  get("name").value = localStorage.getItem("name") ?? "";
  get("name").onchange = () => {
    localStorage.setItem("name", get("name").value.trim());
    report();
  };
  get("name").onkeydown = (event) => {
    if (event.key === "Enter") canvas.focus();
  };
  setInterval(() => {
    texts = Math.min(TEXTS_AT_ONCE, texts + 1);
  }, TEXT_COMES_BACK);
}

// Arrows swim unless they move in a text; letters begin to talk wherever one is.
function press(event) {
  const field = event.target instanceof HTMLInputElement ? event.target : null;
  if (KEYS.has(event.key) && !field?.value) {
    event.preventDefault();
    held.add(event.key);
    get("hint").hidden = true;
  } else if (!field && event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey) {
    text.focus();
  }
}

function talk() {
  const words = text.value.trim();
  if (!words) {
    canvas.focus();
    return;
  }
  if (texts === 0 || pond.me.id === null || !line.send({ type: "message", message: words })) return;
  texts -= 1;
  text.value = "";
  get("hint").hidden = true;
}

listen();
line.open();
requestAnimationFrame(frame);
