use std::path::PathBuf;

use super::*;
use crate::ini::Override;

fn with<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
    let ini = Ini::parse(text.as_bytes()).expect("short");
    read(&mut Section::new(&ini, "S"))
}

/// `S.k` read as `T`.
fn value<T: ConfigValue>(text: &str) -> Result<T, String> {
    let read = |section: &mut Section<'_>| section.required::<T>("k");
    with(&format!("[S]\nk = {text}"), read).map_err(|error| error.to_string())
}

#[test]
fn bools_have_ten_words() {
    for word in ["true", "enabled", "on", "yes", "1"] {
        assert_eq!(value(word), Ok(true), "{word}");
    }
    for word in ["false", "disabled", "off", "no", "0"] {
        assert_eq!(value(word), Ok(false), "{word}");
    }
    assert_eq!(
        value::<bool>("True").unwrap_err(),
        "config line 2: Critical Error: Configuration key 'S:k' appears not to be of type 'bool' \
         (found 'True', allowed: true/false, enabled/disabled, on/off, yes/no, 1/0)"
    );
}

#[test]
fn an_error_is_one_line_whatever_the_value_is() {
    let error = value::<bool>("yes\n\x1b[31m\tno").unwrap_err();
    assert!(error.contains(r"(found 'yes\n\u{1b}[31m\tno', allowed: "), "{error}");
}

#[test]
fn integers_have_signs_prefixes_and_bounds() {
    let good = [("0", 0), ("+7", 7), ("0x1F", 31), ("0X1f", 31), ("0b101", 5), ("0o17", 15)];
    for (text, expected) in good {
        assert_eq!(value::<u16>(text), Ok(expected), "{text}");
    }
    assert_eq!(value::<i32>("-0x10"), Ok(-16));
    assert_eq!(value::<u64>("0xffffffffffffffff"), Ok(u64::MAX));
    assert_eq!(value::<u16>("007"), Ok(7), "a leading zero is no octal");
    for text in ["-", "0x", "12a", "1 2", "1.5", "0b2", "0o8", "--1", "0x-1", "1_000"] {
        let error = value::<u32>(text).unwrap_err();
        assert!(error.contains("'S:k' appears not to be of type 'uint'"), "{error}");
    }
    let bounds = value::<u16>("65536").unwrap_err();
    assert_eq!(
        bounds,
        "config line 2: Value of 65536 is out of ushort bounds (S.k, allowed: 0 to 65535)"
    );
    for text in ["-1", "18446744073709551616", &"9".repeat(100)] {
        assert!(value::<u64>(text).unwrap_err().contains("out of ulong bounds"), "{text}");
    }
}

#[test]
fn floats_are_finite_decimals() {
    for (text, expected) in [("1.1", 1.1), ("-2", -2.0), ("11e-1", 1.1), (".5", 0.5)] {
        assert_eq!(value::<f64>(text), Ok(expected), "{text}");
    }
    for text in ["inf", "NaN", "1,5", "one"] {
        assert!(value::<f64>(text).unwrap_err().contains("of type 'double'"), "{text}");
    }
}

#[test]
fn texts_and_paths_are_raw() {
    assert_eq!(value::<String>("\"a b\"\n  c"), Ok("\"a b\"\nc".to_owned()));
    assert_eq!(value::<PathBuf>("log/x.log"), Ok("log/x.log".into()));
    assert!(value::<PathBuf>("a\0b").unwrap_err().contains("NUL"));
    let ini = Ini::parse(b"[S]\nk = \xe9").unwrap();
    assert!(Section::new(&ini, "S").get::<PathBuf>("k").is_ok());
    let error = Section::new(&ini, "S").get::<String>("k").unwrap_err();
    assert!(error.problem.ends_with("of type 'istring'"), "{error}");
}

#[test]
fn absent_and_empty_keys_have_their_default() {
    assert_eq!(with("[S]\nk =", |section| section.or("k", 5_u16)), Ok(5));
    assert_eq!(with("", |section| section.get::<u16>("k")), Ok(None));
    let missing = with("", |section| section.required::<u16>("k")).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "config: Mandatory variable S.k not set. (add `k = ...` below [S])"
    );
}

#[test]
fn limits_name_key_bound_and_value() {
    with("[S]\nk = 5", |section| {
        assert_eq!(section.at_least("k", 5, 5), Ok(5));
        assert_eq!(section.at_most("k", 5, 5), Ok(5));
        let small = section.at_least("k", 5, 6).unwrap_err();
        assert_eq!(
            small.to_string(),
            "config line 2: Configuration key S.k is smaller than allowed minimum of 6 (found 5)"
        );
        let big = section.at_most("k", 5, 4).unwrap_err();
        assert_eq!(big.problem, "Configuration key S.k is bigger than allowed maximum of 4");
    });
}

#[test]
fn words_outside_a_set_are_refused() {
    let allowed = [("load", 1), ("fatal", 2)];
    assert_eq!(with("[S]\nk = fatal", |section| section.one_of("k", &allowed, 0)), Ok(2));
    assert_eq!(with("", |section| section.one_of("k", &allowed, 0)), Ok(0));
    let error = with("[S]\nk = Load", |section| section.one_of("k", &allowed, 0)).unwrap_err();
    assert_eq!(
        error.problem,
        "Value 'Load' of configuration key S.k is not within the set of allowed values (load, \
         fatal)"
    );
}

#[test]
fn unknown_keys_are_errors_or_warnings() {
    let ini = Ini::parse(b"[S]\nk = 1\nkk = 2\n[T]\nx = 1").unwrap();
    let read = |loose| {
        let mut section = Section::new(&ini, "S");
        section.get::<u16>("k").unwrap();
        section.get::<u16>("absent").unwrap();
        section.finish(loose)
    };
    let error = read(false).unwrap_err();
    assert_eq!(error.problem, "Invalid configuration key S.kk");
    assert_eq!(error.place, "config line 3");
    assert!(error.hint.starts_with("known keys of [S]: absent, k;"), "{error}");
    assert_eq!(read(true).unwrap(), ["Warning: config line 3: Invalid configuration key S.kk"]);
}

#[test]
fn a_value_of_the_command_line_is_blamed_on_it() {
    let mut ini = Ini::parse(b"[S]\nk = 1").unwrap();
    ini.apply(&Override::parse("S.k=x").unwrap());
    let error = Section::new(&ini, "S").get::<u16>("k").unwrap_err();
    assert_eq!(error.place, "--override-config");
}
