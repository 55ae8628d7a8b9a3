//! Who may connect by the neo protocol: read at the start, and again when asked to.
//!
//! Source: spec `node` 6.

use std::net::Ipv4Addr;
use std::path::Path;

use dht_daemon::credentials::{Credentials, CredentialsError, KEY_BYTES};
use dht_protocol::neo::requests::ADMIN_NAME;

use crate::shared::Shared;

/// Where the clients are listed. Compat: the original has no other place.
const FILE: &str = "etc/credentials";

/// With a config file the clients must be listed, as in the original. Without, there is one account
/// that everybody knows, as long as nobody on another machine can reach it.
pub(crate) fn at_start(
    has_config: bool,
    address: Ipv4Addr,
) -> Result<Credentials, CredentialsError> {
    if has_config || is_there() {
        return Credentials::read(Path::new(FILE));
    }
    if !address.is_loopback() {
        log::warn!("No {FILE}: nobody can connect by the neo protocol");
        return Ok(Credentials::default());
    }
    log::info!("No {FILE}: neo clients connect as '{ADMIN_NAME}', the key is 128 zero bytes");
    let account = format!("{ADMIN_NAME}:{}\n", "00".repeat(KEY_BYTES));
    Credentials::parse(account.as_bytes(), Path::new(FILE))
}

/// Whether there is a file to reload.
pub(crate) fn is_there() -> bool {
    Path::new(FILE).exists()
}

/// Reads the file again. After an error the accounts are those of before. Open connections stay.
pub(crate) fn reload(shared: &Shared) -> Result<(), CredentialsError> {
    shared.replace_credentials(Credentials::read(Path::new(FILE))?);
    Ok(())
}
