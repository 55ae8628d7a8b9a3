//! Config files: any bytes parse, and reading every value as every type answers without a panic.
#![no_main]

use dht_daemon::log::LogConfig;
use dht_daemon::stats::StatsConfig;
use dht_daemon::{Ini, Section};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(ini) = Ini::parse(bytes) else { return };
    for name in ini.section_names() {
        let mut section = Section::new(&ini, name);
        let _ = section.get::<bool>("a");
        let _ = section.get::<u16>("a");
        let _ = section.get::<i32>("a");
        let _ = section.get::<u64>("a");
        let _ = section.get::<f64>("a");
        let _ = section.get::<String>("a");
        let _ = section.finish(false).map_err(|error| error.to_string());
    }
    let _ = LogConfig::from_ini(&ini, false, &mut Vec::new());
    let _ = StatsConfig::from_ini(&ini, "dhtnode", true, &mut Vec::new());
});
