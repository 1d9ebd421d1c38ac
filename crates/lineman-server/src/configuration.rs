//! A configuration as a whole: file and environment together, checked, and the program that it makes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lineman::App;

use crate::draft::{Draft, DraftService};
use crate::fault::{self, ConfigFault, ValueOrigin};
use crate::file::{self, Found, SectionValues};
use crate::settings::{SectionKind, SettingValue, key_of_service};
use crate::{environment, ports, relations};

/// Where the file is if no flag says so, the first that is there.
const PLACES: [&str; 2] = ["lineman.toml", "/etc/lineman/lineman.toml"];

/// The longest key that a file of one has.
const LONGEST_SECRET: u64 = 4096;

/// What was found, right or not.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// The file, if there is one.
    file: Option<PathBuf>,
    sections: Vec<SectionValues>,
    faults: Vec<ConfigFault>,
}

impl Configuration {
    /// Reads the file that the flag names, or the one at one of its places, and the environment.
    pub(crate) fn load(flag: Option<&Path>) -> Self {
        let variables = environment::variables();
        let found = || PLACES.iter().map(PathBuf::from).find(|place| place.exists());
        match flag.map(Path::to_path_buf).or_else(found) {
            Some(path) => Self::of_file(path, &variables),
            None if environment::make_services(&variables) => {
                let mut sections = Vec::new();
                environment::add_services(&variables, &mut sections);
                Self::of_sections(None, sections, Vec::new(), &variables)
            }
            None => Self {
                file: None,
                sections: Vec::new(),
                faults: vec![ConfigFault::of_all(format!(
                    "there is no configuration: neither {} nor LINEMAN_GATEWAY_LISTEN or LINEMAN_REGISTER_LISTEN \
                     (hint: `lineman init` writes an example; --config names a file elsewhere)",
                    PLACES.join(" nor ")
                ))],
            },
        }
    }

    /// Reads what a command to a cluster goes by: the environment, and the file if there is one and it is wanted, or
    /// one is named. Returns the file, the sections, and what is wrong with them, each by itself.
    pub(crate) fn sections(
        flag: Option<&Path>,
        with_file: bool,
    ) -> (Option<PathBuf>, Vec<SectionValues>, Vec<ConfigFault>) {
        let variables = environment::variables();
        let found = || PLACES.iter().map(PathBuf::from).find(|place| place.exists());
        let path = flag.map(Path::to_path_buf).or_else(|| with_file.then(found).flatten());
        let (mut sections, mut faults) = match path.as_deref().map(file::text_of) {
            Some(Ok(text)) => file::sections(&text),
            Some(Err(fault)) => (Vec::new(), vec![fault]),
            None => {
                let mut sections = Vec::new();
                environment::add_services(&variables, &mut sections);
                (sections, Vec::new())
            }
        };
        faults.extend(environment::apply(&variables, &mut sections));
        faults.extend(sections.iter_mut().filter_map(read_secret));
        (path, sections, faults)
    }

    fn of_file(path: PathBuf, variables: &[(String, OsString)]) -> Self {
        match file::text_of(&path) {
            Ok(text) => {
                let (sections, faults) = file::sections(&text);
                Self::of_sections(Some(path), sections, faults, variables)
            }
            Err(fault) => Self { file: Some(path), sections: Vec::new(), faults: vec![fault] },
        }
    }

    fn of_sections(
        file: Option<PathBuf>,
        mut sections: Vec<SectionValues>,
        mut faults: Vec<ConfigFault>,
        variables: &[(String, OsString)],
    ) -> Self {
        faults.extend(environment::apply(variables, &mut sections));
        for section in &mut sections {
            faults.extend(read_secret(section));
        }
        // What a section that was not understood, or not read to its end, would say is not known.
        let understood = faults.iter().all(|fault| !fault.text.starts_with("it is no TOML"))
            && faults.len() <= fault::MOST;
        if understood {
            faults.extend(relations::check(&sections));
        }
        share(&mut sections);
        if faults.is_empty() {
            ports::settle(&mut sections);
        }
        Self { file, sections, faults }
    }

    /// Returns one that was accepted before.
    pub(crate) fn in_force(file: Option<PathBuf>, sections: Vec<SectionValues>) -> Self {
        Self { file, sections, faults: Vec::new() }
    }

    /// Returns that of a file with this text, without an environment.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Self {
        let (sections, faults) = file::sections(text);
        Self::of_sections(Some("lineman.toml".into()), sections, faults, &[])
    }

    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    pub(crate) fn all_sections(&self) -> &[SectionValues] {
        &self.sections
    }

    /// Returns its section of the same kind and, if it is a service, of the same name.
    pub(crate) fn like(&self, other: &SectionValues) -> Option<&SectionValues> {
        self.sections.iter().find(|section| {
            section.kind == other.kind && section.variable_name() == other.variable_name()
        })
    }

    /// Names the place of something that was found.
    pub(crate) fn place(&self, origin: &ValueOrigin) -> String {
        fault::place(origin, self.file.as_deref())
    }

    /// Returns where the addresses of a service are set, in the order of its listeners.
    pub(crate) fn places_of_listeners(&self, section: &SectionValues) -> Vec<String> {
        let of_links = section.kind == SectionKind::Gateway;
        let links = of_links.then(|| ports::key_of_links(section));
        let keys = ["listen"].into_iter().chain(links);
        keys.map(|key| {
            let origin = section.values.get(key).map_or(&section.origin, |found| &found.origin);
            format!("{}, {}", section.name_of(key), self.place(origin))
        })
        .collect()
    }

    /// Returns what is wrong, a line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        fault::lines(self.faults.clone(), self.file.as_deref())
    }

    /// Returns the program without its services, as far as what was found is right: for commands that only have to
    /// find the one that runs.
    pub(crate) fn bare_app(&self) -> App {
        let mut draft = Draft::of_program();
        draft.app = draft.app.map(|app| app.name("lineman"));
        let program = self.sections.iter().find(|section| section.kind == SectionKind::Program);
        if let Some(program) = program {
            program.apply(&mut draft);
        }
        draft.into_app()
    }
}

impl SectionValues {
    /// Returns the service it describes.
    pub(crate) fn service(&self) -> Option<DraftService> {
        let mut draft = Draft::default();
        self.apply(&mut draft);
        draft.into_service()
    }

    /// Applies its values in the order of the table.
    pub(crate) fn apply(&self, draft: &mut Draft) {
        for setting in self.kind.settings() {
            if let Some(found) = self.values.get(setting.key) {
                setting.takes.set(draft, &found.value);
            }
        }
    }
}

/// Reads the file of a key, whose place the key takes.
pub(crate) fn read_secret(section: &mut SectionValues) -> Option<ConfigFault> {
    let found = section.values.get("secret_key_file")?.clone();
    let SettingValue::Text(path) = &found.value else { return None };
    let fault = |text: String| {
        Some(ConfigFault::at(&found.origin, section.name_of("secret_key_file"), text))
    };
    if section.values.contains_key("secret_key") {
        return fault("it is there beside secret_key: choose one".to_owned());
    }
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) => return fault(format!("cannot read {path}: {error}")),
    };
    if !facts.is_file() || facts.len() > LONGEST_SECRET {
        return fault(format!(
            "{path} is no file of a key: it has to be a file of {LONGEST_SECRET} bytes at most"
        ));
    }
    let text = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fault(format!("cannot read {path}: {error}")),
    };
    let Ok(text) = String::from_utf8(text) else {
        return fault(format!("{path} is not UTF-8"));
    };
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return fault(format!("{path} is empty"));
    }
    let value = SettingValue::Text(key.to_owned());
    section.values.insert("secret_key", Found { value, origin: found.origin });
    section.values.remove("secret_key_file");
    None
}

/// Gives the services what `[cluster]` says and they do not.
fn share(sections: &mut [SectionValues]) {
    let cluster = sections.iter().find(|section| section.kind == SectionKind::Cluster);
    let Some(cluster) = cluster.cloned() else { return };
    for section in sections.iter_mut().filter(|section| section.kind.is_service()) {
        for (key, found) in &cluster.values {
            let key = key_of_service(key);
            if let Some(setting) = section.kind.setting(key) {
                section.values.entry(setting.key).or_insert_with(|| found.clone());
            }
        }
    }
}
