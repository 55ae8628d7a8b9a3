//! Lines on standard input as a dump file.

use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
    sync::Arc,
};

use dht_dump::{Disk, DiskError, DumpOptions, DumpWriter, OsDisk};
use dht_tools::json_lines::{LineError, Lines};

use crate::form::{Form, FormError};

/// Why no dump was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("line {line}: {error}")]
    Line { line: u64, error: FormError },
    /// Compat: scripts may look for the text, and for the file that the original leaves behind.
    #[error("{error}\nIt is line {line}; {} is unfinished", unfinished.display())]
    TextLine { line: u64, error: FormError, unfinished: PathBuf },
    #[error("{0}")]
    LineTooLong(LineError),
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Makes the dump `target` of the records in `input`, in their order, if all of it is records.
pub(crate) fn make(form: Form, input: impl BufRead, target: &Path) -> Result<(), WriteError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    // There is nothing to keep, unless somebody has made the file since we looked.
    let options = DumpOptions { direct: false, keep_backup: true };
    let mut writer = DumpWriter::create_file(&disk, target, options)?;
    let mut lines = Lines::new(input);
    while let Some(line) = lines.next()? {
        match form.parse(line) {
            Ok((key, value)) => writer.record(key, &value)?,
            Err(error) => return Err(refused(form, lines.number(), error, writer)),
        }
    }
    writer.finish()?;
    Ok(())
}

fn refused(form: Form, line: u64, error: FormError, writer: DumpWriter) -> WriteError {
    match form {
        Form::Text => WriteError::TextLine { line, error, unfinished: writer.leave_unfinished() },
        Form::Json => WriteError::Line { line, error },
    }
}

impl From<LineError> for WriteError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Input(error) => Self::Input(error),
            LineError::TooLong(_) => Self::LineTooLong(error),
        }
    }
}
