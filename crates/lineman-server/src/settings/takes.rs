//! What a setting takes: reads a value of the file or of the environment into the one form it has, and puts that
//! into a draft.

use std::fmt;
use std::time::Duration;

use lineman::cli;
use lineman::connection::Rate;
use serde::{Deserialize, Serialize};

use crate::draft::Draft;

/// A value as the file has it.
#[derive(Clone, PartialEq)]
pub(crate) enum RawValue {
    Switch(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<RawValue>),
    /// What no setting takes, by its name.
    Other(&'static str),
}

/// A value that is right for its setting, in the one form that it has there: durations are milliseconds, sizes are
/// bytes. It is not shown by `Debug`, for it may be a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SettingValue {
    Switch(bool),
    Number(u64),
    Text(String),
    List(Vec<String>),
}

impl fmt::Debug for SettingValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SettingValue(..)")
    }
}

impl fmt::Debug for RawValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RawValue({})", self.kind())
    }
}

/// The bound of a number that has none of its own.
pub(super) const ANY: u64 = 4_294_967_295;

type Set<T> = fn(&mut Draft, T);
type Test = fn(&str) -> Result<(), String>;

/// What a setting takes, with the function that sets it.
pub(crate) enum Takes {
    /// Any text.
    Text(fn(&mut Draft, &str)),
    /// A text that a function finds right; what it is called in documents.
    Checked(&'static str, Test, fn(&mut Draft, &str)),
    /// A text that is shown nowhere.
    Secret(fn(&mut Draft, &str)),
    /// A list of texts that is shown nowhere; what is said of a wrong one has nothing of it.
    SecretList(&'static str, Test, fn(&mut Draft, &[String])),
    /// One of these.
    Choice(&'static [&'static str], fn(&mut Draft, &str)),
    /// A list of texts, or one, that a function finds right; what they are called in documents.
    List(&'static str, Test, fn(&mut Draft, &[String])),
    /// `true` or `false`.
    Switch(Set<bool>),
    /// A whole number, from the first to the second.
    Number(u64, u64, Set<u64>),
    /// Bytes.
    Size(Set<u64>),
    Duration(Set<Duration>),
    /// So many a second, and so many at once: `50/s`, `50/s burst 200`.
    Rate(Set<Rate>),
}

impl Takes {
    /// Returns what is right, for documents.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Text(_) => "text".to_owned(),
            Self::Checked(name, ..) => (*name).to_owned(),
            Self::Secret(_) => "text, shown nowhere".to_owned(),
            Self::Choice(choices, _) => choices.join(", "),
            Self::List(name, ..) => format!("list of {name}"),
            Self::SecretList(name, ..) => format!("list of {name}, shown nowhere"),
            Self::Switch(_) => "true, false".to_owned(),
            Self::Number(least, most, _) if *most == ANY => {
                format!("number from {least}")
            }
            Self::Number(least, most, _) => format!("number, {least} to {most}"),
            Self::Size(_) => "size".to_owned(),
            Self::Duration(_) => "duration".to_owned(),
            Self::Rate(_) => "rate".to_owned(),
        }
    }

    /// Reads a value of the file.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right. A secret is not in it.
    pub(crate) fn read(&self, raw: &RawValue) -> Result<SettingValue, String> {
        match self {
            Self::Text(_) | Self::Secret(_) => text(raw, "a text").map(SettingValue::Text),
            Self::Checked(name, is_right, _) => {
                let text = text(raw, &format!("a text ({name})"))?;
                is_right(&text)?;
                Ok(SettingValue::Text(text))
            }
            Self::Choice(choices, _) => choice(raw, choices),
            Self::List(name, is_right, _) | Self::SecretList(name, is_right, _) => {
                list(raw, name, *is_right).map(SettingValue::List)
            }
            Self::Switch(_) => match raw {
                RawValue::Switch(on) => Ok(SettingValue::Switch(*on)),
                other => Err(mismatch(other, "true or false")),
            },
            Self::Number(least, most, _) => number(raw, *least, *most).map(SettingValue::Number),
            Self::Size(_) => size(raw).map(SettingValue::Number),
            Self::Duration(_) => duration(raw).map(SettingValue::Number),
            Self::Rate(_) => {
                let text = text(raw, "a rate as \"50/s\" or \"50/s burst 200\"")?;
                rate(&text)?;
                Ok(SettingValue::Text(text))
            }
        }
    }

    /// Returns the value that a text of the environment stands for: lists have commas between their parts.
    pub(crate) fn raw_of_text(&self, text: &str) -> RawValue {
        let integer = || text.trim().parse().ok().map(RawValue::Integer);
        let whole = || RawValue::Text(text.to_owned());
        match self {
            Self::Text(_)
            | Self::Checked(..)
            | Self::Secret(_)
            | Self::Choice(..)
            | Self::Rate(_) => whole(),
            Self::List(..) | Self::SecretList(..) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                RawValue::List(parts.map(|part| RawValue::Text(part.to_owned())).collect())
            }
            Self::Switch(_) => text.trim().parse().map_or_else(|_| whole(), RawValue::Switch),
            Self::Number(..) | Self::Size(_) | Self::Duration(_) => integer().unwrap_or_else(whole),
        }
    }

    /// Returns a value as the file may have it; nothing of a secret.
    pub(crate) fn shown(&self, value: &SettingValue) -> String {
        match (self, value) {
            (Self::Secret(_) | Self::SecretList(..), _) => "***".to_owned(),
            (Self::Duration(_), SettingValue::Number(millis)) => shown_duration(*millis),
            (Self::Size(_), SettingValue::Number(bytes)) => shown_size(*bytes),
            (_, SettingValue::Switch(on)) => on.to_string(),
            (_, SettingValue::Number(number)) => number.to_string(),
            (_, SettingValue::Text(text)) => format!("{text:?}"),
            (_, SettingValue::List(list)) => format!("{list:?}"),
        }
    }

    /// Puts a value that was read by [`Takes::read`] of the same setting into the draft.
    pub(crate) fn set(&self, draft: &mut Draft, value: &SettingValue) {
        match (self, value) {
            (
                Self::Text(set)
                | Self::Secret(set)
                | Self::Choice(_, set)
                | Self::Checked(_, _, set),
                SettingValue::Text(text),
            ) => set(draft, text),
            (Self::List(_, _, set) | Self::SecretList(_, _, set), SettingValue::List(list)) => {
                set(draft, list);
            }
            (Self::Switch(set), SettingValue::Switch(on)) => set(draft, *on),
            (Self::Number(_, _, set) | Self::Size(set), SettingValue::Number(number)) => {
                set(draft, *number);
            }
            (Self::Duration(set), SettingValue::Number(millis)) => {
                set(draft, Duration::from_millis(*millis));
            }
            (Self::Rate(set), SettingValue::Text(text)) => {
                if let Ok(rate) = rate(text) {
                    set(draft, rate);
                }
            }
            // A value of another version of this program, whose table was another one: the default holds.
            _ => {}
        }
    }
}

impl fmt::Debug for Takes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Takes({})", self.kind())
    }
}

impl RawValue {
    fn kind(&self) -> &'static str {
        match self {
            Self::Switch(_) => "true or false",
            Self::Integer(_) => "a number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

fn mismatch(found: &RawValue, wanted: &str) -> String {
    let found = match found {
        RawValue::Text(text) if text.len() <= 100 => format!("the text {text:?}"),
        RawValue::Integer(number) => format!("the number {number}"),
        other => other.kind().to_owned(),
    };
    format!("it is {found}, and has to be {wanted}")
}

fn text(raw: &RawValue, wanted: &str) -> Result<String, String> {
    match raw {
        RawValue::Text(text) => Ok(text.clone()),
        other => Err(format!("it is {}, and has to be {wanted}", other.kind())),
    }
}

fn choice(raw: &RawValue, choices: &[&str]) -> Result<SettingValue, String> {
    let wanted = || choices.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(" or ");
    match raw {
        RawValue::Text(text) if choices.contains(&&**text) => Ok(SettingValue::Text(text.clone())),
        other => Err(mismatch(other, &wanted())),
    }
}

fn list(raw: &RawValue, name: &str, is_right: Test) -> Result<Vec<String>, String> {
    let list = match raw {
        RawValue::Text(text) => vec![text.clone()],
        RawValue::List(parts) => {
            let texts = parts.iter().map(|part| match part {
                RawValue::Text(text) => Ok(text.clone()),
                other => {
                    Err(format!("{} is in the list, and only texts ({name}) may be", other.kind()))
                }
            });
            texts.collect::<Result<_, _>>()?
        }
        // It may be a secret.
        other => {
            let kind = other.kind();
            return Err(format!("it is {kind}, and has to be a text ({name}) or a list of them"));
        }
    };
    list.iter().try_for_each(|part| is_right(part))?;
    Ok(list)
}

fn number(raw: &RawValue, least: u64, most: u64) -> Result<u64, String> {
    let wanted = if most == ANY {
        format!("a whole number of at least {least}")
    } else {
        format!("a whole number from {least} to {most}")
    };
    let RawValue::Integer(number) = raw else { return Err(mismatch(raw, &wanted)) };
    let number = u64::try_from(*number).ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| mismatch(raw, &wanted))
}

fn size(raw: &RawValue) -> Result<u64, String> {
    match raw {
        RawValue::Integer(bytes) => {
            u64::try_from(*bytes).map_err(|_| "a size cannot be negative".to_owned())
        }
        RawValue::Text(text) => cli::parse_size(text),
        other => Err(mismatch(other, "a size as \"500K\" or \"1MiB\", or a number of bytes")),
    }
}

fn duration(raw: &RawValue) -> Result<u64, String> {
    let parsed = match raw {
        RawValue::Integer(seconds) => cli::parse_duration(&seconds.to_string()),
        RawValue::Float(seconds) => cli::parse_duration(&seconds.to_string()),
        RawValue::Text(text) => cli::parse_duration(text),
        other => {
            let wanted = "a duration as \"500ms\", \"25s\" or \"2m\", or a number of seconds";
            return Err(mismatch(other, wanted));
        }
    };
    let parsed = parsed?;
    let millis = u64::try_from(parsed.as_millis()).map_err(|_| "it is too long".to_owned())?;
    if millis == 0 && !parsed.is_zero() {
        // 0 has a meaning of its own.
        return Err("it is shorter than a millisecond".to_owned());
    }
    Ok(millis)
}

fn shown_duration(millis: u64) -> String {
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

fn shown_size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(MIB) => format!("{}MiB", bytes / MIB),
        _ if bytes.is_multiple_of(1024) => format!("{}KiB", bytes / 1024),
        _ => bytes.to_string(),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("{text:?} is no rate: write \"50/s\", or \"50/s burst 200\"");
    let number = |text: &str| text.trim().parse().ok().filter(|count| *count > 0);
    let (each, burst) = match text.split_once("burst") {
        Some((each, burst)) => (each, Some(number(burst).ok_or_else(wrong)?)),
        None => (text, None),
    };
    let each = each.trim().strip_suffix("/s").and_then(number).ok_or_else(wrong)?;
    let rate = Rate::per_second(each);
    Ok(burst.map_or(rate, |burst| rate.burst(burst)))
}

/// Returns a number of the file as a bound of this process.
pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Finds a text right that is not empty.
pub(super) fn something(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
}
