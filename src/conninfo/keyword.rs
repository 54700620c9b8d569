//! The table of connection keywords: one row per keyword, in libpq's order.
//!
//! The rows say what libpq 18, built with OpenSSL and GSSAPI, says of them. Nothing here depends on
//! what this build can do: every keyword is accepted (CN-045, CN-057).

use std::fmt;

struct Row {
    name: &'static str,
    environment: Option<&'static str>,
    default: Option<&'static str>,
    since: u32,
    is_secret: bool,
}

const SHOWN: bool = false;
const SECRET: bool = true;

macro_rules! keywords {
    ($($variant:ident $name:literal $environment:expr, $default:expr, $since:literal, $secrecy:ident;)*) => {
        /// A keyword of a connection string, ordered as libpq orders them.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Keyword {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Keyword {
            /// Every keyword, in libpq's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        name: $name,
                        environment: $environment,
                        default: $default,
                        since: $since,
                        is_secret: $secrecy,
                    },)*
                }
            }
        }
    };
}

// variant, name, environment variable, compiled default, first libpq that knows it (10: that one or
// an earlier one), whether its value is a secret.
keywords! {
    Service "service" Some("PGSERVICE"), None, 10, SHOWN;
    User "user" Some("PGUSER"), None, 10, SHOWN;
    Password "password" Some("PGPASSWORD"), None, 10, SECRET;
    Passfile "passfile" Some("PGPASSFILE"), None, 10, SHOWN;
    ChannelBinding "channel_binding" Some("PGCHANNELBINDING"), Some("prefer"), 13, SHOWN;
    ConnectTimeout "connect_timeout" Some("PGCONNECT_TIMEOUT"), None, 10, SHOWN;
    Dbname "dbname" Some("PGDATABASE"), None, 10, SHOWN;
    Host "host" Some("PGHOST"), None, 10, SHOWN;
    Hostaddr "hostaddr" Some("PGHOSTADDR"), None, 10, SHOWN;
    Port "port" Some("PGPORT"), Some("5432"), 10, SHOWN;
    ClientEncoding "client_encoding" Some("PGCLIENTENCODING"), None, 10, SHOWN;
    Options "options" Some("PGOPTIONS"), None, 10, SHOWN;
    ApplicationName "application_name" Some("PGAPPNAME"), None, 10, SHOWN;
    FallbackApplicationName "fallback_application_name" None, None, 10, SHOWN;
    Keepalives "keepalives" None, None, 10, SHOWN;
    KeepalivesIdle "keepalives_idle" None, None, 10, SHOWN;
    KeepalivesInterval "keepalives_interval" None, None, 10, SHOWN;
    KeepalivesCount "keepalives_count" None, None, 10, SHOWN;
    TcpUserTimeout "tcp_user_timeout" None, None, 12, SHOWN;
    SslMode "sslmode" Some("PGSSLMODE"), Some("prefer"), 10, SHOWN;
    SslNegotiation "sslnegotiation" Some("PGSSLNEGOTIATION"), Some("postgres"), 17, SHOWN;
    SslCompression "sslcompression" Some("PGSSLCOMPRESSION"), Some("0"), 10, SHOWN;
    SslCert "sslcert" Some("PGSSLCERT"), None, 10, SHOWN;
    SslKey "sslkey" Some("PGSSLKEY"), None, 10, SHOWN;
    SslCertMode "sslcertmode" Some("PGSSLCERTMODE"), Some("allow"), 16, SHOWN;
    SslPassword "sslpassword" None, None, 13, SECRET;
    SslRootCert "sslrootcert" Some("PGSSLROOTCERT"), None, 10, SHOWN;
    SslCrl "sslcrl" Some("PGSSLCRL"), None, 10, SHOWN;
    SslCrlDir "sslcrldir" Some("PGSSLCRLDIR"), None, 14, SHOWN;
    SslSni "sslsni" Some("PGSSLSNI"), Some("1"), 14, SHOWN;
    RequirePeer "requirepeer" Some("PGREQUIREPEER"), None, 10, SHOWN;
    RequireAuth "require_auth" Some("PGREQUIREAUTH"), None, 16, SHOWN;
    MinProtocolVersion "min_protocol_version" Some("PGMINPROTOCOLVERSION"), None, 18, SHOWN;
    MaxProtocolVersion "max_protocol_version" Some("PGMAXPROTOCOLVERSION"), None, 18, SHOWN;
    SslMinProtocolVersion "ssl_min_protocol_version" Some("PGSSLMINPROTOCOLVERSION"), Some("TLSv1.2"), 13, SHOWN;
    SslMaxProtocolVersion "ssl_max_protocol_version" Some("PGSSLMAXPROTOCOLVERSION"), None, 13, SHOWN;
    GssEncMode "gssencmode" Some("PGGSSENCMODE"), Some("prefer"), 12, SHOWN;
    KrbSrvName "krbsrvname" Some("PGKRBSRVNAME"), Some("postgres"), 10, SHOWN;
    GssLib "gsslib" Some("PGGSSLIB"), None, 10, SHOWN;
    GssDelegation "gssdelegation" Some("PGGSSDELEGATION"), Some("0"), 16, SHOWN;
    Replication "replication" None, None, 10, SHOWN;
    TargetSessionAttrs "target_session_attrs" Some("PGTARGETSESSIONATTRS"), Some("any"), 10, SHOWN;
    LoadBalanceHosts "load_balance_hosts" Some("PGLOADBALANCEHOSTS"), Some("disable"), 16, SHOWN;
    ScramClientKey "scram_client_key" None, None, 18, SECRET;
    ScramServerKey "scram_server_key" None, None, 18, SECRET;
    OauthIssuer "oauth_issuer" None, None, 18, SHOWN;
    OauthClientId "oauth_client_id" None, None, 18, SHOWN;
    OauthClientSecret "oauth_client_secret" None, None, 18, SECRET;
    OauthScope "oauth_scope" None, None, 18, SHOWN;
    SslKeyLogFile "sslkeylogfile" None, None, 18, SHOWN;
}

impl Keyword {
    /// The keyword of that name; letter case counts (CN-019).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|keyword| keyword.name() == name)
    }

    /// The name as a connection string has it.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The environment variable that sets it, if there is one.
    pub const fn environment_variable(self) -> Option<&'static str> {
        self.row().environment
    }

    /// The value that is compiled into libpq 18. `user` and `passfile` have theirs from the
    /// operating system instead.
    pub const fn compiled_default(self) -> Option<&'static str> {
        self.row().default
    }

    /// The first major version of libpq that knows it; 10 also stands for all earlier ones.
    pub const fn since(self) -> u32 {
        self.row().since
    }

    /// Whether the value must never be shown.
    pub const fn is_secret(self) -> bool {
        self.row().is_secret
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_045_the_keywords_stand_in_the_order_of_libpq() {
        let order = "service user password passfile channel_binding connect_timeout dbname host hostaddr port \
             client_encoding options application_name fallback_application_name keepalives keepalives_idle \
             keepalives_interval keepalives_count tcp_user_timeout sslmode sslnegotiation sslcompression \
             sslcert sslkey sslcertmode sslpassword sslrootcert sslcrl sslcrldir sslsni requirepeer \
             require_auth min_protocol_version max_protocol_version ssl_min_protocol_version \
             ssl_max_protocol_version gssencmode krbsrvname gsslib gssdelegation replication \
             target_session_attrs load_balance_hosts scram_client_key scram_server_key oauth_issuer \
             oauth_client_id oauth_client_secret oauth_scope sslkeylogfile";
        let names: Vec<_> = Keyword::ALL.iter().map(|keyword| keyword.name()).collect();
        assert_eq!(names.join(" "), order);
        assert!(Keyword::ALL.is_sorted());
    }

    #[test]
    fn cn_019_letter_case_counts() {
        assert_eq!(Keyword::from_name("host"), Some(Keyword::Host));
        assert_eq!(Keyword::from_name("Host"), None);
        assert_eq!(Keyword::from_name(""), None);
    }

    /// The cells of the rows about keywords in the documentation.
    fn documented() -> Vec<Vec<&'static str>> {
        let text = include_str!("../../docs/connection.md");
        let (_, after) = text.split_once("\n## Keywords\n").unwrap();
        let (section, _) = after.split_once("\n## ").unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| row.trim_matches(['|', ' ']).split(" | ").collect()).collect()
    }

    #[test]
    fn cn_045_and_046_the_documentation_has_each_keyword_once() {
        let rows = documented();
        let quoted = |text: &str| format!("`{text}`");
        for &keyword in Keyword::ALL {
            let named: Vec<_> = rows.iter().filter(|row| row[0] == quoted(keyword.name())).collect();
            let &[row] = named.as_slice() else { panic!("{keyword} has {} rows", named.len()) };
            let &[_, variable, default, does] = row.as_slice() else { panic!("{keyword}: {row:?}") };
            assert_eq!(variable, keyword.environment_variable().map_or("–".to_owned(), quoted), "{keyword}");
            match keyword.compiled_default() {
                Some(expected) => assert_eq!(default, quoted(expected), "{keyword}"),
                None => assert!(!default.starts_with('`'), "{keyword}: {default}"),
            }
            assert!(!does.is_empty(), "{keyword}");
        }
        assert_eq!(rows.len(), Keyword::ALL.len());
    }
}
