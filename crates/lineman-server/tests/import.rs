//! `lineman import`, as it is called: what it writes is a file that `check` finds right.

use std::path::Path;
use std::process::{Command, Output};

fn lineman(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lineman"));
    let command = command.args(arguments).current_dir(folder);
    command.env("LINEMAN_RUNTIME_DIR", folder.join("run")).output().expect("the program is there")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn start_files_become_a_file_that_check_finds_right() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("start_register.php", "<?php\n$register = new Register('text://127.0.0.1:0');\n");
    write(
        "start_gateway.php",
        "<?php\n$gateway = new Gateway('websocket://127.0.0.1:0');\n$gateway->startPort = 0;\n$gateway->onConnect = 'f';\n",
    );
    let files = ["import", "start_register.php", "start_gateway.php"];
    let first = lineman(folder, &files);
    assert!(first.status.success(), "{}", said(&first));
    assert!(
        said(&first).contains("not carried over: start_gateway.php:4: onConnect"),
        "{}",
        said(&first)
    );
    let check = lineman(folder, &["check"]);
    assert!(check.status.success(), "{}", said(&check));
    assert!(said(&check).contains("websocket"), "{}", said(&check));

    let again = lineman(folder, &files);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("--force"), "{}", said(&again));
    let forced = lineman(folder, &["import", "--force", "start_gateway.php"]);
    assert!(forced.status.success(), "{}", said(&forced));
    let shown = lineman(folder, &["import", "-o", "-", "start_gateway.php"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("[[gateway]]"), "{}", said(&shown));
}

#[test]
fn what_cannot_be_imported_is_an_error_that_says_so() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    std::fs::write(folder.join("broken.php"), "<?php\n\n$x = 'a").unwrap();
    std::fs::write(folder.join("none.php"), "<?php\n$x = 1;").unwrap();
    std::fs::write(folder.join("latin.php"), b"<?php\n// caf\xe9\n").unwrap();
    for (file, problem) in [
        ("broken.php", "broken.php:3: a text has no closing '"),
        ("none.php", "there is nothing to import"),
        ("latin.php", "latin.php:2: it is not UTF-8"),
        ("missing.php", "missing.php: cannot read it"),
        (".", "it is no file"),
    ] {
        let output = lineman(folder, &["import", file]);
        assert_eq!(output.status.code(), Some(1), "{file}");
        assert!(said(&output).contains(problem), "{file}: {}", said(&output));
        assert!(!folder.join("lineman.toml").exists());
    }
}
