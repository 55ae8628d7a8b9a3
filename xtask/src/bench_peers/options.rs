//! What to measure, how often.

/// Text of `cargo xtask bench-peers --help`.
const USAGE: &str = "\
Usage: cargo xtask bench-peers [OPTIONS]

  --rounds N       rounds; each measures every load on every server once (default: 7)
  --seconds S      of each measurement (default: 2)
  --keys N         records of each server (default: 1000000)
  --size N         bytes of a value (default: 100)
  --cores A,B      core of the servers, core of the generator (default: 0,1)
  --only WORDS     loads and servers whose names contain one of these words, by commas
  --json FILE      all figures as JSON
  --svg FILE       a chart of the medians

Servers: dhtnode, and those of redis-server, valkey-server, memcached that are installed.";

/// See [`USAGE`].
#[derive(Debug)]
pub(super) struct Options {
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) keys: u64,
    pub(super) size: usize,
    pub(super) server_core: String,
    pub(super) generator_core: String,
    only: Vec<String>,
    pub(super) json: Option<String>,
    pub(super) svg: Option<String>,
}

impl Options {
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            rounds: 7,
            seconds: 2.0,
            keys: 1_000_000,
            size: 100,
            server_core: "0".to_owned(),
            generator_core: "1".to_owned(),
            only: Vec::new(),
            json: None,
            svg: None,
        };
        let mut words = words.iter();
        while let Some(&name) = words.next() {
            let value = words.next().copied().ok_or_else(|| USAGE.to_owned())?;
            let wrong = || format!("{name} {value}: this is none\n\n{USAGE}");
            match name {
                "--rounds" => options.rounds = positive(value).ok_or_else(wrong)?,
                "--keys" => options.keys = positive(value).ok_or_else(wrong)?,
                "--size" => options.size = positive(value).ok_or_else(wrong)?,
                "--seconds" => {
                    let seconds =
                        value.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
                    options.seconds = seconds.ok_or_else(wrong)?;
                }
                "--cores" => {
                    let (server, generator) = value.split_once(',').ok_or_else(wrong)?;
                    (options.server_core, options.generator_core) =
                        (server.to_owned(), generator.to_owned());
                }
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--json" => options.json = Some(value.to_owned()),
                "--svg" => options.svg = Some(value.to_owned()),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether a load or a server is wanted: no word is about its sort, or one is about it.
    pub(super) fn wants(&self, name: &str, sort: &[&str]) -> bool {
        let about = |name: &str| self.only.iter().any(|word| name.contains(word.as_str()));
        !sort.iter().any(|name| about(name)) || about(name)
    }
}

fn positive<T: std::str::FromStr + PartialOrd + From<u8>>(value: &str) -> Option<T> {
    value.parse().ok().filter(|number| *number >= T::from(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_wrong_ones_refused() {
        let options = Options::parse(&["--rounds", "3", "--cores", "2,5"]).expect("well formed");
        assert_eq!((options.rounds, options.server_core.as_str()), (3, "2"));
        for words in [&["--rounds"][..], &["--rounds", "0"], &["--nonsense", "1"], &["--help"]] {
            assert!(Options::parse(words).expect_err("wrong").contains("Usage"), "{words:?}");
        }
    }

    #[test]
    fn a_word_narrows_only_the_sort_that_it_is_about() {
        let options = Options::parse(&["--only", "redis,50x1 "]).expect("well formed");
        let (servers, loads) = (["dht neo", "redis"], ["50x1 get", "50x16 get"]);
        let wanted: Vec<_> = servers.iter().filter(|name| options.wants(name, &servers)).collect();
        assert_eq!(wanted, [&"redis"]);
        let wanted: Vec<_> = loads.iter().filter(|name| options.wants(name, &loads)).collect();
        assert_eq!(wanted, [&"50x1 get"]);
        let all = Options::parse(&[]).expect("nothing is wrong with nothing");
        assert!(all.wants("50x16 get", &loads));
    }
}
