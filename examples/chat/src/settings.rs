//! What the chat takes from the environment; the table of it is in `main.rs`. A name that is not known and a value
//! that cannot be used are errors: a misspelt one would otherwise give a cluster that looks as if it worked.

use std::collections::BTreeMap;

/// Where this process's registers are looked for, and listen, when nothing is said.
const REGISTER: &str = "127.0.0.1:1236";

/// More processes than this on one machine are a slip of the finger.
const MOST_PROCESSES: usize = 1024;

/// The names, apart from their common beginning.
const NAMES: [&str; 12] = [
    "LISTEN",
    "SERVICES",
    "REGISTER",
    "REGISTER_LISTEN",
    "LAN_IP",
    "INNER_LISTEN",
    "START_PORT",
    "CLUSTER",
    "SECRET",
    "SECRET_FILE",
    "GATEWAYS",
    "BUSINESSES",
];

const BEGINNING: &str = "CHAT_";

/// What the environment says, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) listen: String,
    /// Where the register here listens, if there is one.
    pub(crate) register_listen: Option<String>,
    /// `None`: no gateways here.
    pub(crate) gateways: Option<usize>,
    /// `None`: no businesses here.
    pub(crate) businesses: Option<usize>,
    /// All registers of the cluster.
    pub(crate) registers: Vec<String>,
    /// An IPv4 address, or a name.
    pub(crate) lan_ip: String,
    /// `None`: at that.
    pub(crate) inner_listen: Option<String>,
    pub(crate) start_port: u16,
    /// Empty: none.
    pub(crate) cluster: String,
    /// Empty: none.
    pub(crate) secret: String,
}

impl Settings {
    /// Reads the environment of this process.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let mut given = Given::default();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(BEGINNING)) else {
                continue;
            };
            let value =
                value.into_string().map_err(|_| format!("{BEGINNING}{name} is no UTF-8"))?;
            given.add(name, value)?;
        }
        Self::of(&given)
    }

    fn of(given: &Given) -> Result<Self, String> {
        let services = given.get("SERVICES").unwrap_or("register gateway business");
        let mut here =
            BTreeMap::from([("register", false), ("gateway", false), ("business", false)]);
        for service in words(services) {
            let Some(here) = here.get_mut(service) else {
                let known = "register, gateway, business";
                return Err(given.wrong("SERVICES", &format!("`{service}` is none of {known}")));
            };
            *here = true;
        }
        let is_here = |service| here.get(service) == Some(&true);
        if here.values().all(|here| !here) {
            return Err(given.wrong("SERVICES", "nothing would run"));
        }
        let registers: Vec<String> =
            words(given.get("REGISTER").unwrap_or(REGISTER)).map(str::to_owned).collect();
        for register in &registers {
            if !is_address(register) {
                return Err(given.wrong("REGISTER", &format!("`{register}` is no host:port")));
            }
        }
        let register_listen = match (
            is_here("register"),
            given.get("REGISTER_LISTEN"),
            &registers[..],
        ) {
            (false, _, _) => None,
            (true, Some(listen), _) => Some(listen.to_owned()),
            (true, None, [only]) => Some(only.clone()),
            (true, None, registers) => {
                let why = format!(
                    "{} registers: say which address the one here listens on, in CHAT_REGISTER_LISTEN",
                    registers.len()
                );
                return Err(given.wrong("REGISTER", &why));
            }
        };
        let gateways = given.number("GATEWAYS", 2, 1..=MOST_PROCESSES)?;
        let businesses = given.number("BUSINESSES", 2, 1..=MOST_PROCESSES)?;
        Ok(Self {
            listen: given.get("LISTEN").unwrap_or("0.0.0.0:7272").to_owned(),
            register_listen,
            gateways: is_here("gateway").then_some(gateways),
            businesses: is_here("business").then_some(businesses),
            registers,
            lan_ip: given.get("LAN_IP").unwrap_or("127.0.0.1").to_owned(),
            inner_listen: given.get("INNER_LISTEN").map(str::to_owned),
            start_port: given.number("START_PORT", 0, 0..=u16::MAX)?,
            cluster: given.get("CLUSTER").unwrap_or_default().to_owned(),
            secret: given.secret()?,
        })
    }
}

/// What is set, by its name without the beginning.
#[derive(Debug, Default)]
struct Given(BTreeMap<String, String>);

impl Given {
    fn add(&mut self, name: &str, value: String) -> Result<(), String> {
        if !NAMES.contains(&name) {
            let known = NAMES.map(|name| format!("{BEGINNING}{name}")).join(", ");
            return Err(format!("{BEGINNING}{name} is no setting of the chat; there are {known}"));
        }
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number<T>(
        &self,
        name: &str,
        default: T,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, String>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            self.wrong(
                name,
                &format!("a number from {} to {} is needed", range.start(), range.end()),
            )
        })
    }

    /// Returns the key itself, or that of a file, as secrets of containers and of systemd are.
    fn secret(&self) -> Result<String, String> {
        let secret = match (self.get("SECRET"), self.get("SECRET_FILE")) {
            (Some(_), Some(_)) => {
                return Err("either CHAT_SECRET or CHAT_SECRET_FILE, not both".to_owned());
            }
            (None, None) => return Ok(String::new()),
            (Some(secret), None) => secret.to_owned(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| self.wrong("SECRET_FILE", &error.to_string()))?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
        };
        // An empty key is none: a cluster that was meant to have one would be open to everybody.
        if secret.is_empty() {
            Err("the key is empty: unset CHAT_SECRET for a cluster without one".to_owned())
        } else {
            Ok(secret)
        }
    }

    /// Returns what is wrong with a value, which is shown unless it is secret.
    fn wrong(&self, name: &str, why: &str) -> String {
        format!("{BEGINNING}{name}={}: {why}", self.get(name).unwrap_or_default())
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', ',']).filter(|word| !word.is_empty())
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let mut given = Given::default();
        for (name, value) in variables {
            given.add(name, (*value).to_owned())?;
        }
        Settings::of(&given)
    }

    fn check_wrong(variables: &[(&str, &str)], expected: &str) {
        let error = read(variables).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn without_anything_it_is_a_whole_chat_on_one_machine() {
        let settings = read(&[]).unwrap();
        let expected = Settings {
            listen: "0.0.0.0:7272".to_owned(),
            register_listen: Some(REGISTER.to_owned()),
            gateways: Some(2),
            businesses: Some(2),
            registers: vec![REGISTER.to_owned()],
            lan_ip: "127.0.0.1".to_owned(),
            inner_listen: None,
            start_port: 0,
            cluster: String::new(),
            secret: String::new(),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_machine_of_several_says_what_it_is() {
        let settings = read(&[
            ("SERVICES", "gateway, business"),
            ("REGISTER", "10.0.0.1:1236,10.0.0.2:1236"),
            ("LAN_IP", "10.0.0.3"),
            ("INNER_LISTEN", "0.0.0.0"),
            ("START_PORT", "4000"),
            ("CLUSTER", "chat"),
            ("SECRET", "s"),
            ("GATEWAYS", "4"),
        ]);
        let settings = settings.unwrap();
        assert_eq!(settings.register_listen, None);
        assert_eq!((settings.gateways, settings.businesses), (Some(4), Some(2)));
        assert_eq!(settings.registers, ["10.0.0.1:1236", "10.0.0.2:1236"]);
        assert_eq!((&*settings.lan_ip, settings.start_port), ("10.0.0.3", 4000));
        assert_eq!(settings.inner_listen.as_deref(), Some("0.0.0.0"));
        assert_eq!((&*settings.cluster, &*settings.secret), ("chat", "s"));
    }

    #[test]
    fn a_key_may_be_in_a_file() {
        let file = std::env::temp_dir().join(format!("chat-key-{}", std::process::id()));
        std::fs::write(&file, "from a file\n").unwrap();
        let path = file.to_str().unwrap();
        let settings = read(&[("SECRET_FILE", path)]);
        check_wrong(&[("SECRET_FILE", path), ("SECRET", "s")], "not both");
        std::fs::write(&file, "\n").unwrap();
        check_wrong(&[("SECRET_FILE", path)], "empty");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(settings.unwrap().secret, "from a file");
        check_wrong(&[("SECRET_FILE", path)], "No such file");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        check_wrong(&[("REGISTERS", "10.0.0.1:1236")], "CHAT_REGISTERS is no setting");
        check_wrong(&[("SERVICES", "gateway registre")], "`registre` is none of");
        check_wrong(&[("SERVICES", " ")], "nothing would run");
        check_wrong(&[("REGISTER", "10.0.0.1")], "`10.0.0.1` is no host:port");
        check_wrong(&[("REGISTER", "a:1236 b:1236")], "CHAT_REGISTER_LISTEN");
        check_wrong(&[("START_PORT", "70000")], "from 0 to 65535");
        check_wrong(&[("GATEWAYS", "0")], "CHAT_GATEWAYS=0: a number from 1");
        check_wrong(&[("BUSINESSES", "two")], "from 1 to 1024");
        check_wrong(&[("SECRET", "")], "the key is empty");
    }

    #[test]
    fn every_setting_is_in_the_table_of_the_program() {
        let head = include_str!("main.rs");
        for name in NAMES {
            assert!(head.contains(&format!("`{BEGINNING}{name}`")), "{name}");
        }
    }
}
