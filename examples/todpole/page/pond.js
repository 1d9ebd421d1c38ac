// The pond: where each tadpole is and how it moves. Touches neither the document nor the network.

// Servers and pages of this game count momentum as the way of 30 ms.
const STEP = 30;

const FULL_SPEED = 3;

// How much of what is left to turn, to slow down by, to catch up with, is done in each step.
const TURN = 0.2;
const GLIDE = 0.05;
const CATCH_UP = 0.06;

// One that is this far from where it is said to be has not swum there.
const TELEPORT = 800;

// A page of another kind says nothing while its tadpole rests.
const SLEEP_AFTER = 10_000;

const SPEECH = 8_000;
const MOST_SPEECHES = 4;

// The joints of a tail, the way from one to the next, and how fast they come into line.
const TAIL = 10;
const NECK = 4;
const LINK = 2.6;
const STIFF = 0.4;

const share = (rate, steps) => 1 - (1 - rate) ** steps;

export class Swimmer {
  constructor(id, x, y) {
    this.id = id;
    this.name = "";
    this.x = x;
    this.y = y;
    this.angle = Math.random() * 2 * Math.PI;
    this.momentum = 0;
    this.aim = null;
    this.heard = performance.now();
    this.speeches = [];
    this.phase = Math.random() * 7;
    this.tail = Array.from({ length: TAIL }, () => ({ x, y, angle: this.angle + Math.PI }));
  }

  say(text) {
    const now = performance.now();
    this.heard = now;
    this.speeches.push({ text, until: now + SPEECH });
    if (this.speeches.length > MOST_SPEECHES) this.speeches.shift();
  }

  asleep(now) {
    return now - this.heard > SLEEP_AFTER;
  }

  // What the server says of another one. It goes on from where it is seen to where it is.
  place({ x, y, angle, momentum, name }) {
    if (Math.hypot(x - this.x, y - this.y) > TELEPORT) Object.assign(this, { x, y });
    Object.assign(this, { angle, momentum, name, aim: { x, y }, heard: performance.now() });
  }

  // The own one turns to a point, and swims if it is driven.
  steer(point, driven, steps) {
    if (point) {
      const turn = Math.atan2(point.y - this.y, point.x - this.x) - this.angle;
      this.angle += Math.atan2(Math.sin(turn), Math.cos(turn)) * share(TURN, steps);
    }
    if (driven) this.momentum = FULL_SPEED;
    else this.momentum = Math.max(0, this.momentum * (1 - share(GLIDE, steps)) - 0.002 * steps);
  }

  swim(steps, now) {
    this.x += Math.cos(this.angle) * this.momentum * steps;
    this.y += Math.sin(this.angle) * this.momentum * steps;
    if (this.aim) {
      // The aim swims on as well: it was there when it was said.
      this.aim.x += Math.cos(this.angle) * this.momentum * steps;
      this.aim.y += Math.sin(this.angle) * this.momentum * steps;
      this.x += (this.aim.x - this.x) * share(CATCH_UP, steps);
      this.y += (this.aim.y - this.y) * share(CATCH_UP, steps);
    }
    this.phase += (0.12 + this.momentum * 0.11) * steps;
    this.drag(steps);
    this.speeches = this.speeches.filter((speech) => speech.until > now);
  }

  // Each joint of the tail turns to where the one before points, and beats to the side.
  drag(steps) {
    let ahead = this;
    let straight = this.angle + Math.PI;
    this.tail.forEach((joint, index) => {
      const turn = straight - joint.angle;
      joint.angle += Math.atan2(Math.sin(turn), Math.cos(turn)) * share(STIFF, steps);
      const beat = Math.sin(this.phase - index * 0.6) * (0.1 + 0.05 * index);
      const reach = index ? LINK : NECK;
      joint.x = ahead.x + Math.cos(joint.angle + beat) * reach;
      joint.y = ahead.y + Math.sin(joint.angle + beat) * reach;
      ahead = joint;
      straight = joint.angle;
    });
  }
}

export class Pond {
  constructor() {
    this.others = new Map();
    this.me = new Swimmer(null, (Math.random() - 0.5) * 300, (Math.random() - 0.5) * 300);
    this.camera = { x: this.me.x, y: this.me.y };
  }

  // All of them, the own one last: it is painted above the others.
  *swimmers() {
    yield* this.others.values();
    yield this.me;
  }

  find(id) {
    return id === this.me.id ? this.me : this.others.get(id);
  }

  // Returns whether it was not known.
  update(place) {
    const known = this.others.get(place.id);
    const swimmer = known ?? new Swimmer(place.id, place.x, place.y);
    this.others.set(place.id, swimmer);
    swimmer.place(place);
    return !known;
  }

  // `point` is where the own one looks, in the pond; `driven` says whether it swims there.
  pass(milliseconds, point, driven) {
    const now = performance.now();
    const steps = milliseconds / STEP;
    this.me.steer(point, driven, steps);
    this.me.heard = now;
    for (const swimmer of this.swimmers()) swimmer.swim(steps, now);
    this.camera.x += (this.me.x - this.camera.x) * share(0.08, steps);
    this.camera.y += (this.me.y - this.camera.y) * share(0.08, steps);
  }
}
