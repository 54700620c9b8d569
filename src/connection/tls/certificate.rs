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
        let common_name = common_names(to_be_signed.enter(tag::SEQUENCE)?)?.first().copied();
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

/// All common names, in their order.
fn common_names(mut subject: Reader<'_>) -> Option<Vec<&[u8]>> {
    let mut names = Vec::new();
    while !subject.is_empty() {
        let mut attributes = subject.enter(tag::SET)?;
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(tag::SEQUENCE)?;
            if attribute.content(tag::OBJECT_IDENTIFIER)? == COMMON_NAME {
                names.push(attribute.element()?.content);
            }
        }
    }
    Some(names)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, 0x82], &u16::try_from(content.len()).unwrap().to_be_bytes()[..], &content].concat()
    }

    fn common_name(text: &[u8]) -> Vec<u8> {
        let identifier = der(tag::OBJECT_IDENTIFIER, &[COMMON_NAME.to_vec()]);
        der(tag::SET, &[der(tag::SEQUENCE, &[identifier, der(0x0c, &[text.to_vec()])])])
    }

    fn alternatives(entries: &[Vec<u8>]) -> Vec<u8> {
        let identifier = der(tag::OBJECT_IDENTIFIER, &[SUBJECT_ALT_NAME.to_vec()]);
        let value = der(tag::OCTET_STRING, &[der(tag::SEQUENCE, entries)]);
        der(tag::SEQUENCE, &[identifier, der(tag::BOOLEAN, &[vec![0xff]]), value])
    }

    fn certificate(subject: &[Vec<u8>], extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut fields = vec![der(tag::EXPLICIT_0, &[vec![2, 1, 2]])];
        fields.extend([0x02, tag::SEQUENCE, tag::SEQUENCE, tag::SEQUENCE].map(|tag| der(tag, &[])));
        fields.extend([der(tag::SEQUENCE, subject), der(tag::SEQUENCE, &[])]);
        fields.push(der(tag::EXPLICIT_3, &[der(tag::SEQUENCE, extensions)]));
        der(tag::SEQUENCE, &[der(tag::SEQUENCE, &fields)])
    }

    #[test]
    fn cn_194_the_first_common_name_counts() {
        let subject = [der(tag::SET, &[]), common_name(b"first"), common_name(b"second")];
        let certificate = certificate(&subject, &[]);
        let names = CertificateNames::parse(&certificate).unwrap();
        assert_eq!(names, CertificateNames { alternatives: vec![], common_name: Some(b"first") });
    }

    #[test]
    fn cn_190_names_that_are_no_text_are_kept() {
        let entries = [
            der(tag::DNS_NAME, &[b"a\xff\0".to_vec()]),
            der(0xa4, &[vec![1, 2, 3]]),
            der(tag::IP_ADDRESS, &[vec![1, 2, 3]]),
        ];
        let certificate = certificate(&[], &[alternatives(&entries)]);
        let names = CertificateNames::parse(&certificate).unwrap();
        let expected = [AlternativeName::Dns(b"a\xff\0"), AlternativeName::Address(&[1, 2, 3])];
        assert_eq!((names.alternatives.as_slice(), names.common_name), (&expected[..], None));
    }

    #[test]
    fn two_lists_of_names_are_refused() {
        let list = alternatives(&[der(tag::DNS_NAME, &[b"a".to_vec()])]);
        assert!(CertificateNames::parse(&certificate(&[], std::slice::from_ref(&list))).is_some());
        assert_eq!(CertificateNames::parse(&certificate(&[], &[list.clone(), list])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = (CertificateNames::parse(&bytes), SignatureAlgorithm::parse(&bytes));
            let names = alternatives(&[der(tag::DNS_NAME, &[b"a".to_vec()])]);
            let mut damaged = certificate(&[common_name(b"cn")], &[names]);
            let at = at.index(damaged.len());
            damaged[at] = byte;
            let _ = (CertificateNames::parse(&damaged), SignatureAlgorithm::parse(&damaged));
        }
    }
}
