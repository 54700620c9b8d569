//! What the session has to know from the server's certificate: the names in it, and how it is signed.
//!
//! What comes in is a certificate in DER that the library has accepted. The names are read here because
//! the library's binding leaves out those that are no text, which must not go unseen: they would let an
//! older kind of name decide.

use super::der::{Reader, tag};

/// `subjectAltName`, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// `commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The names that a certificate is for, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CertificateNames<'a> {
    /// Those that name hosts; the others are left out.
    pub(super) alternatives: Vec<AlternativeName<'a>>,
    /// The first common name.
    pub(super) common_name: Option<&'a [u8]>,
}

/// An entry of `subjectAltName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AlternativeName<'a> {
    /// `dNSName`.
    Dns(&'a [u8]),
    /// `iPAddress`: 4 or 16 bytes.
    Address(&'a [u8]),
}

/// The algorithm of the signature on a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignatureAlgorithm<'a> {
    /// The object identifier, as DER has it.
    pub(super) identifier: &'a [u8],
    /// What follows it.
    pub(super) parameters: Reader<'a>,
}

impl<'a> CertificateNames<'a> {
    /// None where the certificate is not made as it must be.
    pub(super) fn parse(certificate: &'a [u8]) -> Option<Self> {
        let mut to_be_signed = Reader::new(certificate).enter(tag::SEQUENCE)?.enter(tag::SEQUENCE)?;
        to_be_signed.skip_optional(tag::EXPLICIT_0)?;
        for _ in ["serialNumber", "signature", "issuer", "validity"] {
            to_be_signed.element()?;
        }
        let common_name = common_name(to_be_signed.enter(tag::SEQUENCE)?)?;
        let _subject_public_key_info = to_be_signed.element()?;
        let mut alternatives = Vec::new();
        while let Some(element) = to_be_signed.element() {
            if element.tag == tag::EXPLICIT_3 {
                alternatives = alternative_names(Reader::new(element.content).enter(tag::SEQUENCE)?)?;
            }
        }
        to_be_signed.is_empty().then_some(Self { alternatives, common_name })
    }
}

impl<'a> SignatureAlgorithm<'a> {
    /// None where the certificate is not made as it must be.
    pub(super) fn parse(certificate: &'a [u8]) -> Option<Self> {
        let mut certificate = Reader::new(certificate).enter(tag::SEQUENCE)?;
        certificate.content(tag::SEQUENCE)?;
        let mut algorithm = certificate.enter(tag::SEQUENCE)?;
        Some(Self { identifier: algorithm.content(tag::OBJECT_IDENTIFIER)?, parameters: algorithm })
    }
}

/// The outer option is none where the name is not made as it must be.
fn common_name(mut subject: Reader<'_>) -> Option<Option<&[u8]>> {
    while !subject.is_empty() {
        let mut attributes = subject.enter(tag::SET)?;
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(tag::SEQUENCE)?;
            if attribute.content(tag::OBJECT_IDENTIFIER)? == COMMON_NAME {
                return Some(Some(attribute.element()?.content));
            }
        }
    }
    Some(None)
}

/// The extension must not be there twice.
fn alternative_names(mut extensions: Reader<'_>) -> Option<Vec<AlternativeName<'_>>> {
    let mut names = None;
    while !extensions.is_empty() {
        let mut extension = extensions.enter(tag::SEQUENCE)?;
        if extension.content(tag::OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
            continue;
        }
        extension.skip_optional(tag::BOOLEAN)?;
        let mut value = extension.enter(tag::OCTET_STRING)?;
        if names.is_some() {
            return None;
        }
        names = Some(general_names(value.enter(tag::SEQUENCE)?)?);
    }
    Some(names.unwrap_or_default())
}

fn general_names(mut entries: Reader<'_>) -> Option<Vec<AlternativeName<'_>>> {
    let mut names = Vec::new();
    while !entries.is_empty() {
        let entry = entries.element()?;
        match entry.tag {
            tag::DNS_NAME => names.push(AlternativeName::Dns(entry.content)),
            tag::IP_ADDRESS => names.push(AlternativeName::Address(entry.content)),
            _ => {}
        }
    }
    Some(names)
}
