//! Start files become files of settings: what is carried over, and what is named as left out.

use super::*;
use crate::relations;

/// Imports files that are texts, as `start_0.php`, …; returns the file that is written, and what it says besides.
fn imported(files: &[&str]) -> (String, Imported) {
    let mut imported = Imported::default();
    for (number, text) in files.iter().enumerate() {
        let assignments = php::assignments(text, "/srv/app").unwrap();
        imported.take(&format!("start_{number}.php"), assignments);
    }
    imported.name_services();
    let text = imported.text();
    // What is written is right, whatever was in the files.
    let (sections, faults) = file::sections(&text);
    let mut faults: Vec<_> = faults.into_iter().collect();
    faults.extend(relations::check(&sections));
    assert!(faults.is_empty(), "{faults:?} in\n{text}");
    (text, imported)
}

/// Returns the lines with settings and headers.
fn settings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn the_usual_files_become_a_register_and_a_gateway() {
    let gateway = "<?php\nuse \\Workerman\\Worker;\nuse \\GatewayWorker\\Gateway;\n\
        $gateway = new Gateway(\"Websocket://0.0.0.0:8282\");\n$gateway->name = 'Your App';\n\
        $gateway->count = 4;\n$gateway->lanIp = '127.0.0.1';\n$gateway->startPort = 2900;\n\
        $gateway->registerAddress = array('127.0.0.1:1238', '127.0.0.1:1239');\n\
        $gateway->pingInterval = 10;\n$gateway->pingData = '{\"type\":\"ping\"}';\n\
        $gateway->secretKey = \"a\\\"b\";\nif (!defined('GLOBAL_START')) {\n    Worker::runAll();\n}\n";
    let register =
        "<?php\nuse GatewayWorker\\Register;\n$register = new Register('text://0.0.0.0:1238');\n";
    let (text, imported) = imported(&[register, gateway]);
    assert_eq!(
        settings(&text),
        [
            "[[register]]",
            "listen = \"0.0.0.0:1238\"",
            "[[gateway]]",
            "name = \"Your-App\"",
            "listen = \"websocket://0.0.0.0:8282\"",
            "count = 4",
            "lan_ip = \"127.0.0.1\"",
            "start_port = 2900",
            "register_address = [\"127.0.0.1:1238\", \"127.0.0.1:1239\"]",
            "ping_interval = 10",
            r#"ping_data = "{\"type\":\"ping\"}""#,
            r#"secret_key = "a\"b""#,
        ]
    );
    assert!(imported.left_out.is_empty(), "{imported:?}");
}

#[test]
fn tls_of_a_context_is_carried_over() {
    let file = "<?php\n$context = ['ssl' => ['local_cert' => __DIR__ . '/a.pem', 'local_pk' => '/b.key', \
        'verify_peer' => false]];\n$gateway = new Gateway('websocket://0.0.0.0:443', $context);\n\
        $gateway->transport = 'ssl';\n";
    let (text, imported) = imported(&[file]);
    assert!(
        text.contains("tls.certificate = \"/srv/app/a.pem\"\ntls.key = \"/b.key\"\n"),
        "{text}"
    );
    assert!(text.contains("start_port = 2000\n"), "GatewayWorker's own default: {text}");
    assert!(imported.left_out.is_empty(), "{imported:?}");
}

#[test]
fn what_cannot_be_carried_over_is_named_with_its_place() {
    let file = "<?php\nWorker::$logFile = '/var/log/a.log';\nWorker::$pidFile = '/run/a.pid';\n\
        $gateway = new Gateway('websocket://0.0.0.0:1');\n$gateway->onConnect = function ($c) { $c->x = 1; };\n\
        $gateway->count = getenv('COUNT');\n$gateway->count = 'four';\n$gateway->colour = 'red';\n\
        $gateway->pingInterval = 55;\n$other = new Gateway('text://0.0.0.0:2');\n$http = new Worker('http://0.0.0.0:3');\n\
        $worker = new BusinessWorker();\n$worker->registerAddress = '10.0.0.1:1236';\n";
    let (text, imported) = imported(&[file]);
    assert_eq!(
        imported.left_out,
        [
            "start_0.php:3: pidFile: the pid file is in the folder of `program.runtime_dir`",
            "start_0.php:5: onConnect: a gateway runs no code of the application",
            "start_0.php:6: count: only PHP knows its value: set `count` in the file",
            "start_0.php:7: count: `count`: it is the text \"four\", and has to be a whole number from 1 to 1024",
            "start_0.php:8: colour: it has no setting",
            "start_0.php:11: new Worker(…): it stays in PHP",
        ]
    );
    assert!(text.contains("# not carried over: start_0.php:8: colour"), "{text}");
    assert!(text.contains("log_file = \"/var/log/a.log\""), "{text}");
    assert!(text.contains("name = \"gateway-2\"\nlisten = \"text://0.0.0.0:2\""), "{text}");
    assert_eq!(imported.notes.len(), 2, "{imported:?}");
}
