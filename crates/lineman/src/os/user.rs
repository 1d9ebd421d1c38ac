//! Names for user numbers, for messages that tell whose file it is.

use std::fs;

/// Returns the user's name, or `uid N` when the machine has none for it.
pub(crate) fn name(uid: u32) -> String {
    fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|passwd| find(&passwd, uid))
        .unwrap_or_else(|| format!("uid {uid}"))
}

fn find(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_third_field_is_the_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nwww:x:33:0::/:/bin/false\n";
        assert_eq!(find(passwd, 33).as_deref(), Some("www"));
        assert_eq!(find(passwd, 5), None);
    }
}
