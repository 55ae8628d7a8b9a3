//! Who a neo client is: a name, and the key that proves it.
//!
//! ```text
//! name:256 hex digits          the credentials file of a client has just one entry
//! ```
//!
//! Source: spec `file-formats` 4, `protocol-neo` 5.2.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use dht_protocol::neo::{
    auth::AuthKey,
    credentials::{CREDENTIALS_BYTES_MAX, Credentials, CredentialsError},
};

/// A client's name and key. Never prints the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    name: String,
    key: AuthKey,
}

/// Why a client's credentials file was refused.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsFileError {
    /// The file cannot be read.
    #[error("cannot read credentials file {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// It is no credentials file.
    #[error(transparent)]
    Malformed(#[from] CredentialsError),
    /// A node's file perhaps: which of the clients are we?
    #[error(
        "credentials file {} has {entries} entries; a client's has exactly one", path.display()
    )]
    NotOne {
        /// The file.
        path: PathBuf,
        /// How many entries it has.
        entries: usize,
    },
}

impl ClientCredentials {
    /// A name of 1 to 100 bytes and its key. A node rejects any other name.
    #[must_use]
    pub fn new(name: &str, key: AuthKey) -> Self {
        Self { name: name.to_owned(), key }
    }

    /// Reads and parses a file.
    pub fn read(path: &Path) -> Result<Self, CredentialsFileError> {
        let refused = |error| CredentialsFileError::Read { path: path.to_owned(), error };
        let mut bytes = Vec::new();
        // One byte more than allowed, so that a longer file is noticed and never loaded whole.
        let mut file = File::open(path).map_err(refused)?.take(CREDENTIALS_BYTES_MAX as u64 + 1);
        file.read_to_end(&mut bytes).map_err(refused)?;
        Self::parse(&bytes, path)
    }

    /// Parses the bytes of a file; `path` is its name for messages.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, CredentialsFileError> {
        let clients = Credentials::parse(bytes, path)?;
        let mut names = clients.names();
        match (names.next().and_then(|name| Some((name, clients.key(name)?))), names.count()) {
            (Some((name, key)), 0) => Ok(Self::new(name, *key)),
            (first, others) => Err(CredentialsFileError::NotOne {
                path: path.to_owned(),
                entries: usize::from(first.is_some()) + others,
            }),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &AuthKey {
        &self.key
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClientCredentials, String> {
        let text = text.replace("KEY", &"0aF9".repeat(64));
        let parsed = ClientCredentials::parse(text.as_bytes(), Path::new("credentials"));
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_with_one_entry_is_read_and_its_key_never_printed() {
        let found = parse("admin:KEY\n").expect("well formed");
        assert_eq!((found.name(), found.key()[..2].to_vec()), ("admin", vec![0x0a, 0xf9]));
        assert_eq!(format!("{found:?}"), "ClientCredentials { name: \"admin\", .. }");
    }

    #[test]
    fn no_entry_or_several_are_refused() {
        for (text, entries) in
            [("", 0), ("\n\n", 0), ("a:KEY\nb:KEY", 2), ("a:KEY\nb:KEY\nc:KEY", 3)]
        {
            let expected = format!(
                "credentials file credentials has {entries} entries; a client's has exactly one"
            );
            assert_eq!(parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_credentials_file_is_refused_with_its_line() {
        let expected =
            "Invalid key length 2 (should be 256) in registry file credentials at line 1";
        assert_eq!(parse("a:00"), Err(expected.to_owned()));
        let error =
            ClientCredentials::read(Path::new("no/such/file")).expect_err("it is not there");
        assert!(error.to_string().starts_with("cannot read credentials file no/such/file: "));
    }
}
