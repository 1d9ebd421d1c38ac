//! What a page may say: read from JSON, with every bound checked here. What cannot be read is nothing, as it is to
//! PHP's server.

use serde::{Deserialize, Deserializer};

/// Fits below a tadpole.
const NAME_LIMIT: usize = 32;

/// Fits into a bubble; everybody gets it.
const TEXT_LIMIT: usize = 200;

/// Something that a page says.
#[derive(Debug, PartialEq)]
pub(crate) enum Word {
    /// Where its tadpole is.
    Update(Place),
    /// What it says to all; not empty.
    Message(String),
}

/// Where a tadpole is and how it moves.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Place {
    #[serde(deserialize_with = "number")]
    pub(crate) x: f64,
    #[serde(deserialize_with = "number")]
    pub(crate) y: f64,
    /// In radians.
    #[serde(deserialize_with = "number")]
    pub(crate) angle: f64,
    /// How far it swims in 30 ms.
    #[serde(deserialize_with = "number")]
    pub(crate) momentum: f64,
    /// None if it has no name of its own.
    #[serde(default)]
    pub(crate) name: Option<String>,
}

impl Word {
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        enum Said {
            Update(Place),
            Message { message: String },
        }
        match serde_json::from_slice(message).ok()? {
            Said::Update(place) => {
                let name = place.name.as_deref().and_then(|name| shown(name, NAME_LIMIT));
                Some(Self::Update(Place { name, ..place }))
            }
            Said::Message { message } => shown(&message, TEXT_LIMIT).map(Self::Message),
        }
    }
}

/// Returns what can be shown of a text in one line; nothing if that is empty.
fn shown(text: &str, limit: usize) -> Option<String> {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(limit).collect();
    (!text.is_empty()).then_some(text)
}

/// Pages send numbers as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(f64),
        Text(String),
    }
    let number = match Number::deserialize(deserializer)? {
        Number::Number(number) => Ok(number),
        Number::Text(text) => text.trim().parse(),
    };
    let number = number.ok().filter(|number| number.is_finite());
    number.ok_or_else(|| serde::de::Error::custom("no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_numbers_and_from_text() {
        let place = |name: Option<&str>| {
            let name = name.map(ToOwned::to_owned);
            Some(Word::Update(Place { x: -64.8, y: 147.0, angle: 3.636, momentum: 0.0, name }))
        };
        let check = |message: &str, name| {
            assert_eq!(Word::read(message.as_bytes()), place(name), "{message}");
        };
        let php = r#"{"type":"update","x":"-64.8","y":"147.0","angle":"3.636","momentum":"0.000"}"#;
        check(php, None);
        check(r#"{"type":"update","x":-64.8,"y":147,"angle":3.636,"momentum":0}"#, None);
        check(&php.replace('}', r#","name":" Ann\n "}"#), Some("Ann"));
        check(&php.replace('}', r#","name":" "}"#), None);
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        for message in [
            "",
            "[]",
            "no json",
            r#"{"type":"login"}"#,
            r#"{"type":"update","x":"1","y":"2","angle":"3"}"#,
            r#"{"type":"update","x":"nan","y":"2","angle":"3","momentum":"1"}"#,
            r#"{"type":"update","x":[],"y":"2","angle":"3","momentum":"1"}"#,
            r#"{"type":"message","message":" \u0007 "}"#,
            r#"{"type":"message"}"#,
        ] {
            assert_eq!(Word::read(message.as_bytes()), None, "{message}");
        }
    }

    #[test]
    fn texts_are_cut_in_characters() {
        let long = "é".repeat(1000);
        let message = format!(r#"{{"type":"message","message":"{long}"}}"#);
        assert_eq!(Word::read(message.as_bytes()), Some(Word::Message("é".repeat(TEXT_LIMIT))));
    }
}
