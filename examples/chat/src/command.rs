//! What a page may say: read from JSON, with every bound checked here, so that the rest of the chat
//! holds names and texts that are fit to be shown.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Long enough for a full name, short enough for a list on a phone.
const NAME_LIMIT: usize = 32;

/// Rooms appear in the address line, and each is a group of the gateway.
const ROOM_LIMIT: usize = 32;

/// A page or so of text; everyone in the room gets it.
const CONTENT_LIMIT: usize = 4000;

/// A request of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Enter a room under a name.
    Login(Login),
    /// Say something to the room or to one person.
    Say(Say),
}

/// What became of a client's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Understood {
    /// A request.
    Command(Command),
    /// An answer to a ping, or something that is none of ours.
    Ignored,
    /// A request that cannot be granted, and why.
    Refused(String),
}

/// Enter a room under a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// Trimmed, without control characters, 1 to 32 characters.
    pub(crate) name: String,
    pub(crate) room: Room,
}

/// Say something to the room or to one person.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Say {
    /// `all` or a client id.
    pub(crate) to_client_id: String,
    /// How the sender knows the other; shown to the sender only.
    #[serde(default)]
    pub(crate) to_client_name: String,
    /// 1 to 4000 characters.
    pub(crate) content: String,
}

/// A room's name; empty before the login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Room(String);

impl Command {
    /// Reads a client's message.
    pub(crate) fn read(message: &[u8]) -> Understood {
        let Ok(value) = serde_json::from_slice::<Value>(message) else {
            return Understood::Ignored;
        };
        let read = match value.get("type").and_then(Value::as_str) {
            Some("login") => Login::read(value).map(Command::Login),
            Some("say") => Say::read(value).map(Command::Say),
            _ => return Understood::Ignored,
        };
        match read {
            Ok(command) => Understood::Command(command),
            Err(why) => Understood::Refused(why),
        }
    }
}

impl Login {
    fn read(value: Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Fields {
            client_name: String,
            #[serde(default)]
            room_id: Room,
        }
        let fields: Fields = fields(value)?;
        let room = Room(fields.room_id.0.trim().to_owned());
        // Group "0" is empty in PHP's eyes, so no gateway has it.
        if room.0 == "0" || !fits(&room.0, ROOM_LIMIT) {
            return Err(format!("a room's name has 1 to {ROOM_LIMIT} characters and is not 0"));
        }
        let name = fields.client_name.trim().to_owned();
        if !fits(&name, NAME_LIMIT) {
            return Err(format!("a name has 1 to {NAME_LIMIT} characters"));
        }
        Ok(Self { name, room })
    }
}

impl Say {
    fn read(value: Value) -> Result<Self, String> {
        let mut say: Self = fields(value)?;
        if say.content.trim().is_empty() || say.content.chars().count() > CONTENT_LIMIT {
            return Err(format!("a text has 1 to {CONTENT_LIMIT} characters"));
        }
        if say.to_client_name.chars().count() > NAME_LIMIT {
            say.to_client_name = say.to_client_name.chars().take(NAME_LIMIT).collect();
        }
        Ok(say)
    }
}

impl Room {
    /// Returns whether nobody logged in yet.
    pub(crate) fn is_nowhere(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the name, which is the group's too.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Room {
    /// A room may be a number or a string; room 1 and room "1" are one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Name {
            Number(i64),
            Text(String),
        }
        Ok(Self(match Name::deserialize(deserializer)? {
            Name::Number(number) => number.to_string(),
            Name::Text(text) => text,
        }))
    }
}

fn fields<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn fits(name: &str, limit: usize) -> bool {
    !name.is_empty() && name.chars().count() <= limit && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Room {
        Room(name.to_owned())
    }

    fn login(name: &str, at: &str) -> Understood {
        Understood::Command(Command::Login(Login { name: name.to_owned(), room: room(at) }))
    }

    fn check_refused(message: &str, why: &str) {
        match Command::read(message.as_bytes()) {
            Understood::Refused(reason) => assert!(reason.contains(why), "{message}: {reason}"),
            other => panic!("{message}: {other:?}"),
        }
    }

    #[test]
    fn a_room_is_a_number_or_a_string() {
        let check = |message: &str| {
            assert_eq!(Command::read(message.as_bytes()), login("Ann", "1"), "{message}");
        };
        check(r#"{"type":"login","client_name":"Ann","room_id":1}"#);
        check(r#"{"type":"login","client_name":" Ann ","room_id":" 1 "}"#);
    }

    #[test]
    fn what_is_not_ours_is_ignored() {
        for message in ["not json", "", "[]", "1", r#"{"type":"pong"}"#, r#"{"type":7}"#, "\u{fe}"]
        {
            assert_eq!(Command::read(message.as_bytes()), Understood::Ignored, "{message}");
        }
        assert_eq!(Command::read(&[0xff, 0xfe]), Understood::Ignored);
    }

    #[test]
    fn a_request_that_cannot_be_granted_says_why() {
        check_refused(r#"{"type":"login","client_name":"Ann"}"#, "a room");
        check_refused(r#"{"type":"login","client_name":"Ann","room_id":0}"#, "a room");
        check_refused(r#"{"type":"login","client_name":"Ann","room_id":[]}"#, "did not match");
        check_refused(r#"{"type":"login","client_name":"  ","room_id":1}"#, "a name");
        check_refused(r#"{"type":"login","client_name":"a\nb","room_id":1}"#, "a name");
        check_refused(r#"{"type":"login","room_id":1}"#, "client_name");
        check_refused(r#"{"type":"say","to_client_id":"all","content":" \n "}"#, "a text");
        check_refused(r#"{"type":"say","to_client_id":"all"}"#, "content");
        check_refused(r#"{"type":"say","to_client_id":7,"content":"x"}"#, "string");
    }

    #[test]
    fn bounds_are_counted_in_characters() {
        let longest = "ß".repeat(NAME_LIMIT);
        let message =
            |name: &str| format!(r#"{{"type":"login","client_name":"{name}","room_id":1}}"#);
        assert_eq!(Command::read(message(&longest).as_bytes()), login(&longest, "1"));
        check_refused(&message(&format!("{longest}ß")), "a name");
        let text = "ß".repeat(CONTENT_LIMIT + 1);
        check_refused(
            &format!(r#"{{"type":"say","to_client_id":"all","content":"{text}"}}"#),
            "a text",
        );
    }
}
