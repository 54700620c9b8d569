//! Doors to the parsers for the fuzz targets; in no other build.

use std::io;
use std::path::Path;

use super::passfile::{self, PassfileKey};
use super::{ConninfoError, Keyword, keyword_value, service_file, uri};

/// The pairs of a connection string or URI.
pub fn connection_string(text: &[u8]) -> Result<Vec<(Keyword, Vec<u8>)>, ConninfoError> {
    let assignments =
        if uri::is_uri(text) { uri::parse(text) } else { keyword_value::parse(text, &mut Vec::new()) };
    Ok(assignments?.into_iter().map(|pair| (pair.keyword, pair.value.to_vec())).collect())
}

/// A connection string of these pairs.
pub fn write_connection_string(pairs: &[(Keyword, Vec<u8>)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (keyword, value) in pairs {
        text.extend_from_slice(format!("{keyword}=").as_bytes());
        keyword_value::write_value(value, &mut text);
        text.push(b' ');
    }
    text
}

/// The pairs of a service.
pub fn service(file: impl io::Read, name: &[u8]) -> Result<Option<Vec<(Keyword, Vec<u8>)>>, ConninfoError> {
    let section = service_file::section(file, Path::new("service file"), name)?;
    Ok(section.map(|pairs| pairs.into_iter().map(|pair| (pair.keyword, pair.value.to_vec())).collect()))
}

/// The password for these four fields: host, port, database, user.
pub fn password(file: &[u8], [host, port, database, user]: [&str; 4]) -> Option<Vec<u8>> {
    let key = PassfileKey { host, port, database, user };
    passfile::find(file, key).map(|password| password.expose().to_vec())
}
