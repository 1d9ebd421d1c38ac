// The chat page: brings the line, the conversation and the people together with the two forms.

import { Line } from "./line.js";
import { Messages } from "./messages.js";
import { EVERYONE, People } from "./people.js";
import { login, parse, pong, say } from "./wire.js";

const get = (id) => document.getElementById(id);
const TITLE = document.title;

const text = get("text");
const messages = new Messages();
const people = new People(showRecipient);
const line = new Line(socketUrl(), { up, message, connecting, down });

// `id` is null until the server has let us in; `departed` are those who left before it did.
const me = { id: null, name: "", room: "", departed: new Set() };

// Own texts that were sent and not confirmed, oldest first.
let outbox = [];
let unread = 0;
let countdown = 0;
let enteredBefore = false;

function socketUrl() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}/`;
}

// ---- The line

function connecting() {
  clearInterval(countdown);
  get("lost-text").textContent = "Connecting again…";
  get("retry").hidden = true;
  show("connecting", "Connecting…");
}

function up() {
  people.clear();
  me.departed.clear();
  line.send(login(me.name, me.room));
}

function down(delay) {
  me.id = null;
  for (const sent of outbox) sent.mark.failed("The connection broke before this was confirmed.");
  outbox = [];
  show("lost", "Connection lost");
  get("lost").hidden = false;
  get("retry").hidden = false;
  const due = Date.now() + delay;
  const tell = () => {
    const seconds = Math.max(1, Math.ceil((due - Date.now()) / 1000));
    get("lost-text").textContent = `No connection. Next try in ${seconds} s.`;
  };
  clearInterval(countdown);
  countdown = setInterval(tell, 500);
  tell();
}

function message(data) {
  const event = parse(data);
  switch (event?.type) {
    case "ping":
      line.send(pong());
      break;
    case "entered":
      if (event.people) letIn(event);
      else came(event);
      break;
    case "said":
      said(event);
      break;
    case "left":
      left(event);
      break;
    case "refused":
      refused(event);
      break;
  }
  get("nobody").hidden = me.id === null || people.others > 0 || !messages.silent;
}

function show(state, words) {
  get("state").dataset.state = state;
  get("state-text").textContent = words;
}

// ---- What the server says

function letIn(event) {
  me.id = event.id;
  line.settled();
  get("lost").hidden = true;
  show("online", "Connected");
  const here = [...event.people].filter(([id]) => !me.departed.has(id));
  people.fill(here, me.id);
  showRecipient();
  messages.happened("", enteredBefore ? "You are connected again" : "You entered the room", event.time);
  enteredBefore = true;
}

function came(event) {
  if (!people.has(event.id)) messages.happened(event.name, " came in", event.time);
  people.add(event.id, event.name);
}

function left(event) {
  me.departed.add(event.id);
  people.remove(event.id);
  messages.happened(event.name, " left", event.time);
  if (!people.recipient.here) showRecipient();
}

function said(event) {
  const own = event.from === me.id;
  if (own) outbox.shift()?.mark.done();
  else if (event.to === EVERYONE && !people.has(event.from)) people.add(event.from, event.name);
  let audience = null;
  if (event.to !== EVERYONE) {
    audience = own ? `only to ${people.name(event.to) ?? "someone"}` : "only to you";
  }
  messages.said(event, own, audience);
  if (document.hidden && !own) {
    unread += 1;
    document.title = `(${unread}) ${TITLE}`;
  }
}

function refused(event) {
  if (me.id === null) {
    toWelcome(event.why);
    return;
  }
  outbox.shift()?.mark.failed(event.why);
}

// ---- Writing

function send() {
  const content = text.value.trim();
  const recipient = people.recipient;
  if (!content) return;
  if (me.id === null) {
    notice("Not sent: there is no connection. Your text stays here.");
    return;
  }
  if (!recipient.here) {
    showRecipient();
    return;
  }
  if (!line.send(say(recipient.id, recipient.name, content))) return;
  outbox.push({ mark: messages.pending(content, () => write(content)) });
  notice("");
  write("");
}

// Puts a text into the field, before what is already being written there.
function write(content) {
  text.value = content && text.value ? `${content}\n${text.value}` : content;
  drafted();
  text.focus();
}

// The draft outlives a reload of the page; the field grows with it.
function drafted() {
  sessionStorage.setItem("draft", text.value);
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

function notice(words) {
  get("notice").textContent = words;
}

function showRecipient() {
  const { everyone, here, name } = people.recipient;
  get("composer").classList.toggle("private", !everyone);
  text.placeholder = everyone ? "Message to the room" : `Only ${name} will read this`;
  notice(here ? "" : `${name} is not on the line any more. Choose who gets this.`);
}

// ---- In and out of a room

function enter(name, room) {
  Object.assign(me, { id: null, name, room });
  localStorage.setItem("name", name);
  localStorage.setItem("room", room);
  sessionStorage.setItem("inside", "yes");
  history.replaceState(null, "", `?room_id=${encodeURIComponent(room)}`);
  enteredBefore = false;
  messages.clear();
  people.clear();
  people.choose(EVERYONE);
  get("room-name").textContent = room;
  get("welcome").hidden = true;
  get("lost").hidden = true;
  get("chat").hidden = false;
  text.value = sessionStorage.getItem("draft") ?? "";
  drafted();
  text.focus();
  line.open();
}

function toWelcome(error) {
  line.close();
  clearInterval(countdown);
  outbox = [];
  me.id = null;
  sessionStorage.removeItem("inside");
  get("chat").hidden = true;
  get("welcome").hidden = false;
  get("join-error").textContent = error;
  get("name").focus();
}

function join() {
  const name = get("name").value.trim();
  const room = get("room").value.trim();
  const missing = name === "" ? "name" : room === "" || room === "0" ? "room" : null;
  for (const field of ["name", "room"]) {
    get(field).setAttribute("aria-invalid", String(field === missing));
  }
  if (missing) {
    get("join-error").textContent = missing === "name" ? "Please pick a name." : "Please pick a room other than 0.";
    get(missing).focus();
    return;
  }
  get("join-error").textContent = "";
  enter(name, room);
}

// ---- The list of people on a narrow screen

function togglePeople(open) {
  get("people").classList.toggle("open", open);
  get("show-people").setAttribute("aria-expanded", String(open));
  get(open ? "hide-people" : "show-people").focus();
}

// ---- Wiring

function listen() {
  get("join").onsubmit = (event) => {
    event.preventDefault();
    join();
  };
  get("composer").onsubmit = (event) => {
    event.preventDefault();
    send();
  };
  text.oninput = drafted;
  text.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  get("people-list").onclick = (event) => {
    const id = event.target.closest("button")?.dataset.id;
    if (!id) return;
    people.choose(id === people.recipient.id ? EVERYONE : id);
    togglePeople(false);
    text.focus();
  };
  get("show-people").onclick = () => togglePeople(!get("people").classList.contains("open"));
  get("hide-people").onclick = () => togglePeople(false);
  get("people").onkeydown = (event) => {
    if (event.key === "Escape" && get("people").classList.contains("open")) togglePeople(false);
  };
  get("leave").onclick = () => toWelcome("");
  get("retry").onclick = () => line.retry();
  document.addEventListener("visibilitychange", () => {
    unread = 0;
    document.title = TITLE;
  });
  // Browsers offer the clipboard to secure pages alone.
  get("invite").hidden = !navigator.clipboard;
  get("invite").onclick = invite;
}

async function invite() {
  try {
    await navigator.clipboard.writeText(location.href);
    get("invite").textContent = "Copied";
  } catch {
    get("invite").textContent = "Not allowed";
  }
  setTimeout(() => {
    get("invite").textContent = "Copy link";
  }, 2_000);
}

function start() {
  listen();
  const name = localStorage.getItem("name") ?? "";
  const room = new URLSearchParams(location.search).get("room_id") ?? localStorage.getItem("room") ?? "1";
  get("name").value = name;
  get("room").value = room;
  // A reload of the page is no reason to ask again.
  if (sessionStorage.getItem("inside") && name) join();
}

start();
