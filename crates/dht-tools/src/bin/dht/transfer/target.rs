//! Where an export goes. A file gets its name when it is whole; until then it has another.

use std::{
    fs::Permissions,
    io::{self, BufWriter, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use dht_dump::{Disk, DumpOptions, DumpWriter, OsDisk};
use dht_tools::json_lines;
use dht_types::Key;
use tempfile::NamedTempFile;

use super::{Form, is_standard};
use crate::{Output, failure::Failure};

/// What new files may be used for, before the umask.
const MODE: u32 = 0o666;

/// See the module. If it is dropped, there is no file, and a former one stays as it was.
pub(super) enum Target<'o> {
    Standard(&'o mut Output),
    Json(BufWriter<NamedTempFile>, PathBuf),
    Tcm(Box<DumpWriter>, PathBuf),
}

impl<'o> Target<'o> {
    pub(super) fn create(
        form: Form,
        file: &Path,
        force: bool,
        out: &'o mut Output,
    ) -> Result<Self, Failure> {
        if is_standard(file) {
            return match form {
                Form::Json => Ok(Self::Standard(out)),
                Form::Tcm => Err(Failure::Usage("a dump cannot go to standard output".to_owned())),
            };
        }
        if !force && file.symlink_metadata().is_ok() {
            let text = format!("{} exists: --force replaces it", file.display());
            return Err(Failure::Usage(text));
        }
        let failed = |error| failed(file, error);
        match form {
            Form::Json => {
                let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
                let mut builder = tempfile::Builder::new();
                builder.prefix(".dht-export-").permissions(Permissions::from_mode(MODE));
                let temporary = builder.tempfile_in(dir.unwrap_or(Path::new(".")));
                Ok(Self::Json(BufWriter::new(temporary.map_err(failed)?), file.to_owned()))
            }
            Form::Tcm => {
                let disk: Arc<dyn Disk> = Arc::new(OsDisk);
                let options = DumpOptions { direct: false, keep_backup: false };
                let writer = DumpWriter::create_file(&disk, file, options);
                let writer = writer.map_err(|error| failed(io::Error::other(error)))?;
                Ok(Self::Tcm(Box::new(writer), file.to_owned()))
            }
        }
    }

    pub(super) fn write(&mut self, key: Key, value: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Standard(out) => json_lines::write(out, key, value).map_err(Failure::from),
            Self::Json(out, file) => {
                json_lines::write(out, key, value).map_err(|error| failed(file, error))
            }
            Self::Tcm(writer, file) => {
                writer.record(key, value).map_err(|error| failed(file, io::Error::other(error)))
            }
        }
    }

    /// All is written: the file survives a crash, and gets its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Standard(out) => Ok(out.flush()?),
            Self::Json(out, file) => {
                let finish = || {
                    let temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
                    temporary.as_file().sync_all()?;
                    temporary.persist(&file)?;
                    Ok(())
                };
                finish().map_err(|error| failed(&file, error))
            }
            Self::Tcm(writer, file) => match writer.finish() {
                Ok(_) => Ok(()),
                Err(error) => Err(failed(&file, io::Error::other(error))),
            },
        }
    }
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::Target { path: path.to_owned(), error }
}
