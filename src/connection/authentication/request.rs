use bytes::{Buf, Bytes};

use super::super::startup_error::StartupError;

/// What the server asks for: a code of four bytes and what belongs to it (CN-221).
#[derive(Debug)]
pub(super) enum Request {
    /// 0: it is content.
    Accepted,
    /// 3: the password in clear text.
    Password,
    /// 5: a hash of the password.
    Md5 { salt: [u8; 4] },
    /// 7: the first token of GSSAPI.
    Gss,
    /// 8: the next token, in answer to this one.
    GssContinue(Bytes),
    /// 9: the first token of SSPI, which GSSAPI can give.
    Sspi,
    /// 10: one of these mechanisms.
    Sasl(Bytes),
    /// 11: an answer to this message of the mechanism.
    SaslContinue(Bytes),
    /// 12: nothing more, this message is the mechanism's last.
    SaslFinal(Bytes),
    /// Anything else.
    Unknown(u32),
}

impl Request {
    pub(super) fn parse(mut body: Bytes) -> Result<Self, StartupError> {
        let code = body.try_get_u32().map_err(|_| malformed())?;
        match code {
            0 | 3 | 7 | 9 if !body.is_empty() => Err(malformed()),
            0 => Ok(Self::Accepted),
            3 => Ok(Self::Password),
            5 => Ok(Self::Md5 { salt: <[u8; 4]>::try_from(&body[..]).map_err(|_| malformed())? }),
            7 => Ok(Self::Gss),
            8 => Ok(Self::GssContinue(body)),
            9 => Ok(Self::Sspi),
            10 => Ok(Self::Sasl(body)),
            11 => Ok(Self::SaslContinue(body)),
            12 => Ok(Self::SaslFinal(body)),
            code => Ok(Self::Unknown(code)),
        }
    }

    /// Whether there is no way to answer it, whenever it comes.
    pub(super) fn is_unsupported(&self, has_gssapi: bool) -> bool {
        match self {
            Self::Gss | Self::GssContinue(_) | Self::Sspi => !has_gssapi,
            Self::Unknown(_) => true,
            _ => false,
        }
    }

    /// What to say where there is no way to answer it.
    pub(super) fn unsupported(&self) -> StartupError {
        StartupError::Unsupported(match self {
            Self::Unknown(1) => "Kerberos 4 authentication not supported".to_owned(),
            Self::Unknown(2) => "Kerberos 5 authentication not supported".to_owned(),
            Self::Unknown(4) => "Crypt authentication not supported".to_owned(),
            Self::Gss | Self::GssContinue(_) => "GSSAPI authentication not supported".to_owned(),
            Self::Sspi => "SSPI authentication not supported".to_owned(),
            other => format!("authentication method {} not supported", other.code()),
        })
    }

    /// What to say where it comes at the wrong time.
    pub(super) fn out_of_turn(&self) -> StartupError {
        StartupError::Protocol(match self {
            Self::Sasl(_) => "duplicate SASL authentication request".to_owned(),
            other => format!("authentication request {} out of turn", other.code()),
        })
    }

    fn code(&self) -> u32 {
        match self {
            Self::Accepted => 0,
            Self::Password => 3,
            Self::Md5 { .. } => 5,
            Self::Gss => 7,
            Self::GssContinue(_) => 8,
            Self::Sspi => 9,
            Self::Sasl(_) => 10,
            Self::SaslContinue(_) => 11,
            Self::SaslFinal(_) => 12,
            Self::Unknown(code) => *code,
        }
    }
}

/// What is wrong with a request that cannot be read.
pub(in crate::connection) fn malformed() -> StartupError {
    StartupError::Protocol("received invalid authentication request".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_221_requests_have_a_code_and_what_belongs_to_it() {
        for (body, expected) in [
            (&b"\0\0\0\0"[..], "Accepted"),
            (b"\0\0\0\x03", "Password"),
            (b"\0\0\0\x05abcd", "Md5 { salt: [97, 98, 99, 100] }"),
            (b"\0\0\0\x07", "Gss"),
            (b"\0\0\0\x08a", "GssContinue(b\"a\")"),
            (b"\0\0\0\x09", "Sspi"),
            (b"\0\0\0\x0aa\0\0", "Sasl(b\"a\\0\\0\")"),
            (b"\0\0\0\x0b", "SaslContinue(b\"\")"),
            (b"\0\0\0\x0ca", "SaslFinal(b\"a\")"),
            (b"\0\0\0\x06a", "Unknown(6)"),
        ] {
            assert_eq!(format!("{:?}", Request::parse(Bytes::from_static(body)).unwrap()), expected);
        }
    }

    #[test]
    fn cn_302_requests_out_of_form_are_refused() {
        for body in [
            &b""[..],
            b"\0\0\x05",
            b"\0\0\0\0x",
            b"\0\0\0\x03x",
            b"\0\0\0\x05",
            b"\0\0\0\x05abc",
            b"\0\0\0\x05abcde",
            b"\0\0\0\x07x",
            b"\0\0\0\x09x",
        ] {
            let error = Request::parse(Bytes::from_static(body)).unwrap_err();
            assert_eq!(error.to_string(), "received invalid authentication request");
        }
    }

    #[test]
    fn cn_221_and_254_what_is_not_supported_is_named() {
        for (code, text) in [
            (1, "Kerberos 4 authentication not supported"),
            (2, "Kerberos 5 authentication not supported"),
            (4, "Crypt authentication not supported"),
            (7, "GSSAPI authentication not supported"),
            (8, "GSSAPI authentication not supported"),
            (9, "SSPI authentication not supported"),
            (13, "authentication method 13 not supported"),
            (u32::MAX, "authentication method 4294967295 not supported"),
        ] {
            let request = Request::parse(Bytes::copy_from_slice(&code.to_be_bytes())).unwrap();
            assert_eq!(request.unsupported().to_string(), text);
        }
    }
}
