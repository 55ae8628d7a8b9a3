//! Any bytes as a config file: never a panic, no empty values, and what was read and written again
//! reads the same.
#![no_main]

use dht_daemon::ini::Ini;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let ini = Ini::parse(bytes).expect("the fuzzer's inputs are shorter than any limit");
    let again = Ini::parse(&text(&ini)).expect("it has no more bytes than what it was read from");
    for section in ini.section_names() {
        let values = |ini: &Ini| -> Vec<(String, Vec<u8>)> {
            ini.entries(section).map(|(key, it)| (key.to_owned(), it.value.clone())).collect()
        };
        assert!(ini.entries(section).all(|(_, entry)| !entry.value.is_empty()));
        assert_eq!(values(&again), values(&ini), "section {section:?}");
    }
});

/// The file in its shortest form.
fn text(ini: &Ini) -> Vec<u8> {
    let mut text = Vec::new();
    for section in ini.section_names() {
        text.extend_from_slice(format!("[{section}]\n").as_bytes());
        for (key, entry) in ini.entries(section) {
            text.extend_from_slice(format!("{key}=").as_bytes());
            text.extend_from_slice(&entry.value);
            text.push(b'\n');
        }
    }
    text
}
