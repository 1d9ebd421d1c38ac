// The chat's messages: what the server sends, as plain text and plain objects; what the page sends.
// The server escapes names and texts as HTML, for pages that insert them as such. This page inserts
// text only, so here the escaping is undone, exactly as often as it was done. Touches no document.

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#039;": "'", "&#39;": "'" };

// One pass, so that what someone typed as "&lt;" stays "&lt;".
function unescapeHtml(escaped) {
  return String(escaped ?? "").replace(/&(?:amp|lt|gt|quot|#0?39);/g, (entity) => ENTITIES[entity]);
}

// "<br />" stands before each line break that was typed. A private text begins with a bold remark of
// the server, "says to you"; nobody can type one, because typed markup arrives escaped.
function plainText(content) {
  const text = String(content ?? "").replace(/^<b>[^<]*<\/b>/, "");
  return unescapeHtml(text.replace(/<br \/>(\r\n|\n|\r)?/g, "\n"));
}

// "YYYY-MM-DD HH:MM:SS" in UTC. What cannot be read is now.
function instant(time) {
  const read = new Date(`${String(time ?? "").replace(" ", "T")}Z`);
  return Number.isNaN(read.getTime()) ? new Date() : read;
}

// Returns one event, or null for what this page does not know.
export function parse(data) {
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return null;
  }
  switch (message?.type) {
    case "ping":
      return { type: "ping" };
    case "login":
      return entered(message);
    case "say":
      return {
        type: "said",
        from: String(message.from_client_id ?? ""),
        name: unescapeHtml(message.from_client_name),
        to: String(message.to_client_id ?? "all"),
        text: plainText(message.content),
        time: instant(message.time),
      };
    case "logout":
      return {
        type: "left",
        id: String(message.from_client_id ?? ""),
        name: unescapeHtml(message.from_client_name),
        time: instant(message.time),
      };
    case "error":
      return { type: "refused", why: String(message.message ?? "The server refused this.") };
    default:
      return null;
  }
}

// A login's name is escaped twice, in the list once. Only the newcomer gets the list.
function entered(message) {
  const event = {
    type: "entered",
    id: String(message.client_id ?? ""),
    name: unescapeHtml(unescapeHtml(message.client_name)),
    time: instant(message.time),
    people: null,
  };
  if (message.client_list) {
    const list = Object.entries(message.client_list);
    event.people = new Map(list.map(([id, name]) => [id, unescapeHtml(name)]));
  }
  return event;
}

export const pong = () => ({ type: "pong" });

// A room of digits goes out as a number, as it always did in this protocol.
export const login = (name, room) => ({
  type: "login",
  client_name: name,
  room_id: /^[1-9]\d{0,8}$/.test(room) ? Number(room) : room,
});

export const say = (to, name, text) => ({
  type: "say",
  to_client_id: to,
  to_client_name: name,
  content: text,
});
