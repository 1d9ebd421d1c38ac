//! JSON as PHP writes it: for the ext data of packets, and for clients.

use lineman_wire::link::php_json;
use lineman_wire::php;

#[test]
fn php_json_escapes_as_php_does() {
    assert_eq!(php_json::to_string(&[0.5_f32, -0.25]).unwrap(), "[0.5,-0.25]");
    let text =
        php_json::to_string(&("/é\u{1F600}\u{7f}\u{8}\u{c}\u{1f}\"\\", 1.0, 1e25, -0.5)).unwrap();
    assert_eq!(text, "[\"\\/\\u00e9\\ud83d\\ude00\u{7f}\\b\\f\\u001f\\\"\\\\\",1,1.0e+25,-0.5]");
}

/// What `php -r 'echo json_encode(unserialize($argv[1]), JSON_UNESCAPED_UNICODE);'` prints.
#[test]
fn json_for_clients_is_what_workerman_sends() {
    let json = |value: &str| {
        php_json::to_client(&php::unserialize(value.as_bytes(), php::Limits::default()).unwrap())
    };
    let check = |value: &str, expected: &str| assert_eq!(json(value).unwrap(), expected);
    check("N;", "null");
    check("a:0:{}", "[]");
    check("a:1:{i:1;a:0:{}}", r#"{"1":[]}"#);
    check("a:2:{i:1;i:1;i:0;b:0;}", r#"{"1":1,"0":false}"#);
    check("a:2:{s:0:\"\";i:1;i:-5;N;}", r#"{"":1,"-5":null}"#);
    check("a:1:{s:3:\"\u{e9}/\";i:1;}", "{\"\u{e9}\\/\":1}");
    check(
        "a:2:{i:0;i:9223372036854775807;i:1;i:-9223372036854775808;}",
        "[9223372036854775807,-9223372036854775808]",
    );
    check(
        "a:8:{i:0;d:1;i:1;d:-0;i:2;d:1.0E+25;i:3;d:1.5E-7;i:4;d:1.0E+15;i:5;d:1.0E+17;i:6;d:1.0E-5;i:7;d:0.1;}",
        "[1,-0,1.0e+25,1.5e-7,1000000000000000,1.0e+17,1.0e-5,0.1]",
    );
    let text =
        php::Value::from("\u{e9}/\u{2028}\u{2029}\u{1F600}\"\\\0\u{1f}\u{7f}\u{8}\u{c}\n\r\t<>&'");
    let expected =
        "\"\u{e9}\\/\\u2028\\u2029\u{1F600}\\\"\\\\\\u0000\\u001f\u{7f}\\b\\f\\n\\r\\t<>&'\"";
    assert_eq!(php_json::to_client(&text).unwrap(), expected);
    // What `json_encode` fails with. Nothing stands for it: no list of numbers, no null.
    let fails = |value: &[u8], expected: &str| {
        let value = php::unserialize(value, php::Limits::default()).unwrap();
        assert_eq!(php_json::to_client(&value).unwrap_err().to_string(), expected);
    };
    let not_utf8 = "a php string that is not utf-8 cannot become json";
    fails(b"a:1:{i:0;a:1:{s:1:\"k\";s:1:\"\xff\";}}", not_utf8);
    fails(b"a:1:{s:1:\"\xff\";i:1;}", not_utf8);
    fails(b"a:1:{i:0;d:NAN;}", "a php float that is not finite cannot become json");
    fails(b"a:1:{i:0;d:-INF;}", "a php float that is not finite cannot become json");
}
