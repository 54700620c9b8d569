//! `tls-server-end-point` (RFC 5929): the hash of the server's certificate, by which SCRAM is tied to the
//! connection.

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::X509Ref;

use super::certificate::SignatureAlgorithm;
use super::der::{Reader, tag};

/// `id-RSASSA-PSS`, 1.2.840.113549.1.1.10.
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

/// The hashes that the parameters of RSA-PSS name.
const HASHES: [(&[u8], Nid); 7] = [
    (&[0x2b, 0x0e, 0x03, 0x02, 0x1a], Nid::SHA1),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01], Nid::SHA256),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02], Nid::SHA384),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03], Nid::SHA512),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04], Nid::SHA224),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x08], Nid::SHA3_256),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x0a], Nid::SHA3_512),
];

/// The hash of a certificate by the hash of its own signature (CN-244); an error is libpq's text.
pub(super) fn server_end_point(certificate: &X509Ref) -> Result<Vec<u8>, String> {
    let hash = signature_hash(certificate)
        .ok_or_else(|| "could not determine server certificate signature algorithm".to_owned())?;
    let digest = match hash {
        // Neither is secure any more, and RFC 5929 wants this one instead.
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        _ => MessageDigest::from_nid(hash).ok_or_else(|| {
            format!("could not find digest for NID {}", hash.short_name().unwrap_or("UNDEF"))
        })?,
    };
    let hash =
        certificate.digest(digest).map_err(|_| "could not generate peer certificate hash".to_owned())?;
    Ok(hash.to_vec())
}

/// The hash of the signature, undefined for algorithms that have none of their own.
fn signature_hash(certificate: &X509Ref) -> Option<Nid> {
    let der = certificate.to_der().ok()?;
    let algorithm = SignatureAlgorithm::parse(&der)?;
    if algorithm.identifier == RSA_PSS {
        return pss_hash(algorithm.parameters);
    }
    let algorithms = certificate.signature_algorithm().object().nid().signature_algorithms()?;
    Some(algorithms.digest)
}

/// The first of the parameters, SHA-1 if it is left out.
fn pss_hash(mut parameters: Reader<'_>) -> Option<Nid> {
    let mut parameters = parameters.enter(tag::SEQUENCE)?;
    if parameters.is_empty() {
        return Some(Nid::SHA1);
    }
    let first = parameters.element()?;
    if first.tag != tag::EXPLICIT_0 {
        return Some(Nid::SHA1);
    }
    let hash = Reader::new(first.content).enter(tag::SEQUENCE)?.content(tag::OBJECT_IDENTIFIER)?;
    HASHES.iter().find(|(identifier, _)| *identifier == hash).map(|&(_, nid)| nid)
}
