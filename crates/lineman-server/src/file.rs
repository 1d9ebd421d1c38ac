//! The file: its bytes, its TOML, and which setting each key of it is. It judges no value but by its setting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{self, ConfigFault, ValueOrigin, nearest};
use crate::settings::{RawValue, SectionKind, Setting, SettingValue};

/// A file that is longer is none of ours.
const LONGEST: u64 = 1024 * 1024;

/// A section with the values that were right.
#[derive(Debug, Clone)]
pub(crate) struct SectionValues {
    pub(crate) kind: SectionKind,
    /// Where it begins.
    pub(crate) origin: ValueOrigin,
    pub(crate) values: BTreeMap<&'static str, Found>,
    /// Keys that are there with a value that is wrong, which has been said.
    pub(crate) refused: BTreeSet<&'static str>,
}

/// A value that was right, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) value: SettingValue,
    pub(crate) origin: ValueOrigin,
}

impl SectionValues {
    pub(crate) fn new(kind: SectionKind, origin: ValueOrigin) -> Self {
        Self { kind, origin, values: BTreeMap::new(), refused: BTreeSet::new() }
    }

    /// Returns one that begins at this line, or nowhere.
    pub(crate) fn at_line(kind: SectionKind, line: Option<usize>) -> Self {
        Self::new(kind, ValueOrigin::Line(line.unwrap_or_default()))
    }

    /// Returns the line it begins at, if it is one of a file.
    pub(crate) fn line(&self) -> Option<usize> {
        match self.origin {
            ValueOrigin::Line(line) => Some(line),
            ValueOrigin::Variable(_) => None,
        }
    }

    /// Returns the text of a setting, if it was set.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.values.get(key)?.value {
            SettingValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Reads a value, and keeps it or says what is wrong with it.
    pub(crate) fn take(
        &mut self,
        setting: &'static Setting,
        raw: &RawValue,
        origin: ValueOrigin,
    ) -> Option<ConfigFault> {
        match setting.takes.read(raw) {
            Ok(value) => {
                self.values.insert(setting.key, Found { value, origin });
                None
            }
            Err(problem) => {
                self.refused.insert(setting.key);
                Some(ConfigFault::at(&origin, self.name_of(setting.key), problem))
            }
        }
    }

    /// Returns a key with its section's name.
    pub(crate) fn name_of(&self, key: &str) -> String {
        format!("{}.{key}", self.kind.name())
    }
}

/// Reads a file.
///
/// # Errors
/// Why it cannot be read, as a whole.
pub(crate) fn text_of(path: &Path) -> Result<String, ConfigFault> {
    let failed = |error: std::io::Error| ConfigFault::of_all(format!("cannot read it: {error}"));
    let facts = std::fs::metadata(path).map_err(failed)?;
    if !facts.is_file() {
        return Err(ConfigFault::of_all("it is no file"));
    }
    let too_long = || {
        ConfigFault::of_all(format!("it has more than {LONGEST} bytes: it is no file of settings"))
    };
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let line = LineIndex::of(bytes.get(..good).unwrap_or_default()).number(good);
        ConfigFault::at(
            &ValueOrigin::Line(line),
            "",
            "it is not UTF-8 from here on: save it as UTF-8",
        )
    })
}

/// Returns the sections of a text, and what is wrong with it.
pub(crate) fn sections(text: &str) -> (Vec<SectionValues>, Vec<ConfigFault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let whole = errors.is_empty();
    let lines = LineIndex::of(text.as_bytes());
    let mut reading = Reading { lines, whole, sections: Vec::new(), faults: Vec::new() };
    for error in errors.into_iter().take(fault::MOST + 1) {
        let at = error.span().map_or(0, |span| span.start);
        let line = ValueOrigin::Line(reading.line(at));
        reading.faults.push(ConfigFault::at(
            &line,
            "",
            format!("it is no TOML: {}", error.message()),
        ));
    }
    for (name, value) in table.get_ref() {
        if reading.is_full() {
            break;
        }
        reading.section(name.get_ref(), name.span().start, value);
    }
    // In the order of the file, which the table has not.
    reading.sections.sort_by(|one, other| one.origin.cmp(&other.origin));
    (reading.sections, reading.faults)
}

struct Reading {
    lines: LineIndex,
    /// All of it was understood: else a name may be in a section that was not.
    whole: bool,
    sections: Vec<SectionValues>,
    faults: Vec<ConfigFault>,
}

impl Reading {
    fn line(&self, at: usize) -> usize {
        self.lines.number(at)
    }

    /// Returns whether more faults would not be shown: what has so many is no file of settings.
    fn is_full(&self) -> bool {
        self.faults.len() > fault::MOST
    }

    fn fault(&mut self, at: usize, key: &str, text: impl Into<String>) {
        let line = ValueOrigin::Line(self.line(at));
        self.faults.push(ConfigFault::at(&line, key, text));
    }

    fn section(&mut self, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let Some(kind) = SectionKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            if self.whole {
                self.unknown_section(name, at, value);
            }
            return;
        };
        match value.get_ref() {
            DeValue::Table(table) => self.one_section(kind, at, table),
            DeValue::Array(array) if kind.is_service() => {
                for part in array {
                    if self.is_full() {
                        return;
                    }
                    let at = part.span().start;
                    match part.get_ref() {
                        DeValue::Table(table) => self.one_section(kind, at, table),
                        _ => self.fault(
                            at,
                            name,
                            format!("it has to be a section, {}", kind.header()),
                        ),
                    }
                }
            }
            DeValue::Array(_) => {
                self.fault(at, name, format!("there is one of them: write {}", kind.header()));
            }
            _ => self.fault(at, name, format!("it has to be a section, {}", kind.header())),
        }
    }

    fn unknown_section(&mut self, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let is_section = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        let of = SectionKind::ALL.into_iter().filter(|kind| kind.setting(name).is_some());
        let of: Vec<String> = of.map(SectionKind::header).collect();
        let known = SectionKind::ALL.map(SectionKind::name);
        let text = match nearest(name, known) {
            _ if !of.is_empty() => {
                format!("it stands before any section, and belongs into {}", of.join(" or "))
            }
            Some(near) => format!("there is no such section (hint: {near:?} is one)"),
            None if is_section => format!("there is no such section: {} are", known.join(", ")),
            None => "there is no such setting, and it stands before any section".to_owned(),
        };
        self.fault(at, name, text);
    }

    fn one_section(&mut self, kind: SectionKind, at: usize, table: &DeTable<'_>) {
        let mut section = SectionValues::new(kind, ValueOrigin::Line(self.line(at)));
        self.keys(&mut section, "", table);
        self.sections.push(section);
    }

    /// Takes the keys of a table, `before` being those of the tables it is in.
    fn keys(&mut self, section: &mut SectionValues, before: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            if self.is_full() {
                return;
            }
            let at = name.span().start;
            let key = format!("{before}{}", name.get_ref());
            let within = format!("{key}.");
            let is_table = section.kind.settings().any(|setting| setting.key.starts_with(&within));
            match (section.kind.setting(&key), value.get_ref()) {
                (Some(setting), found) => {
                    let origin = ValueOrigin::Line(self.line(at));
                    self.faults.extend(section.take(setting, &raw(found), origin));
                }
                (None, DeValue::Table(inner)) if is_table => self.keys(section, &within, inner),
                (None, _) if is_table => {
                    let key = section.name_of(&key);
                    self.fault(
                        at,
                        &key,
                        format!("it is a table: write [{key}] above its settings"),
                    );
                }
                (None, _) => {
                    let hint = hint(section.kind, &key);
                    self.fault(
                        at,
                        &section.name_of(&key),
                        format!("there is no such setting{hint}"),
                    );
                }
            }
        }
    }
}

/// Returns what an unknown key may have been meant to be.
pub(crate) fn hint(kind: SectionKind, key: &str) -> String {
    let others = SectionKind::ALL.into_iter().filter(|other| other.setting(key).is_some());
    let others: Vec<String> = others.map(SectionKind::header).collect();
    if !others.is_empty() {
        return format!(" (hint: it is one of {})", others.join(" and "));
    }
    // Those who come from PHP may have written its name.
    let of_php = kind.settings().find(|setting| setting.php == key).map(|setting| setting.key);
    let near = of_php.or_else(|| nearest(key, kind.settings().map(|setting| setting.key)));
    near.map_or_else(String::new, |near| format!(" (hint: {near:?} is one)"))
}

fn raw(value: &DeValue<'_>) -> RawValue {
    match value {
        DeValue::String(text) => RawValue::Text(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or(RawValue::Other("a number that is too large"), RawValue::Integer)
        }
        DeValue::Float(number) => {
            number.as_str().parse().map_or(RawValue::Other("a number"), RawValue::Float)
        }
        DeValue::Boolean(on) => RawValue::Switch(*on),
        DeValue::Datetime(_) => RawValue::Other("a date"),
        DeValue::Array(parts) => {
            RawValue::List(parts.iter().map(|part| raw(part.get_ref())).collect())
        }
        DeValue::Table(_) => RawValue::Other("a table"),
    }
}

/// Where the lines of a text end.
struct LineIndex(Vec<usize>);

impl LineIndex {
    fn of(text: &[u8]) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// Returns the number of the line that this byte is in.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_has_the_line_it_is_in() {
        let lines = LineIndex::of(b"a\n\nb\n");
        let numbers: Vec<_> = (0..=5).map(|at| lines.number(at)).collect();
        assert_eq!(numbers, [1, 1, 2, 3, 3, 4]);
    }

    #[test]
    fn what_is_wrong_in_many_places_is_read_no_further() {
        for (before, line) in
            [("", "a%=1\n"), ("[[gateway]]\n", "a%=1\n"), ("", "[[gateway]]\na=%\n"), ("", "%\n")]
        {
            let wrong = (0..10_000).map(|number| line.replace('%', &number.to_string()));
            let (_, faults) = sections(&(before.to_owned() + &wrong.collect::<String>()));
            assert_eq!(faults.len(), fault::MOST + 1, "{line}");
        }
    }
}
