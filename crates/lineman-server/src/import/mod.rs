//! `lineman import`: writes a file of settings from the start files of a `GatewayWorker` application, and names what
//! it could not carry over. It runs no PHP: it reads assignments (`php`), and gives each property the setting that
//! names it (`Setting::php`).

mod php;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::settings::{RawValue, SectionKind, Setting};
use crate::{file, init, print, say};
use php::{AssignedTo, Assignment, PhpLiteral};

const FILES_HELP: &str = "The start files: start_gateway.php, start_register.php, …";

/// Flags of `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The start files, of gateways and registers.
    #[arg(required = true, value_name = "FILE", help = FILES_HELP)]
    files: Vec<PathBuf>,
    /// The file to write; `-` for stdout [default: --config, else lineman.toml]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Why the properties that name code, or say what is so anyway, have no setting.
const REASONS: &[(&str, &str)] = &[
    ("onConnect", CODE),
    ("onMessage", CODE),
    ("onClose", CODE),
    ("onError", CODE),
    ("onBufferFull", CODE),
    ("onBufferDrain", CODE),
    ("onWorkerStart", CODE),
    ("onWorkerStop", CODE),
    ("onWorkerReload", CODE),
    ("onWebSocketConnect", CODE),
    ("onBusinessWorkerConnected", CODE),
    ("onBusinessWorkerClose", CODE),
    ("router", "a gateway runs no code: `router` in the file chooses among rules"),
    ("selectLoadBalancingMode", "`router` in the file says how a business is chosen"),
    ("protocolAccelerate", "a message to many is always encoded once"),
    ("reusePort", "each process always has a socket of its own"),
    ("reloadable", "gateways and registers always stay on reload"),
    ("transport", "TLS is spoken where there is a certificate"),
    ("pidFile", "the pid file is in the folder of `program.runtime_dir`"),
    ("statusFile", "`lineman status` asks the program itself"),
    ("daemonize", "`lineman start -d` does that"),
    ("eventLoopClass", "there is one event loop"),
    ("lanPort", "it is `start_port` and the number of the process"),
];

const CODE: &str = "a gateway runs no code of the application";

/// `startPort` where a start file does not say it.
const START_PORT: i64 = 2000;

/// What becomes of the start files.
#[derive(Debug, Default)]
struct Imported {
    sections: Vec<ImportedSection>,
    /// What was left out, each with file and line.
    left_out: Vec<String>,
    /// What to know besides.
    notes: Vec<String>,
}

/// A section of the file that is written.
#[derive(Debug)]
struct ImportedSection {
    kind: SectionKind,
    /// The constructor's place.
    place: String,
    values: Vec<(&'static str, RawValue)>,
}

/// Runs `import`.
///
/// # Errors
/// What stands in the way, a line each.
pub(crate) fn import(how: &Import, config: Option<PathBuf>) -> Result<(), Vec<String>> {
    let mut imported = Imported::default();
    for path in &how.files {
        read(path, &mut imported).map_err(|problem| vec![problem])?;
    }
    if !imported.sections.iter().any(|section| section.kind.is_service()) {
        return Err(vec![
            "no `new Gateway(…)` and no `new Register(…)` is in these files: there is nothing to import".to_owned(),
        ]);
    }
    imported.name_services();
    let text = imported.text();
    let output = how.output.clone().or(config).unwrap_or_else(|| PathBuf::from("lineman.toml"));
    if output == Path::new("-") {
        print(&text);
    } else {
        init::write(&output, &text, how.force).map_err(|problem| vec![problem])?;
        say(&format!("{} is written; `lineman check` looks at it", output.display()));
    }
    for line in &imported.left_out {
        say(&format!("not carried over: {line}"));
    }
    for note in &imported.notes {
        say(&format!("note: {note}"));
    }
    Ok(())
}

fn read(path: &Path, imported: &mut Imported) -> Result<(), String> {
    let shown = path.display();
    let text = file::text_of(path).map_err(|fault| fault.line(Some(path)))?;
    let folder = path.canonicalize().map_err(|error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("{shown}: it is not there"),
        _ => format!("{shown}: {error}"),
    })?;
    let folder = folder.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let assignments = php::assignments(&text, &folder)
        .map_err(|(line, problem)| format!("{shown}:{line}: {problem}"))?;
    imported.take(&shown.to_string(), assignments);
    Ok(())
}

/// What a variable of a start file is.
enum Object {
    Section(usize),
    /// It stays in PHP.
    Business,
    Unknown(String),
}

impl Imported {
    /// Takes the assignments of one file, whose variables end with it.
    fn take(&mut self, file: &str, assignments: Vec<Assignment>) {
        let mut objects: HashMap<String, Object> = HashMap::new();
        for Assignment { line, target, value } in assignments {
            let place = format!("{file}:{line}");
            match target {
                AssignedTo::Variable(name) => {
                    let PhpLiteral::Object(class, arguments) = value else { continue };
                    let object = self.object(&place, &class, arguments);
                    objects.insert(name, object);
                }
                AssignedTo::Property(variable, property) => match objects.get(&variable) {
                    Some(Object::Section(at)) => self.property(*at, &place, &property, value),
                    Some(Object::Business) => self.of_business(&place, &property, &value),
                    Some(Object::Unknown(class)) => {
                        self.left_out.push(format!("{place}: {class}::{property}"));
                    }
                    None => {}
                },
                AssignedTo::Static(class, property) => {
                    self.of_program(&place, &class, &property, value);
                }
            }
        }
    }

    fn object(&mut self, place: &str, class: &str, arguments: Vec<PhpLiteral>) -> Object {
        let kind = match class {
            "Gateway" => SectionKind::Gateway,
            "Register" => SectionKind::Register,
            "BusinessWorker" => {
                self.notes.push(format!("{place}: the BusinessWorker stays in PHP, as it is"));
                return Object::Business;
            }
            _ => {
                self.left_out.push(format!("{place}: new {class}(…): it stays in PHP"));
                return Object::Unknown(class.to_owned());
            }
        };
        let at = self.sections.len();
        self.sections.push(ImportedSection { kind, place: place.to_owned(), values: Vec::new() });
        let mut arguments = arguments.into_iter();
        match arguments.next() {
            Some(PhpLiteral::Text(socket)) => {
                let socket = listen(kind, &socket);
                self.set(at, place, "listen", PhpLiteral::Text(socket));
            }
            _ => self
                .left_out
                .push(format!("{place}: the address of {class}: write `listen` into the file")),
        }
        match arguments.next() {
            Some(PhpLiteral::Array(context)) => self.context(at, place, "", context),
            Some(PhpLiteral::Code) => {
                self.left_out
                    .push(format!("{place}: the context of {class}: only PHP knows its value"));
            }
            _ => {}
        }
        Object::Section(at)
    }

    /// Takes the options of a stream context: `ssl.local_cert`.
    fn context(
        &mut self,
        at: usize,
        place: &str,
        before: &str,
        options: Vec<(Option<String>, PhpLiteral)>,
    ) {
        for (key, value) in options {
            let key = format!("{before}{}", key.unwrap_or_default());
            match value {
                PhpLiteral::Array(inner) if before.is_empty() => {
                    self.context(at, place, &format!("{key}."), inner);
                }
                PhpLiteral::Switch(on) if key == "ssl.verify_peer" => {
                    if on {
                        self.set(at, place, &key, PhpLiteral::Text("required".to_owned()));
                    }
                }
                value => self.set(at, place, &key, value),
            }
        }
    }

    fn property(&mut self, at: usize, place: &str, property: &str, value: PhpLiteral) {
        let is_ssl = matches!(&value, PhpLiteral::Text(text) if text == "ssl");
        if property == "transport" && is_ssl {
            let has_certificate = |section: &ImportedSection| {
                section.values.iter().any(|(key, _)| *key == "tls.certificate")
            };
            if !self.sections.get(at).is_some_and(has_certificate) {
                self.left_out.push(format!(
                    "{place}: transport = 'ssl': no certificate was found; write `tls.certificate` and `tls.key` into \
                     the file"
                ));
            }
            return;
        }
        let value = match value {
            PhpLiteral::Text(name) if property == "name" => PhpLiteral::Text(clean(&name)),
            value => value,
        };
        self.set(at, place, property, value);
    }

    /// Gives a property the setting that it is.
    fn set(&mut self, at: usize, place: &str, property: &str, value: PhpLiteral) {
        let Some(section) = self.sections.get_mut(at) else { return };
        match setting(section.kind, property, value) {
            Ok(Some((key, value))) => {
                section.values.retain(|(known, _)| *known != key);
                section.values.push((key, value));
            }
            Ok(None) => {}
            Err(reason) => self.left_out.push(format!("{place}: {property}: {reason}")),
        }
    }

    /// Takes a static property of the master: `Worker::$logFile`.
    fn of_program(&mut self, place: &str, class: &str, property: &str, value: PhpLiteral) {
        if class != "Worker" {
            let reason = reason(property).unwrap_or("it has no setting");
            self.left_out.push(format!("{place}: {class}::${property}: {reason}"));
            return;
        }
        let program = SectionKind::Program;
        let at = self.sections.iter().position(|section| section.kind == program);
        let at = at.unwrap_or_else(|| {
            let section =
                ImportedSection { kind: program, place: place.to_owned(), values: Vec::new() };
            self.sections.push(section);
            self.sections.len() - 1
        });
        self.set(at, place, property, value);
    }

    /// Notes what a business in PHP goes by, where it is another thing than here.
    fn of_business(&mut self, place: &str, property: &str, value: &PhpLiteral) {
        if property == "registerAddress" {
            let Some(RawValue::Text(addresses)) = raw(value.clone()) else { return };
            let listens = self.sections.iter().any(|section| {
                let is = |(key, value): &(&str, RawValue)| {
                    *key == "listen" && matches!(value, RawValue::Text(text) if *text == addresses)
                };
                section.kind == SectionKind::Register && section.values.iter().any(is)
            });
            if !listens {
                self.notes.push(format!(
                    "{place}: the BusinessWorker looks for the register at {addresses}: see that one of the file is \
                     reached there"
                ));
            }
        }
    }

    /// Gives names to services that would have the same one, or one that is none.
    fn name_services(&mut self) {
        let mut taken: Vec<String> = Vec::new();
        for section in &mut self.sections {
            if !section.kind.is_service() {
                continue;
            }
            let named = section.values.iter().position(|(key, _)| *key == "name");
            let own = named.map(|at| section.values.remove(at).1);
            let wished = match own {
                Some(RawValue::Text(name))
                    if name.contains(|letter: char| letter.is_ascii_alphanumeric()) =>
                {
                    name
                }
                _ => section.kind.name().to_owned(),
            };
            let mut name = wished.clone();
            for number in 2.. {
                if !taken.contains(&name) {
                    break;
                }
                name = format!("{wished}-{number}");
            }
            if name != section.kind.name() {
                section.values.insert(0, ("name", RawValue::Text(name.clone())));
            }
            taken.push(name);
            let has_port = section.values.iter().any(|(key, _)| *key == "start_port");
            if section.kind == SectionKind::Gateway && !has_port {
                section.values.push(("start_port", RawValue::Integer(START_PORT)));
            }
        }
    }

    /// Returns the file.
    fn text(&self) -> String {
        let mut text = String::from(
            "# Settings of the program `lineman`, from the start files of a GatewayWorker application.\n",
        );
        for line in &self.left_out {
            put(&mut text, &format!("# not carried over: {line}"));
        }
        for section in &self.sections {
            if section.values.is_empty() {
                continue;
            }
            put(&mut text, &format!("\n# {}\n{}", section.place, section.kind.header()));
            for (key, value) in &section.values {
                put(&mut text, &format!("{key} = {}", toml_of(value)));
            }
        }
        text
    }
}

/// Returns the socket's name as the file has it.
fn listen(kind: SectionKind, socket: &str) -> String {
    let (scheme, address) = socket.split_once("://").unwrap_or(("", socket));
    match (kind, &*scheme.to_ascii_lowercase()) {
        (SectionKind::Register, _) => address.to_owned(),
        (_, "" | "tcp") => format!("tcp://{address}"),
        (_, scheme) => format!("{scheme}://{address}"),
    }
}

/// Returns the setting of a property with its value, `None` if that is the default.
fn setting(
    kind: SectionKind,
    property: &str,
    value: PhpLiteral,
) -> Result<Option<(&'static str, RawValue)>, String> {
    let found = kind.settings().find(|setting: &&Setting| setting.php == property);
    let Some(setting) = found.filter(|_| reason(property).is_none()) else {
        return Err(reason(property).unwrap_or("it has no setting").to_owned());
    };
    if value == PhpLiteral::Null {
        return Ok(None);
    }
    let Some(raw) = raw(value) else {
        return Err(format!("only PHP knows its value: set `{}` in the file", setting.key));
    };
    setting.takes.read(&raw).map_err(|problem| format!("`{}`: {problem}", setting.key))?;
    Ok(Some((setting.key, raw)))
}

fn reason(property: &str) -> Option<&'static str> {
    let mut reasons = REASONS.iter();
    reasons.find(|(name, _)| *name == property).map(|(_, reason)| *reason)
}

/// Returns a literal as a value of the file; `None` for what none of it can be.
fn raw(literal: PhpLiteral) -> Option<RawValue> {
    Some(match literal {
        PhpLiteral::Switch(on) => RawValue::Switch(on),
        PhpLiteral::Integer(number) => RawValue::Integer(number),
        PhpLiteral::Float(number) => RawValue::Float(number),
        PhpLiteral::Text(text) => RawValue::Text(text),
        PhpLiteral::Array(parts) => {
            RawValue::List(parts.into_iter().map(|(_, part)| raw(part)).collect::<Option<_>>()?)
        }
        PhpLiteral::Null | PhpLiteral::Object(..) | PhpLiteral::Code => return None,
    })
}

/// Returns a name made of what may be in one.
fn clean(name: &str) -> String {
    let kept = |letter: char| {
        if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' }
    };
    // A number may follow.
    name.chars().take(60).map(kept).collect()
}

fn toml_of(value: &RawValue) -> String {
    match value {
        RawValue::Switch(on) => on.to_string(),
        RawValue::Integer(number) => number.to_string(),
        RawValue::Float(number) => number.to_string(),
        // JSON escapes as TOML does, but for one letter that only TOML forbids.
        RawValue::Text(text) => {
            serde_json::Value::from(&**text).to_string().replace('\u{7f}', "\\u007f")
        }
        RawValue::List(parts) => {
            format!("[{}]", parts.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        RawValue::Other(_) => String::new(),
    }
}

fn put(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    if writeln!(text, "{line}").is_err() {}
}
