//! export: all records of a channel into a file.

use futures_util::StreamExt as _;

use super::{Form, is_standard, target::Target};
use crate::{
    Output,
    args::ExportArgs,
    failure::{Exit, Failure, say},
    progress::Progress,
    session::Session,
};

pub(crate) async fn export(
    session: &mut Session,
    args: &ExportArgs,
    out: &mut Output,
) -> Result<Exit, Failure> {
    // Without one of the nodes it cannot be whole: better said now than after an hour.
    if !args.partial {
        session.finish()?;
    }
    let form = Form::of(args.form, &args.file);
    let mut target = Target::create(form, &args.file, args.force, out)?;
    let channel = session.channel(&args.channel);
    let total = channel.size().await.ok().map(|size| size.records);
    let progress = match is_standard(&args.file) {
        true => Progress::beside_output("export", total),
        false => Progress::alone("export", total),
    };
    let mut records = channel.get_all();
    while let Some(record) = records.next().await {
        match record {
            Ok((key, value)) => {
                target.write(key, &value)?;
                progress.add(value.len());
            }
            Err(error) => {
                session.fail(error);
                if !args.partial {
                    break;
                }
            }
        }
    }
    let (count, _) = progress.counts();
    drop(progress);
    let result = session.finish();
    let (file, name) = (args.file.display(), &args.channel);
    if result.is_ok() || args.partial {
        target.finish()?;
        if !is_standard(&args.file) {
            say(&format!("dht: {count} records of channel {name} are in {file}"));
        }
    } else if !is_standard(&args.file) {
        say(&format!("dht: {file} was not written: it would not be whole (--partial allows that)"));
    }
    result.map(|()| Exit::Done)
}
