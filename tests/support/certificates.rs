//! Certificates, keys and lists of revoked certificates, as people make them for PostgreSQL.
//!
//! In comes what a certificate shall say; out come the bytes of files. Nothing is written here but by
//! [`CertificateStore`], and no key is used outside of tests.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Rsa;
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{
    X509, X509Builder, X509CrlBuilder, X509Extension, X509Name, X509NameBuilder, X509NameRef,
    X509RevokedBuilder,
};
use tempfile::TempDir;

use super::program::scratch_directory;

/// A private key.
pub type Key = PKey<Private>;

/// One year ago and ten years from now, in seconds.
const VALID: (i64, i64) = (-365 * 86_400, 3650 * 86_400);

/// Serial numbers are given once.
static NEXT_SERIAL: AtomicU32 = AtomicU32::new(1000);

/// RSA keys take long to make; whoever needs any key of that kind takes one of these.
static RSA_KEYS: [LazyLock<Key>; 4] = [const { LazyLock::new(new_rsa) }; 4];

/// Whose RSA key it is.
#[derive(Clone, Copy, Debug)]
pub enum Holder {
    /// The authorities that tests believe in.
    Authority,
    /// Authorities that nobody has heard of.
    Stranger,
    Server,
    Client,
}

/// An RSA key of 2048 bits; all of one holder have the same.
pub fn rsa_key(holder: Holder) -> Key {
    RSA_KEYS[holder as usize].clone()
}

/// A key that can be used with RSA-PSS only.
pub fn rsa_pss_key() -> Key {
    let mut context = PkeyCtx::new_id(Id::RSA_PSS).unwrap();
    context.keygen_init().unwrap();
    context.set_rsa_keygen_bits(2048).unwrap();
    context.keygen().unwrap()
}

/// A key on the curve P-256.
pub fn ecdsa_key() -> Key {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn ed25519_key() -> Key {
    PKey::generate_ed25519().unwrap()
}

fn new_rsa() -> Key {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

/// What a certificate shall say.
pub struct Template {
    subject: X509Name,
    alternative_names: Vec<u8>,
    key: Key,
    digest: MessageDigest,
    is_authority: bool,
    /// Counted from zero, as in the certificate.
    version: i32,
    valid: (i64, i64),
}

impl Template {
    /// A certificate for a server or a client that has a name of its own.
    pub fn new(common_name: &str, key: Key) -> Self {
        Self::with_subject(&[("CN", common_name)], key)
    }

    pub fn server(common_name: &str) -> Self {
        Self::new(common_name, rsa_key(Holder::Server))
    }

    pub fn client(common_name: &str) -> Self {
        Self::new(common_name, rsa_key(Holder::Client))
    }

    /// A certificate whose subject is made of these fields.
    pub fn with_subject(fields: &[(&str, &str)], key: Key) -> Self {
        Self {
            subject: name(fields),
            alternative_names: Vec::new(),
            // The algorithm of this one hashes by itself.
            digest: if key.id() == Id::ED25519 { MessageDigest::null() } else { MessageDigest::sha256() },
            key,
            is_authority: false,
            version: 2,
            valid: VALID,
        }
    }

    /// A subject alternative name of the kind dNSName; any bytes are taken.
    pub fn dns(self, name: impl AsRef<[u8]>) -> Self {
        self.alternative_name(2, name.as_ref())
    }

    /// A subject alternative name of the kind iPAddress.
    pub fn ip(self, address: &str) -> Self {
        match address.parse().unwrap() {
            IpAddr::V4(address) => self.ip_octets(&address.octets()),
            IpAddr::V6(address) => self.ip_octets(&address.octets()),
        }
    }

    /// A subject alternative name of the kind iPAddress of any length.
    pub fn ip_octets(self, octets: &[u8]) -> Self {
        self.alternative_name(7, octets)
    }

    /// A subject alternative name of the kind rfc822Name.
    pub fn email(self, address: &str) -> Self {
        self.alternative_name(1, address.as_bytes())
    }

    fn alternative_name(mut self, kind: u8, value: &[u8]) -> Self {
        self.alternative_names.extend(der(0x80 | kind, value));
        self
    }

    /// The hash that is signed.
    pub fn digest(mut self, digest: MessageDigest) -> Self {
        self.digest = digest;
        self
    }

    /// X.509 v1, which has no extensions.
    pub fn version_1(mut self) -> Self {
        self.version = 0;
        self
    }

    /// Not valid any more.
    pub fn expired(mut self) -> Self {
        self.valid = (VALID.0, -86_400);
        self
    }

    fn authority(mut self) -> Self {
        self.is_authority = true;
        self
    }

    fn sign(&self, issuer: &X509NameRef, issuer_key: &Key, digest: MessageDigest) -> Certificate {
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(self.version).unwrap();
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let serial = Asn1Integer::from_bn(&BigNum::from_u32(serial).unwrap()).unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&self.subject).unwrap();
        builder.set_issuer_name(issuer).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        builder.set_not_before(&from_now(self.valid.0)).unwrap();
        builder.set_not_after(&from_now(self.valid.1)).unwrap();
        if self.is_authority {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        }
        if !self.alternative_names.is_empty() {
            builder.append_extension(extension("2.5.29.17", &der(0x30, &self.alternative_names))).unwrap();
        }
        builder.sign(issuer_key, digest).unwrap();
        Certificate { x509: builder.build(), key: self.key.clone() }
    }
}

/// A certificate, with the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Certificate {
    x509: X509,
    key: Key,
}

impl Certificate {
    /// An authority that nobody vouches for.
    pub fn root(common_name: &str) -> Self {
        Self::root_with_key(common_name, rsa_key(Holder::Authority))
    }

    /// An authority with another key than those that tests believe in.
    pub fn strange_root(common_name: &str) -> Self {
        Self::root_with_key(common_name, rsa_key(Holder::Stranger))
    }

    fn root_with_key(common_name: &str, key: Key) -> Self {
        Self::self_signed(&Template::new(common_name, key).authority())
    }

    pub fn self_signed(template: &Template) -> Self {
        template.sign(&template.subject, &template.key, template.digest)
    }

    /// A certificate that this authority vouches for.
    pub fn issue(&self, template: &Template) -> Self {
        template.sign(self.x509.subject_name(), &self.key, MessageDigest::sha256())
    }

    /// An authority that this one vouches for.
    pub fn intermediate(&self, common_name: &str) -> Self {
        self.issue(&Template::new(common_name, rsa_key(Holder::Authority)).authority())
    }

    pub fn pem(&self) -> Vec<u8> {
        self.x509.to_pem().unwrap()
    }

    /// The encoding that is signed.
    pub fn der(&self) -> Vec<u8> {
        self.x509.to_der().unwrap()
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    pub fn x509(&self) -> &X509 {
        &self.x509
    }

    /// The key in PEM, as `openssl genpkey` writes it.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// This authority's list of the certificates that it does not vouch for any more, in PEM.
    pub fn revocation_list(&self, revoked: &[&Self]) -> Vec<u8> {
        let mut builder = X509CrlBuilder::new().unwrap();
        builder.set_issuer_name(self.x509.subject_name()).unwrap();
        builder.set_last_update(&from_now(VALID.0)).unwrap();
        builder.set_next_update(&from_now(VALID.1)).unwrap();
        for certificate in revoked {
            let mut entry = X509RevokedBuilder::new().unwrap();
            entry.set_serial_number(certificate.x509.serial_number()).unwrap();
            entry.set_revocation_date(&from_now(VALID.0)).unwrap();
            builder.add_revoked(entry.build()).unwrap();
        }
        // An authority key identifier that identifies nothing, and the number 1.
        builder.append_extension(extension("2.5.29.35", &der(0x30, &[]))).unwrap();
        builder.append_extension(extension("2.5.29.20", &der(0x02, &[1]))).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build().unwrap().to_pem().unwrap()
    }

    /// The name under which a directory of such lists has the one of this authority.
    pub fn revocation_list_name(&self) -> String {
        format!("{:08x}.r0", self.x509.subject_name_hash())
    }
}

fn name(fields: &[(&str, &str)]) -> X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    for (field, value) in fields {
        builder.append_entry_by_text(field, value).unwrap();
    }
    builder.build()
}

fn from_now(seconds: i64) -> Asn1Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Asn1Time::from_unix(i64::try_from(now.as_secs()).unwrap() + seconds).unwrap()
}

fn extension(identifier: &str, contents: &[u8]) -> X509Extension {
    let identifier = Asn1Object::from_str(identifier).unwrap();
    let contents = Asn1OctetString::new_from_bytes(contents).unwrap();
    X509Extension::new_from_der(&identifier, false, &contents).unwrap()
}

/// One value in DER; contents up to 65535 bytes.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let header = match contents.len() {
        0..0x80 => vec![tag, length[1]],
        0x80..0x100 => vec![tag, 0x81, length[1]],
        _ => vec![tag, 0x82, length[0], length[1]],
    };
    [&header, contents].concat()
}

/// A directory of files that clients are pointed to.
#[derive(Debug)]
pub struct CertificateStore {
    directory: TempDir,
}

impl CertificateStore {
    pub fn new() -> Self {
        Self { directory: scratch_directory() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file that only its owner may read; gives its path as a connection string has it.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        self.write_with_mode(name, contents, 0o600)
    }

    pub fn write_with_mode(&self, name: &str, contents: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.place(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A file for `name`, in directories that are made where they are missing.
    fn place(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}
