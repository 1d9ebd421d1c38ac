//! Peers that speak something else, or nonsense, or the truth with one bit changed.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let files = Files::new();
    let mut server = our_server(&files.tls("server"));
    server.give(bytes);
    let error = server.our().error.take().expect("an error");
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn what_is_no_tls_is_refused_at_its_first_byte() {
    refused(b"G", "looks like plain HTTP");
    refused(b"GET / HTTP/1.1\r\n\r\n", "looks like plain HTTP");
    refused(&[0x80, 0x2e, 1], "SSL 2");
    refused(&[0x17, 3, 3], "does not speak TLS: its first byte is 0x17");
}

#[test]
fn a_record_is_refused_at_its_header() {
    refused(&[0x16, 3, 1, 0xff, 0xff], "65535 bytes, 18432 are allowed");
    refused(&[0x16, 2, 1, 0, 1], "none of TLS");
    for (suite, limit) in [(tls12(), 18_432), (tls13(), 16_640)] {
        let (_, mut server) = pair(suite);
        let length = u16::try_from(limit + 1).unwrap().to_be_bytes();
        server.give(&[23, 3, 3, length[0], length[1]]);
        let error = server.our().error.take().unwrap();
        assert!(error.to_string().contains(&format!("{limit} are allowed")), "{error}");
        assert!(!server.take().is_empty(), "an alert");
    }
}

/// The alerts of RFC 8446, 6, by the numbers they have there.
#[test]
fn what_is_wrong_with_a_record_has_its_alert() {
    let (unexpected, bad_mac, overflow, version) = (10, 20, 22, 70);
    let files = Files::new();
    for (bytes, alert) in [([0x16, 3, 1, 0xff, 0xff], overflow), ([0x16, 2, 1, 0, 1], version)] {
        let mut server = our_server(&files.tls("server"));
        server.give(&bytes);
        assert_eq!(server.take(), [21, 3, 3, 0, 2, 2, alert], "{bytes:?}");
    }
    // Behind the server's hello the alert is rustls's: under its keys, in TLS 1.3.
    for (suite, length) in [(tls12(), 7), (tls13(), 5 + 2 + 1 + 16)] {
        let mut client = their_client(files.their_client(Some(suite)));
        let mut server = our_server(&files.tls("server"));
        let hello = client.take();
        server.give(&hello);
        server.take();
        server.give(&[0x99]);
        assert!(server.our().error.take().is_some());
        assert_eq!(server.take().len(), length);
    }
    for (suite, bytes, alert) in [
        (tls12(), &[0x99][..], unexpected),
        (tls13(), &[0x99], unexpected),
        (tls12(), &[23, 4, 3, 0, 1], version),
        (tls13(), &[23, 4, 3, 0, 1], version),
        (tls12(), &[23, 3, 1, 0, 1, 0], version),
        (tls12(), &[23, 3, 3, 0xff, 0xff], overflow),
        (tls13(), &[23, 3, 3, 0xff, 0xff], overflow),
        (tls12(), &[23, 3, 3, 0, 1, 0], bad_mac),
        (tls13(), &[23, 3, 3, 0, 1, 0], bad_mac),
        (tls13(), &[22, 3, 3, 0, 1, 0], unexpected),
        (tls13(), &[20, 3, 3, 0, 1, 1], unexpected),
    ] {
        let (mut client, mut server) = pair(suite);
        server.give(bytes);
        let sealed = server.take();
        client.give(&sealed);
        let told = client.our().error.take();
        assert!(
            matches!(told, Some(TlsError::Alert(told)) if told == alert),
            "{bytes:?}: {told:?}"
        );
    }
}

#[test]
fn a_handshake_of_endless_length_is_refused() {
    let files = Files::new();
    let mut server = our_server(&files.tls("server"));
    // A hello of 16 MiB, in records of 16 KiB.
    let record = |data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&[0x16, 3, 1, length[0], length[1]], data].concat()
    };
    server.give(&record(&[&[1, 0xff, 0xff, 0xff][..], &[0; 16_000]].concat()));
    for _ in 0..8 {
        server.give(&record(&[0; 16_000]));
    }
    assert!(server.our().error.is_some());
}

#[test]
fn a_repeated_or_swapped_record_is_not_authentic() {
    for suite in suites() {
        let (mut client, mut server) = pair(suite);
        client.send(b"one");
        let one = client.take();
        client.send(b"two");
        let two = client.take();
        server.give(&one);
        let copy = server.our().session.info().is_some();
        assert!(copy);
        server.give(&one);
        assert!(matches!(server.our().error, Some(TlsError::NotAuthentic)));
        server.give(&two);
        assert_eq!(server.read(), b"one");
    }
}

#[test]
fn no_bit_of_a_record_can_be_changed() {
    for suite in [tls12(), tls13()] {
        for byte in 0..40 {
            let (mut client, mut server) = pair(suite);
            client.send(b"attack at dawn");
            let mut bytes = client.take();
            let Some(changed) = bytes.get_mut(byte) else { continue };
            *changed ^= 4;
            // Longer than it is: then it waits for more.
            bytes.extend([0; 2000]);
            server.give(&bytes);
            assert!(server.our().error.is_some() || byte == 4 || byte == 3, "byte {byte}");
            assert_eq!(server.read(), b"", "byte {byte}");
        }
    }
}

#[test]
fn failed_handshakes_say_what_to_do() {
    let files = Files::new();
    let mut client = our_client(&Files::new().client_tls());
    let mut server = our_server(&files.tls("server"));
    exchange(&mut client, &mut server);
    let error = client.our().error.take().unwrap().to_string();
    assert!(error.contains("root_certificates"), "{error}");
    let error = server.our().error.take().unwrap().to_string();
    assert!(error.contains("hint: "), "{error}");

    let name = files.path("").display().to_string();
    let [before, after] =
        [name.clone(), name].map(|name| Files::of_authority(TempDir::new().unwrap(), name));
    let mut client = our_client(&before.client_tls());
    let mut server = our_server(&after.tls("server"));
    exchange(&mut client, &mut server);
    let error = client.our().error.take().unwrap().to_string();
    assert!(error.contains("out of date"), "{error}");

    let connector = Connector::new(&files.client_tls()).unwrap();
    let mut client = End::ours(connector.session("elsewhere.example").unwrap());
    let mut server = our_server(&files.tls("server"));
    exchange(&mut client, &mut server);
    assert!(client.our().error.take().unwrap().to_string().contains("elsewhere.example"));
    let error = connector.session("not a name").unwrap_err();
    assert!(error.to_string().contains("not a name"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        prefix in prop::sample::select(vec![vec![], vec![22, 3, 1, 0, 90], vec![22, 3, 3, 2, 0, 1, 0, 1, 252, 3, 3], vec![21, 3, 3, 0, 2]]),
    ) {
        let files = Files::new();
        let bytes = [prefix, garbage].concat();
        our_server(&files.tls("server")).give(&bytes);
        our_client(&files.client_tls()).give(&bytes);
    }

    #[test]
    fn a_damaged_handshake_never_panics(at in 0_usize..2000, bits in 1_u8.., fragment in 1_usize..400) {
        let files = Files::new();
        let mut client = our_client(&files.client_tls());
        let mut server = our_server(&files.tls("server"));
        let mut hello = client.take();
        let length = hello.len();
        hello[at % length] ^= bits;
        hello.chunks(fragment).for_each(|piece| server.give(piece));
        let mut answer = server.take();
        if !answer.is_empty() {
            let length = answer.len();
            answer[at % length] ^= bits;
            answer.chunks(fragment).for_each(|piece| client.give(piece));
        }
    }

    #[test]
    fn garbage_in_an_established_session_never_panics_and_brings_no_data(
        garbage in prop::collection::vec(any::<u8>(), 0..300),
        sealed in prop::collection::vec(any::<u8>(), 0..100),
        kind in any::<u8>(),
        suite in prop::sample::select(suites()),
    ) {
        let (mut client, mut server) = pair(suite);
        server.give(&garbage);
        prop_assert_eq!(server.read(), b"");
        let (_, mut server) = (client.take(), server);
        // Nonsense that is authentic: what an honest but mad peer would send.
        let (mut mad, mut sane) = pair(suite);
        records::inject(&mut mad, kind, &sealed);
        exchange(&mut mad, &mut sane);
        if kind != crate::tls::record::kind::APPLICATION_DATA && suite == tls12() {
            prop_assert_eq!(sane.read(), b"");
        }
        server.take();
    }
}

#[test]
fn a_servers_certificate_that_is_an_authoritys_is_named_as_such() {
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.signed_by(&key, &files.authority).unwrap();
    std::fs::write(files.path("both.pem"), certificate.pem()).unwrap();
    std::fs::write(files.path("both.key"), key.serialize_pem()).unwrap();
    let (mut client, mut server) =
        (our_client(&files.client_tls()), our_server(&files.tls("both")));
    exchange(&mut client, &mut server);
    let error = client.our().error.take().unwrap().to_string();
    assert!(error.contains("hint: ") && error.contains("CA:TRUE"), "{error}");
}
