//! Command sockets: a person or a script sends a line, the daemon answers with text.
//!
//! ```text
//! C>N  update-credentials\n            N>C  Credentials updated.\n
//! C>N  reopen_files log/root.log\n     N>C  ACK\n
//! C>N  nonsense\n                      N>C  Command not found\n
//! ```
//!
//! A command is one line: a word, blanks, arguments. Blank lines are ignored; a connection may send
//! many. [`CommandSession`] is sans-I/O and takes a line in any number of pieces;
//! [`CommandListener`] is the socket, non-blocking, for an event loop to accept on.
//!
//! Source: spec `node` 9, `protocol-neo` 20.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Mode;

use crate::App;
use crate::build_info;
use crate::ini::Ini;
use crate::log::Logs;
use crate::section::{ConfigError, Section};

/// Greatest length of a command line in bytes, without its line end.
pub const COMMAND_LINE_BYTES_MAX: usize = 4096;
/// Greatest length of a socket's path in bytes; the system's limit.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The answer to an unknown word, and to a line that is too long.
pub const NOT_FOUND: &str = "Command not found\n";

/// `[UNIX_SOCKET]`: the framework's own command socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnixSocketConfig {
    /// Where it is; none opens no socket.
    pub path: Option<PathBuf>,
    /// Permissions of the socket's file; none leaves what umask 002 gives.
    pub mode: Option<u32>,
}

impl UnixSocketConfig {
    /// Reads `[UNIX_SOCKET]`. Unknown keys are only warned of: the original does not see them.
    pub fn from_ini(ini: &Ini, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "UNIX_SOCKET");
        let path = section.get("path")?;
        let mode = match section.get::<String>("mode")? {
            Some(text) => Some(octal_mode(&text).ok_or_else(|| {
                let problem = format!("Invalid mode '{text}' of the unix socket");
                section.error("mode", problem, "allowed: octal permissions, such as 0660")
            })?),
            None => None,
        };
        warnings.extend(section.finish(true)?);
        Ok(Self { path, mode })
    }
}

fn octal_mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| is_octal)?;
    (mode <= 0o777).then_some(mode)
}

/// A bound command socket. Dropping it removes its file.
#[derive(Debug)]
pub struct CommandListener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file, so that nobody else's is removed.
    identity: (u64, u64),
}

/// Why a command socket could not be opened. The process ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system allows no such path.
    #[error(
        "{key} = {}: the path of a unix socket must be shorter than 108 bytes, this one has \
         {bytes}; use a shorter or a relative path", .path.display()
    )]
    PathTooLong {
        /// The config key that holds the path.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The system refused.
    #[error("{key} = {}: cannot {action} the unix socket: {source}", .path.display())]
    Io {
        /// The config key that holds the path.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// Binds with umask 002. The umask is one of the whole process: two threads that change it for a
/// moment would leave each other's.
fn bind_for_group(path: &Path) -> io::Result<UnixListener> {
    static UMASK: Mutex<()> = Mutex::new(());
    let _alone = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
    let umask = rustix::process::umask(Mode::WOTH);
    let bound = UnixListener::bind(path);
    rustix::process::umask(umask);
    bound
}

impl CommandListener {
    /// Binds a socket that everyone in the group may write to, or those whom `mode` allows. `key`
    /// is the config key of the path, for messages. A file of that name is removed, whatever it is.
    ///
    /// Changes the umask for a moment: to be called before other threads create files.
    pub fn bind(key: &'static str, path: &Path, mode: Option<u32>) -> Result<Self, BindError> {
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(BindError::PathTooLong { key, path: path.to_owned(), bytes });
        }
        let failed = |action, source| BindError::Io { key, path: path.to_owned(), action, source };
        match remove_stale(path) {
            Ok(true) => ::log::warn!("Deleted existing socket"),
            Ok(false) => {}
            Err(error) => return Err(failed("remove what is in the place of", error)),
        }
        let bound = bind_for_group(path);
        let listener = bound.map_err(|error| failed("bind", error))?;
        let meta = fs::symlink_metadata(path).map_err(|error| failed("find", error))?;
        let this = Self { listener, path: path.to_owned(), identity: (meta.dev(), meta.ino()) };
        this.listener.set_nonblocking(true).map_err(|error| failed("set up", error))?;
        if let Some(mode) = mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .map_err(|error| failed("set the mode of", error))?;
        }
        Ok(this)
    }

    /// The listener, non-blocking, for an event loop.
    #[must_use]
    pub const fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for CommandListener {
    fn drop(&mut self) {
        let meta = fs::symlink_metadata(&self.path);
        if meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity) {
            // Left behind, it would be replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what an earlier process left. False if there is nothing.
///
/// Compat: any file goes, not only a socket, so that no leftover keeps a node from starting. A
/// directory stays.
fn remove_stale(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a word means: from the trimmed arguments to the reply with its line end.
type Handler<'a> = Box<dyn FnMut(&str) -> String + 'a>;

/// What the words mean: name to handler.
#[derive(Default)]
pub struct Commands<'a>(BTreeMap<&'static str, Handler<'a>>);

impl<'a> Commands<'a> {
    /// No commands at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command.
    #[must_use]
    pub fn with(mut self, name: &'static str, run: impl FnMut(&str) -> String + 'a) -> Self {
        self.0.insert(name, Box::new(run));
        self
    }

    /// Adds the framework's own commands, `reopen_files` and `show_version`.
    #[must_use]
    pub fn with_standard(self, app: &'a App, logs: &'a Logs) -> Self {
        self.with("reopen_files", |arguments| reopen_files(logs, arguments))
            .with("show_version", |_| show_version(app))
    }

    /// Runs a command; the reply to an unknown one is [`NOT_FOUND`].
    pub fn dispatch(&mut self, name: &str, arguments: &str) -> String {
        self.0.get_mut(name).map_or_else(|| NOT_FOUND.to_owned(), |run| run(arguments))
    }
}

/// One connection to a command socket: finds the lines in what arrives.
#[derive(Debug, Default)]
pub struct CommandSession {
    /// The line so far; at most [`COMMAND_LINE_BYTES_MAX`] bytes.
    line: Vec<u8>,
    /// Whether the line was too long, was answered, and is skipped up to its end.
    skipping: bool,
}

impl CommandSession {
    /// Takes the bytes of one read, runs the commands that are complete, and returns the replies.
    /// `dispatch` gets the word and the trimmed arguments.
    #[must_use]
    pub fn receive(
        &mut self,
        bytes: &[u8],
        dispatch: &mut dyn FnMut(&str, &str) -> String,
    ) -> Vec<u8> {
        let mut replies = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = match piece {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            self.add(text, &mut replies);
            if ended && !std::mem::take(&mut self.skipping) {
                let line = std::mem::take(&mut self.line);
                replies.extend(run(&String::from_utf8_lossy(&line), dispatch).into_bytes());
            }
        }
        replies
    }

    /// Adds a piece of a line; once it is too long, answers it and forgets it.
    fn add(&mut self, text: &[u8], replies: &mut Vec<u8>) {
        if self.skipping {
            return;
        }
        if self.line.len() + text.len() > COMMAND_LINE_BYTES_MAX {
            replies.extend_from_slice(NOT_FOUND.as_bytes());
            self.line = Vec::new();
            self.skipping = true;
        } else {
            self.line.extend_from_slice(text);
        }
    }
}

/// Runs one line; a blank one gives no reply.
fn run(line: &str, dispatch: &mut dyn FnMut(&str, &str) -> String) -> String {
    let line = line.trim();
    if line.is_empty() {
        return String::new();
    }
    let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    dispatch(name, arguments.trim())
}

/// `reopen_files F1 F2 ...`: reopens log files by name. Stops at the first that cannot be.
#[must_use]
pub fn reopen_files(logs: &Logs, arguments: &str) -> String {
    let mut files = arguments.split_whitespace().peekable();
    if files.peek().is_none() {
        return "ERROR: missing name of the file to rotate.\n".to_owned();
    }
    for file in files {
        match logs.reopen_file(Path::new(file)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                ::log::error!("{error}");
                return could_not_rotate(file);
            }
            None => return could_not_rotate(file),
        }
    }
    "ACK\n".to_owned()
}

fn could_not_rotate(file: &str) -> String {
    format!("ERROR: Could not rotate the file '{file}'\n")
}

/// `show_version`: as `--version`.
#[must_use]
pub fn show_version(app: &App) -> String {
    build_info::version_text(app) + "\n"
}

#[cfg(test)]
mod tests;
