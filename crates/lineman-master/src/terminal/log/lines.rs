//! Reads lines of a log back: which slot one is about, whatever its form.

use serde::Deserialize;

use super::MASTER;

/// What a line of JSON must have to be chosen by.
#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    slot: std::borrow::Cow<'a, str>,
}

/// Chooses the lines about one service or slot; what follows a line indented belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Chooser {
    wanted: Option<String>,
    /// Whether the last line that began something was chosen.
    chosen: bool,
}

impl Chooser {
    /// Returns a chooser of the lines about `wanted`: a service, a slot, or `master`; `None` is all.
    pub(crate) fn new(wanted: Option<String>) -> Self {
        Self { wanted, chosen: false }
    }

    /// Returns whether this line, which comes after the last one that was asked about, is chosen.
    pub(crate) fn takes(&mut self, line: &str) -> bool {
        let Some(wanted) = &self.wanted else { return true };
        if !line.starts_with([' ', '\t']) {
            self.chosen = is_about(line, wanted);
        }
        self.chosen
    }
}

fn is_about(line: &str, wanted: &str) -> bool {
    if line.starts_with('{') {
        return serde_json::from_str::<JsonLine<'_>>(line)
            .is_ok_and(|line| fits(&line.slot, wanted));
    }
    // `TIME LEVEL SLOT[PID] MESSAGE`; a level may have colour around it, a slot may hold spaces.
    let Some((time, rest)) = line.split_once(' ') else { return false };
    let Some((level, rest)) = rest.split_once(' ') else { return false };
    let is_ours = time.ends_with('Z') && level.contains(['E', 'W', 'I', 'D', 'T']);
    let Some((source, message)) = rest.split_once('[').filter(|_| is_ours) else { return false };
    fits(source, wanted)
        || (source == MASTER && named(message).is_some_and(|slot| fits(&slot, wanted)))
}

/// Returns the slot that a line of the master names as a field.
fn named(message: &str) -> Option<String> {
    let (_, value) = message.split_once(" slot=").or_else(|| message.split_once(" lender="))?;
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<String>();
    let quoted = values.next().and_then(Result::ok);
    quoted.or_else(|| Some(value.split(' ').next()?.to_owned()))
}

fn fits(slot: &str, wanted: &str) -> bool {
    slot == wanted || slot.rsplit_once('/').is_some_and(|(service, _)| service == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, line: &str, expected: bool) {
        assert_eq!(Chooser::new(Some(wanted.to_owned())).takes(line), expected, "{line}");
    }

    #[test]
    fn lines_of_text_are_chosen_by_slot_and_service() {
        let line = "2026-03-01T12:00:00.123456Z  INFO echo/0[712] ready generation=1";
        check("echo/0", &line.replace("  ", " "), true);
        check("echo", &line.replace("  ", " "), true);
        check("echo/1", &line.replace("  ", " "), false);
        let master = "2026-03-01T12:00:00.1Z ERROR master[7] ended slot=\"echo/1\" pid=9 reason=x";
        check("echo/1", master, true);
        check("master", master, true);
        check("echo/0", master, false);
        check("echo", "something printed about echo/0[1]", false);
    }

    #[test]
    fn lines_of_json_are_chosen_by_their_key() {
        let line = r#"{"timestamp":"t","level":"INFO","slot":"echo/0","pid":7,"message":"ready"}"#;
        check("echo/0", line, true);
        check("echo", line, true);
        check("chat", line, false);
        check("chat", "{nonsense", false);
    }

    #[test]
    fn what_is_indented_belongs_to_the_line_before() {
        let mut chooser = Chooser::new(Some("echo/0".to_owned()));
        assert!(chooser.takes("2026-03-01T12:00:00Z ERROR echo/0[7] panicked backtrace="));
        assert!(chooser.takes("       0: main"));
        assert!(!chooser.takes("2026-03-01T12:00:00Z INFO echo/1[8] ready"));
        assert!(!chooser.takes("    more of it"));
    }
}
