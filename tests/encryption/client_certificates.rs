//! Certificates of clients: in which forms their keys are read, who may read them, and what servers make of
//! them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use openssl::pkey::PKey;
use openssl::symm::Cipher;

use crate::bench::{Authorities, Bench};
use crate::support::certificates::{Certificate, CertificateStore, Key, Template, ecdsa_key};
use crate::support::{ServerAccount, ServerTls};

const TLS: &str = "TLSv1.3";
const RULES: &str = "\
hostssl replication certain  127.0.0.1/32 cert
hostssl replication vouched  127.0.0.1/32 trust clientcert=verify-ca
host    replication certain,vouched all reject";
const ROLES: &str = "CREATE ROLE certain REPLICATION LOGIN; CREATE ROLE vouched REPLICATION LOGIN";

/// A user who must have a certificate.
const USER: &str = "user=certain sslmode=require";
const WITHOUT: &str = "@ FATAL:  connection requires a valid client certificate";

/// The authority that clients' certificates come from, and a server that asks for them.
struct Clients {
    authority: Certificate,
    tls: ServerTls,
    bench: Bench,
}

impl Clients {
    fn new() -> Self {
        let authorities = Authorities::new();
        let authority = Certificate::root("Root of clients");
        let tls = ServerTls::new(&authorities.server()).client_authority(&authority);
        let bench = Bench::start(18, tls.clone(), authorities.store(), RULES, ROLES);
        let clients = Self { authority, tls, bench };
        clients.write("client", &clients.authority.issue(&Template::client("certain")));
        clients
    }

    /// Writes a certificate and its key as `NAME.crt` and `NAME.key`.
    fn write(&self, name: &str, certificate: &Certificate) {
        self.store().write(&format!("{name}.crt"), certificate.pem());
        self.store().write(&format!("{name}.key"), certificate.key_pem());
    }

    fn store(&self) -> &CertificateStore {
        &self.bench.store
    }

    #[track_caller]
    fn expect(&self, conninfo: &str, summary: &str) {
        self.bench.expect(conninfo, summary);
    }
}

/// The words that name a certificate and a key in the directory.
fn pair(certificate: &str, key: &str) -> String {
    format!("sslcert=DIR/{certificate} sslkey=DIR/{key}")
}

fn named(name: &str) -> String {
    pair(&format!("{name}.crt"), &format!("{name}.key"))
}

#[test]
fn cn_178_and_224_a_certificate_names_its_user() {
    let clients = Clients::new();
    let (observed, _) = clients.bench.ours(&format!("{USER} {}", named("client")), &[]);
    assert_eq!(observed.method.as_deref(), Some("cert"));
    clients.expect(&format!("{USER} {}", named("client")), TLS);
    clients.expect(&format!("{USER} {} ssl_max_protocol_version=TLSv1.2", named("client")), "TLSv1.2");
    clients.expect(&format!("user=vouched sslmode=require {}", named("client")), TLS);

    clients.write("other-name", &clients.authority.issue(&Template::client("somebody")));
    let text = "@ FATAL:  certificate authentication failed for user \"certain\"";
    clients.expect(&format!("{USER} {}", named("other-name")), text);
    clients.expect(&format!("user=vouched sslmode=require {}", named("other-name")), TLS);
}

#[test]
fn cn_178_the_pair_in_the_home_directory() {
    let clients = Clients::new();
    let certificate = clients.authority.issue(&Template::client("certain"));
    clients.store().write("home/.postgresql/postgresql.crt", certificate.pem());
    clients.store().write("home/.postgresql/postgresql.key", certificate.key_pem());
    let home = [("HOME", "DIR/home".to_owned())];
    clients.bench.expect_with(USER, &home, TLS);
    // One half may come from there.
    clients.bench.expect_with(&format!("{USER} sslcert=DIR/client.crt"), &home, TLS);
    clients.bench.expect_with(&format!("{USER} sslkey=DIR/client.key"), &home, TLS);
}

/// A key in each form that is not encrypted.
fn forms(key: &Key) -> Vec<(&'static str, Vec<u8>)> {
    let traditional = match (key.rsa(), key.ec_key()) {
        (Ok(rsa), _) => rsa.private_key_to_pem(),
        (_, Ok(ec)) => ec.private_key_to_pem(),
        _ => unreachable!("the key is of another kind"),
    };
    vec![
        ("pkcs8.pem", key.private_key_to_pem_pkcs8().unwrap()),
        ("traditional.pem", traditional.unwrap()),
        ("pkcs8.der", key.private_key_to_pkcs8().unwrap()),
        ("traditional.der", key.private_key_to_der().unwrap()),
    ]
}

/// A key in each form that is encrypted with the passphrase `secret`, in PEM.
fn encrypted_forms(key: &Key) -> Vec<(&'static str, Vec<u8>)> {
    let cipher = Cipher::aes_256_cbc();
    let traditional = match (key.rsa(), key.ec_key()) {
        (Ok(rsa), _) => rsa.private_key_to_pem_passphrase(cipher, b"secret"),
        (_, Ok(ec)) => ec.private_key_to_pem_passphrase(cipher, b"secret"),
        _ => unreachable!("the key is of another kind"),
    };
    vec![
        ("encrypted-pkcs8.pem", key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap()),
        ("encrypted-traditional.pem", traditional.unwrap()),
    ]
}

/// One that shows as wrong: of 256 others one gives something that looks like a key until it is read.
fn wrong_passphrase(pem: &[u8]) -> String {
    let shows = |passphrase: &String| {
        let errors = PKey::private_key_from_pem_passphrase(pem, passphrase.as_bytes()).unwrap_err();
        errors.errors().iter().any(|error| error.reason() == Some("bad decrypt"))
    };
    (0..256).map(|number| format!("wrong{number}")).find(shows).unwrap()
}

#[test]
fn cn_178_to_180_the_forms_of_keys() {
    let clients = Clients::new();
    for (kind, template) in
        [("rsa", Template::client("certain")), ("ec", Template::new("certain", ecdsa_key()))]
    {
        let certificate = clients.authority.issue(&template);
        clients.write(kind, &certificate);
        for (form, bytes) in forms(certificate.key()) {
            clients.store().write(form, bytes);
            let files = pair(&format!("{kind}.crt"), form);
            clients.expect(&format!("{USER} {files}"), TLS);
            // A passphrase for a key that has none does no harm.
            clients.expect(&format!("{USER} {files} sslpassword=unused"), TLS);
        }
        for (form, bytes) in encrypted_forms(certificate.key()) {
            clients.store().write(form, &bytes);
            let files = pair(&format!("{kind}.crt"), form);
            clients.expect(&format!("{USER} {files} sslpassword=secret"), TLS);
            let text = format!("@ could not load private key file \"DIR/{form}\": bad decrypt");
            let wrong = wrong_passphrase(&bytes);
            clients.expect(&format!("{USER} {files} sslpassword={wrong}"), &text);
        }
    }
}

/// On purpose we read one form more than libpq with OpenSSL 3, which cannot.
#[test]
fn cn_179_an_encrypted_key_in_der() {
    let clients = Clients::new();
    let certificate = clients.authority.issue(&Template::client("certain"));
    let bytes = certificate.key().private_key_to_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
    clients.store().write("encrypted.der", bytes);
    let conninfo = format!("{USER} {}", pair("client.crt", "encrypted.der"));
    let (right, _) = clients.bench.ours(&format!("{conninfo} sslpassword=secret"), &[]);
    assert_eq!(right.to_string(), TLS);
    let (wrong, _) = clients.bench.ours(&format!("{conninfo} sslpassword=wrong"), &[]);
    let text = wrong.to_string();
    assert!(text.starts_with("@ could not load private key file \"DIR/encrypted.der\": "), "{text}");
}

/// Where libpq's OpenSSL asks for the passphrase on the terminal, our attempt just ends.
#[test]
fn cn_180_an_encrypted_key_without_its_passphrase() {
    let clients = Clients::new();
    let certificate = clients.authority.issue(&Template::client("certain"));
    for (form, bytes) in encrypted_forms(certificate.key()) {
        clients.store().write(form, bytes);
        let (observed, stderr) = clients.bench.program(&format!("{USER} {}", pair("client.crt", form)), &[]);
        let text = observed.to_string();
        assert!(text.starts_with(&format!("@ could not load private key file \"DIR/{form}\": ")), "{stderr}");
    }
}

#[test]
fn cn_181_and_182_who_may_read_the_key() {
    let clients = Clients::new();
    let path = clients.store().path().join("client.key");
    let refusal = "@ private key file \"DIR/client.key\" has group or world access; file must have permissions \
        u=rw (0600) or less if owned by the current user, or permissions u=rw,g=r (0640) or less if owned by \
        root";
    // The servers' account is not root, also where the tests run as root.
    let owners: [(bool, &[u32], &[u32]); 2] = [
        (true, &[0o600, 0o400, 0o640, 0o440, 0o700], &[0o644, 0o660, 0o604, 0o650, 0o641]),
        (false, &[0o600, 0o400, 0o700], &[0o640, 0o440, 0o620, 0o610, 0o604, 0o601]),
    ];
    for (is_roots, right, wrong) in owners {
        if !is_roots {
            ServerAccount::current().own(&path);
        }
        if (fs::metadata(&path).unwrap().uid() == 0) != is_roots {
            continue;
        }
        for (mode, summary) in
            right.iter().map(|mode| (mode, TLS)).chain(wrong.iter().map(|mode| (mode, refusal)))
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            clients.expect(&format!("{USER} {}", named("client")), summary);
        }
    }
    // The failure is one of TLS, which this mode can do without.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let conninfo = format!("user=trusted sslmode=prefer {}", named("client"));
    clients.bench.expect_warning(&conninfo, "2 connections: plain", &refusal.replacen("@ ", "", 1));
}

#[test]
fn cn_183_and_184_files_that_are_missing_or_something_else() {
    let clients = Clients::new();
    clients.store().write("garbage.crt", "no certificate\n");
    clients.store().write("garbage.key", "no key\n");
    for (files, text) in [
        // Without a certificate the key does not matter.
        (pair("missing.crt", "missing.key"), WITHOUT.to_owned()),
        (pair("client.crt/below-a-file", "client.key"), WITHOUT.to_owned()),
        (
            pair("client.crt", "missing.key"),
            "@ certificate present, but not private key file \"DIR/missing.key\"".to_owned(),
        ),
        (
            "sslcert=DIR/client.crt".to_owned(),
            "@ certificate present, but not private key file \"/nonexistent/.postgresql/postgresql.key\""
                .to_owned(),
        ),
        (
            "sslcert=DIR/client.crt sslkey=DIR".to_owned(),
            "@ private key file \"DIR\" is not a regular file".to_owned(),
        ),
        (
            pair("garbage.crt", "client.key"),
            "@ could not read certificate file \"DIR/garbage.crt\": no start line".to_owned(),
        ),
        (
            "sslcert=DIR sslkey=DIR/client.key".to_owned(),
            "@ could not read certificate file \"DIR\": no start line".to_owned(),
        ),
    ] {
        clients.expect(&format!("{USER} {files}"), &text);
    }
    // The reason is the library's own.
    let (observed, _) = clients.bench.ours(&format!("{USER} {}", pair("client.crt", "garbage.key")), &[]);
    let text = observed.to_string();
    assert!(text.starts_with("@ could not load private key file \"DIR/garbage.key\": "), "{text}");
}

#[test]
fn cn_183_a_key_that_belongs_to_another_certificate() {
    let clients = Clients::new();
    clients.store().write("other.key", Authorities::new().server().key_pem());
    let text = "@ could not load private key file \"DIR/other.key\": key values mismatch";
    clients.expect(&format!("{USER} {}", pair("client.crt", "other.key")), text);

    clients.store().write("ec.key", ecdsa_key().private_key_to_pem_pkcs8().unwrap());
    let (observed, _) = clients.bench.ours(&format!("{USER} {}", pair("client.crt", "ec.key")), &[]);
    let text = observed.to_string();
    assert!(text.contains("private key file \"DIR/ec.key\": "), "{text}");
}

#[test]
fn cn_185_the_authorities_in_between_are_sent_along() {
    let clients = Clients::new();
    let between = clients.authority.intermediate("Intermediate of clients");
    let certificate = between.issue(&Template::client("certain"));
    clients.write("leaf", &certificate);
    clients.store().write("chain.crt", [certificate.pem(), between.pem()].concat());
    clients.expect(&format!("{USER} {}", pair("chain.crt", "leaf.key")), TLS);
    clients.expect(&format!("{USER} {}", named("leaf")), "@ SSL error: tlsv1 alert unknown ca");
}

#[test]
fn cn_187_a_certificate_that_the_server_does_not_believe() {
    let clients = Clients::new();
    let revoked = clients.authority.issue(&Template::client("certain"));
    clients.write("revoked", &revoked);
    clients.write("foreign", &Certificate::strange_root("Another root").issue(&Template::client("certain")));
    clients.write("expired", &clients.authority.issue(&Template::client("certain").expired()));
    let list = clients.authority.revocation_list(&[&revoked]);
    clients.bench.cluster.reload_tls(&clients.tls.clone().client_revocation_list(list));
    clients.expect(&format!("{USER} {}", named("client")), TLS);
    for (name, text) in [
        ("foreign", "@ SSL error: tlsv1 alert unknown ca"),
        ("revoked", "@ SSL error: sslv3 alert certificate revoked"),
        ("expired", "@ SSL error: sslv3 alert certificate expired"),
    ] {
        let files = named(name);
        clients.expect(&format!("{USER} {files}"), text);
        clients.expect(&format!("{USER} {files} ssl_max_protocol_version=TLSv1.2"), text);
        // A server that is asked for no certificate by its rules refuses a bad one all the same.
        clients.expect(&format!("user=trusted sslmode=require {files}"), text);
        // In version 1.3 the handshake had succeeded for us when the server refused.
        clients.expect(&format!("user=trusted sslmode=prefer {files}"), text);
        let older = format!("user=trusted sslmode=prefer {files} ssl_max_protocol_version=TLSv1.2");
        clients.bench.expect_warning(&older, "2 connections: plain", &text.replacen("@ ", "", 1));
    }
}

#[test]
fn cn_184_and_224_a_certificate_that_is_not_had() {
    let clients = Clients::new();
    for user in ["certain", "vouched"] {
        clients.expect(&format!("user={user} sslmode=require"), WITHOUT);
    }
    let text = format!(
        "2 connections: {WITHOUT}\n@ FATAL:  pg_hba.conf rejects replication connection for host \
         \"127.0.0.1\", user \"certain\", no encryption"
    );
    clients.expect("user=certain sslmode=prefer", &text);
}

#[test]
fn cn_186_whether_a_certificate_is_sent() {
    let clients = Clients::new();
    let files = named("client");
    let not_had = "@ server accepted connection without a valid SSL certificate";
    for (conninfo, text) in [
        (format!("{USER} sslcertmode=allow {files}"), TLS),
        (format!("{USER} sslcertmode=require {files}"), TLS),
        (format!("{USER} sslcertmode=disable {files}"), WITHOUT),
        // Nor is anything read.
        (format!("{USER} sslcertmode=disable {}", pair("client.crt", "missing.key")), WITHOUT),
        (format!("{USER} sslcertmode=require"), WITHOUT),
        (format!("user=trusted sslmode=require sslcertmode=require {files}"), TLS),
        ("user=trusted sslmode=require sslcertmode=require".to_owned(), not_had),
        ("user=trusted sslmode=prefer sslcertmode=require".to_owned(), not_had),
        ("user=trusted sslmode=require sslcertmode=disable".to_owned(), TLS),
    ] {
        clients.expect(&conninfo, text);
    }
}

#[test]
fn cn_186_a_server_that_does_not_ask_for_a_certificate() {
    let clients = Clients::new();
    clients.bench.cluster.reload_tls(&ServerTls::new(&Authorities::new().server()));
    let not_asked = "@ server did not request an SSL certificate";
    for mode in ["disable", "allow", "prefer", "require"] {
        for files in [String::new(), named("client")] {
            clients.expect(&format!("user=trusted sslmode={mode} sslcertmode=require {files}"), not_asked);
        }
    }
    clients.expect(&format!("user=trusted sslmode=require sslcertmode=allow {}", named("client")), TLS);
}
