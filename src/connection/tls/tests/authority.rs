//! Makes certificates, keys and lists of revoked certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{AuthorityKeyIdentifier, BasicConstraints, SubjectAlternativeName};
use openssl::x509::{
    CrlNumber, X509, X509Builder, X509CrlBuilder, X509Name, X509NameBuilder, X509RevokedBuilder,
};

/// A certificate and its key.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificate: X509,
    pub(super) key: PKey<Private>,
}

/// What a certificate is to say.
pub(super) struct Template<'a> {
    pub(super) common_name: Option<&'a str>,
    /// `DNS:…` and `IP:…`.
    pub(super) alternatives: &'a [&'a str],
    pub(super) is_authority: bool,
    /// None is X.509 version 1, which has no extensions.
    pub(super) has_extensions: bool,
    pub(super) serial: u32,
    /// In days from now.
    pub(super) not_before: u32,
    pub(super) hash: MessageDigest,
}

impl Default for Template<'_> {
    fn default() -> Self {
        Self {
            common_name: Some("localhost"),
            alternatives: &[],
            is_authority: false,
            has_extensions: true,
            serial: 1,
            not_before: 0,
            hash: MessageDigest::sha256(),
        }
    }
}

pub(super) fn ec_key() -> PKey<Private> {
    PKey::ec_gen("prime256v1").unwrap()
}

/// An authority that signs itself.
pub(super) fn root(name: &str) -> Identity {
    self_signed(&Template { common_name: Some(name), is_authority: true, ..Template::default() }, ec_key())
}

pub(super) fn self_signed(template: &Template<'_>, key: PKey<Private>) -> Identity {
    let certificate = sign(template, &key, None, &key);
    Identity { certificate, key }
}

impl Identity {
    /// Signs a certificate with a new key.
    pub(super) fn issue(&self, template: &Template<'_>) -> Identity {
        let key = ec_key();
        let certificate = sign(template, &key, Some(&self.certificate), &self.key);
        Identity { certificate, key }
    }

    pub(super) fn server(&self) -> Identity {
        self.issue(&Template { alternatives: &["DNS:localhost"], ..Template::default() })
    }

    /// The list of revoked certificates, in PEM.
    pub(super) fn revocation_list(&self, revoked: &[&Identity]) -> Vec<u8> {
        // A list must not be empty.
        let mut serials = vec![BigNum::from_u32(0xffff).unwrap()];
        serials.extend(revoked.iter().map(|identity| identity.certificate.serial_number().to_bn().unwrap()));
        let mut list = X509CrlBuilder::new().unwrap();
        list.set_issuer_name(self.certificate.subject_name()).unwrap();
        list.set_last_update(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        list.set_next_update(&Asn1Time::days_from_now(30).unwrap()).unwrap();
        for serial in serials {
            let mut entry = X509RevokedBuilder::new().unwrap();
            entry.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
            entry.set_revocation_date(&Asn1Time::days_from_now(0).unwrap()).unwrap();
            list.add_revoked(entry.build()).unwrap();
        }
        let empty = X509Builder::new().unwrap();
        let context = empty.x509v3_context(Some(&self.certificate), None);
        list.append_extension(AuthorityKeyIdentifier::new().issuer(true).build(&context).unwrap()).unwrap();
        let number = CrlNumber::new(BigNum::from_u32(1).unwrap()).unwrap();
        list.append_extension(number.build().unwrap()).unwrap();
        list.sign(&self.key, MessageDigest::sha256()).unwrap();
        list.build().unwrap().to_pem().unwrap()
    }
}

fn sign(
    template: &Template<'_>,
    key: &PKey<Private>,
    issuer: Option<&X509>,
    issuer_key: &PKey<Private>,
) -> X509 {
    let subject = name(template.common_name);
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(if template.has_extensions { 2 } else { 0 }).unwrap();
    let serial = BigNum::from_u32(template.serial).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&subject, |issuer| issuer.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(template.not_before).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    if template.is_authority && template.has_extensions {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    if !template.alternatives.is_empty() {
        let mut extension = SubjectAlternativeName::new();
        for alternative in template.alternatives {
            match alternative.split_once(':').unwrap() {
                ("DNS", name) => extension.dns(name),
                (_, address) => extension.ip(address),
            };
        }
        let context = builder.x509v3_context(issuer.map(|issuer| &**issuer), None);
        let extension = extension.build(&context).unwrap();
        builder.append_extension(extension).unwrap();
    }
    builder.sign(issuer_key, template.hash).unwrap();
    builder.build()
}

fn name(common_name: Option<&str>) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, "test").unwrap();
    if let Some(common_name) = common_name {
        name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
    }
    name.build()
}

/// Files of a test, which nobody else can read.
pub(super) struct Files(tempfile::TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Certificates in PEM, one after the other.
    pub(super) fn certificates(&self, name: &str, identities: &[&Identity]) -> PathBuf {
        let pem = identities.iter().map(|identity| identity.certificate.to_pem().unwrap());
        self.write(name, pem.collect::<Vec<_>>().concat())
    }
}
