//! `require_auth`: which methods of authentication the client will take part in.

use super::{ConninfoError, Keyword, Origin, Settings};

/// A method of authentication that `require_auth` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// `password`: in clear text.
    Password,
    /// `md5`
    Md5,
    /// `gss`
    Gss,
    /// `sspi`
    Sspi,
    /// `scram-sha-256`, with or without channel binding.
    ScramSha256,
    /// `oauth`
    Oauth,
    /// `none`: the server asks for nothing.
    None,
}

impl AuthMethod {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "password" => Self::Password,
            "md5" => Self::Md5,
            "gss" => Self::Gss,
            "sspi" => Self::Sspi,
            "scram-sha-256" => Self::ScramSha256,
            "oauth" => Self::Oauth,
            "none" => Self::None,
            _ => return None,
        })
    }
}

/// A list of methods, of which either only these or only the others will do (CN-264 … CN-271).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequireAuth {
    text: String,
    methods: Vec<AuthMethod>,
    is_negative: bool,
}

impl RequireAuth {
    /// Whether the client may take part in that method, or with [`AuthMethod::None`] whether it may
    /// accept a server that asked for nothing.
    pub fn allows(&self, method: AuthMethod) -> bool {
        self.methods.contains(&method) != self.is_negative
    }

    /// The list as given, for messages.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// An empty list does not restrict (CN-271).
    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Self>, ConninfoError> {
        let origin = settings.origin(Keyword::RequireAuth).unwrap_or(Origin::Default);
        let text = settings.text(Keyword::RequireAuth)?;
        text.map(|text| Self::parse(text, origin)).transpose()
    }

    fn parse(text: String, origin: Origin) -> Result<Self, ConninfoError> {
        let is_negative = text.starts_with('!');
        let mut methods = Vec::new();
        for item in text.split(',') {
            let name = match (item.strip_prefix('!'), is_negative) {
                (Some(name), true) => name,
                (None, false) => item,
                (Some(_), false) => {
                    return Err(ConninfoError::NegativeRequireAuth { method: item.to_owned() });
                }
                (None, true) => return Err(ConninfoError::PositiveRequireAuth { method: item.to_owned() }),
            };
            let method = AuthMethod::from_name(name).ok_or_else(|| ConninfoError::InvalidValue {
                keyword: Keyword::RequireAuth,
                value: name.to_owned(),
                origin,
            })?;
            if methods.contains(&method) {
                return Err(ConninfoError::RepeatedRequireAuth { method: item.to_owned() });
            }
            methods.push(method);
        }
        Ok(Self { text, methods, is_negative })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_264_to_267_lists() {
        use AuthMethod::{Md5, None, Password, ScramSha256};
        for (text, allowed, refused) in [
            ("scram-sha-256", vec![ScramSha256], vec![Password, Md5, None]),
            ("md5,none", vec![Md5, None], vec![Password, ScramSha256]),
            ("!password,!md5", vec![ScramSha256, None], vec![Password, Md5]),
            ("!none", vec![Password, Md5, ScramSha256], vec![None]),
        ] {
            let require = RequireAuth::parse(text.to_owned(), Origin::Option).unwrap();
            assert!(allowed.iter().all(|&method| require.allows(method)), "{text}");
            assert!(!refused.iter().any(|&method| require.allows(method)), "{text}");
            assert_eq!(require.as_str(), text);
        }
    }

    #[test]
    fn cn_268_to_270_lists_that_are_refused() {
        for (text, expected) in [
            ("md5,!none", "negative require_auth method \"!none\" cannot be mixed with non-negative methods"),
            ("!md5,none", "require_auth method \"none\" cannot be mixed with negative methods"),
            ("md5,md5", "require_auth method \"md5\" is specified more than once"),
            ("!md5,!md5", "require_auth method \"!md5\" is specified more than once"),
            ("bogus", "invalid require_auth value: \"bogus\""),
            ("md5,", "invalid require_auth value: \"\""),
            ("MD5", "invalid require_auth value: \"MD5\""),
        ] {
            let error = RequireAuth::parse(text.to_owned(), Origin::Option).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
