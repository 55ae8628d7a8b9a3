//! Who may connect by the neo protocol: read at the start, and again when asked to.
//!
//! Source: spec `node` 6.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use dht_protocol::neo::credentials::{
    CREDENTIALS_BYTES_MAX, Credentials, CredentialsError, KEY_BYTES,
};
use dht_protocol::neo::requests::ADMIN_NAME;

use crate::shared::Shared;

/// Where the clients are listed. Compat: the original has no other place.
const FILE: &str = "etc/credentials";

/// Why the clients are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file cannot be read.
    #[error(
        "Cannot read key registry file {}: {source} (it needs one line `name:key` for each neo \
         client, or to be empty; a key is made by `openssl rand -hex 128`)",
        .file.display()
    )]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What is in it was refused.
    #[error(transparent)]
    Refused(#[from] CredentialsError),
}

/// With a config file the clients must be listed, as in the original. Without, there is one account
/// that everybody knows, as long as nobody on another machine can reach it.
pub(crate) fn at_start(has_config: bool, address: Ipv4Addr) -> Result<Credentials, FileError> {
    if has_config || is_there() {
        return read(Path::new(FILE));
    }
    if !address.is_loopback() {
        log::warn!("No {FILE}: nobody can connect by the neo protocol");
        return Ok(Credentials::default());
    }
    log::info!("No {FILE}: neo clients connect as '{ADMIN_NAME}', the key is 128 zero bytes");
    let account = format!("{ADMIN_NAME}:{}\n", "00".repeat(KEY_BYTES));
    Ok(Credentials::parse(account.as_bytes(), Path::new(FILE))?)
}

/// Whether there is a file to reload.
pub(crate) fn is_there() -> bool {
    Path::new(FILE).exists()
}

/// Reads the file again. After an error the accounts are those of before. Open connections stay.
pub(crate) fn reload(shared: &Shared) -> Result<(), FileError> {
    shared.replace_credentials(read(Path::new(FILE))?);
    Ok(())
}

fn read(path: &Path) -> Result<Credentials, FileError> {
    let io = |source| FileError::Io { file: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > CREDENTIALS_BYTES_MAX as u64 {
        return Err(CredentialsError::TooLarge { bytes: size }.into());
    }
    // One byte more than allowed: it may have grown since.
    let mut bytes = Vec::new();
    file.take(CREDENTIALS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    Ok(Credentials::parse(&bytes, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_or_missing_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        File::create(&path).unwrap().set_len(12_345_678).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.to_string(), "Key registry file too large: 12345678 bytes");
        let error = read(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent: No such file"), "{error}");
    }
}
