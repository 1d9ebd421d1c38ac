// The conversation: what was said, who came and went, what is on its way. Puts text into the
// document as text, never as markup.

// Older lines are taken out, so that a page left open for a week stays quick.
const KEPT = 500;

// Lines of one person this close together share one heading.
const TOGETHER = 5 * 60_000;

// Within this many pixels of the end a reader follows the conversation.
const NEAR_END = 80;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// The same name has the same colour on every screen.
export function paint(avatar, name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 9973;
  avatar.dataset.hue = hash % 8;
  avatar.textContent = [...name.trim()][0]?.toUpperCase() ?? "?";
}

export class Messages {
  #list = document.getElementById("messages");
  #newest = document.getElementById("to-newest");
  #last = { from: null, audience: null, time: 0 };

  constructor() {
    this.#newest.onclick = () => this.toEnd();
    this.#list.onscroll = () => {
      if (this.#follows()) this.#newest.hidden = true;
    };
    new ResizeObserver(() => {
      if (this.#newest.hidden) this.toEnd();
    }).observe(this.#list);
  }

  // `audience` is null for the room, otherwise the words for who else can read it.
  said(event, own, audience) {
    const line = clone("message-template");
    line.classList.toggle("own", own);
    line.classList.toggle("private", audience !== null);
    line.classList.toggle("more", this.#continues(event, audience));
    paint(line.querySelector(".avatar"), event.name);
    line.querySelector(".author").textContent = own ? "You" : event.name;
    line.querySelector(".tag").textContent = audience ?? "";
    line.querySelector(".text").textContent = event.text;
    stamp(line, event.time);
    this.#last = { from: event.from, audience, time: event.time.getTime() };
    this.#append(line, own);
  }

  happened(name, what, time) {
    const line = clone("event-template");
    line.querySelector(".author").textContent = name;
    line.querySelector(".what").textContent = what;
    stamp(line, time);
    this.#last = { from: null, audience: null, time: 0 };
    this.#append(line, false);
  }

  // A text of our own that the server has not confirmed yet; `giveBack` takes it when it failed.
  pending(text, giveBack) {
    const line = clone("pending-template");
    line.querySelector(".text").textContent = text;
    const button = line.querySelector("button");
    button.onclick = () => {
      line.remove();
      giveBack();
    };
    this.#append(line, true);
    return {
      done: () => line.remove(),
      failed: (why) => {
        line.classList.add("failed");
        line.querySelector(".fate span").textContent = why;
        button.hidden = false;
      },
    };
  }

  // Whether nobody has said anything yet.
  get silent() {
    return this.#list.querySelector(".message") === null;
  }

  clear() {
    this.#list.replaceChildren();
    this.#newest.hidden = true;
    this.#last = { from: null, audience: null, time: 0 };
  }

  toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#newest.hidden = true;
  }

  #continues({ from, time }, audience) {
    const last = this.#last;
    return last.from === from && last.audience === audience && time - last.time < TOGETHER;
  }

  #follows() {
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    return scrollHeight - scrollTop - clientHeight < NEAR_END;
  }

  // What is on its way stays last.
  #append(line, own) {
    const follows = own || this.#follows();
    const waiting = line.classList.contains("pending") ? null : this.#list.querySelector(".pending");
    this.#list.insertBefore(line, waiting);
    while (this.#list.children.length > KEPT) this.#list.firstElementChild.remove();
    if (follows) this.toEnd();
    else this.#newest.hidden = false;
  }
}

function clone(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

function stamp(line, time) {
  const element = line.querySelector("time");
  element.dateTime = time.toISOString();
  element.title = calendar.format(time);
  element.textContent = clock.format(time);
}
