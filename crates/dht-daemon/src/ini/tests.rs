use dht_testkit::{Rng, for_seeds};

use super::*;

fn ini(text: &str) -> Ini {
    Ini::parse(text.as_bytes()).expect("short")
}

/// The value of `S.key`.
fn value(text: &str, key: &str) -> Option<String> {
    let ini = ini(text);
    ini.get("S", key).map(|entry| String::from_utf8(entry.value.clone()).expect("ASCII"))
}

#[test]
fn lines_mean_what_the_grammar_says() {
    let cases = [
        ("[S]\na=1", Some("1")),
        ("[S]\r\n  a  =\t1  \r\n", Some("1")),
        ("  [ S ] rest is ignored = 5\na=1", Some("1")),
        ("[S\na=1", Some("1")),
        ("[S]]\na=1", Some("1")),
        ("[S]\na = b # c", Some("b # c")),
        ("[S]\na = x = y", Some("x = y")),
        ("[S]\na = \"x\"", Some("\"x\"")),
        ("[S]\n# a = 1\n; a = 2\n// a = 3", None),
        ("[S]\n/a = 1\na = 2", Some("2")),
        ("a = 0\n[T]\na = 1", None),
        ("[S]\nA = 1", None),
        ("[s]\na = 1", None),
        ("[]\na = 1", None),
        ("[S]\na = 1\n[]\na = 2\n[S]", Some("1")),
        ("[S]\n= 1\ncontinued", None),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text, "a").as_deref(), expected, "{text:?}");
    }
}

#[test]
fn values_can_have_several_lines() {
    assert_eq!(value("[S]\na = 1\n  2\n\n# no\n 3\nb=4", "a").as_deref(), Some("1\n2\n3"));
    assert_eq!(value("[S]\na =\n  1\n  2", "a").as_deref(), Some("1\n2"), "no leading line end");
    assert_eq!(value("[S]\na = 1\n b = 2", "a").as_deref(), Some("1"), "`=` starts a new key");
    assert_eq!(value("[S]\na = 1\n[S]\n2", "a").as_deref(), Some("1"), "a section ends the value");
    assert_eq!(value("[S]\nstray\na = 1", "a").as_deref(), Some("1"));
}

#[test]
fn the_last_of_equal_keys_wins_and_sections_merge() {
    assert_eq!(value("[S]\na = 1\na = 2\n3", "a").as_deref(), Some("2\n3"));
    assert_eq!(value("[S]\na = 1\n[T]\na = 3\n[S]\nb = 2", "a").as_deref(), Some("1"));
    assert_eq!(value("[S]\na = 1\n[T]\n[S]\nb = 2", "b").as_deref(), Some("2"));
    assert_eq!(value("[S]\na = 1\na =", "a"), None, "an empty value is not present");
    assert_eq!(value("[S]\na =\nb = 1", "a"), None);
}

#[test]
fn values_know_their_line() {
    let ini = ini("\n[S]\n# x\na = 1\n2\nb = 3");
    assert_eq!(ini.get("S", "a").unwrap().origin, Origin::Line(4));
    assert_eq!(ini.place(Origin::Line(4)), "config line 4");
    let named = Ini { file: Some("etc/config.ini".into()), ..ini };
    assert_eq!(named.place(Origin::Line(4)), "etc/config.ini:4");
    assert_eq!(named.place(Origin::Override), "--override-config");
}

#[test]
fn overrides_add_replace_and_remove() {
    let mut ini = ini("[S]\na = 1\nb = 2");
    for text in ["S.a = 5", "S.b=", "S.c= x = y ", "LOG.Root.level=info"] {
        ini.apply(&Override::parse(text).unwrap());
    }
    let entry = |section, key| ini.get(section, key).map(|entry| entry.value.as_slice());
    assert_eq!(entry("S", "a"), Some(b"5".as_slice()));
    assert_eq!(entry("S", "b"), None);
    assert_eq!(entry("S", "c"), Some(b"x = y".as_slice()));
    assert_eq!(entry("LOG.Root", "level"), Some(b"info".as_slice()));
    assert_eq!(ini.get("S", "a").unwrap().origin, Origin::Override);
}

#[test]
fn wrong_overrides_say_what_is_missing() {
    let error = |text: &str| Override::parse(text).expect_err(text);
    assert_eq!(error("  "), OverrideError::Empty);
    assert_eq!(error("S.a"), OverrideError::NoValue("S.a".to_owned()));
    assert_eq!(error("a=b.c"), OverrideError::NoSection("a=b.c".to_owned()));
    assert_eq!(error(" .a=1"), OverrideError::EmptySection(".a=1".to_owned()));
    assert_eq!(error("S. =1"), OverrideError::EmptyKey("S. =1".to_owned()));
}

#[test]
fn a_file_that_cannot_be_had_is_named() {
    let missing = Ini::read(Path::new("/nonexistent/config.ini")).expect_err("no such file");
    assert!(
        missing
            .to_string()
            .starts_with("Error reading config file '/nonexistent/config.ini': No such file"),
        "{missing}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.ini");
    File::create(&path).unwrap().set_len(INI_BYTES_MAX as u64 + 1).unwrap();
    let big = Ini::read(&path).expect_err("too large");
    assert!(matches!(big.problem, ReadProblem::Ini(IniError::TooLarge)), "{big}");
    std::fs::write(&path, "[S]\na = 1").unwrap();
    assert_eq!(Ini::read(&path).unwrap().file(), Some(path.as_path()));
}

/// It would take hours if each line cost as much as the names that it belongs to.
#[test]
fn huge_names_cost_nothing_extra() {
    let name = "n".repeat(1 << 20);
    let keys: String = (0..100_000).map(|number| format!("k{number} =\nx\n")).collect();
    let ini = ini(&format!("[{name}]\n{keys}{name} =\n{}", "x\n".repeat(100_000)));
    assert_eq!(ini.entries(&name).count(), 100_001);
}

#[test]
fn any_bytes_parse_and_no_value_is_empty() {
    for_seeds(200, |rng: &mut Rng| {
        let pieces: [&[u8]; 10] =
            [b"[", b"]", b"=", b"\n", b"\n", b"S", b"#", b" ", b"\xff\0", b"//"];
        let count = rng.within(0..200);
        let bytes: Vec<u8> = (0..count).flat_map(|_| rng.pick(&pieces).to_vec()).collect();
        let ini = Ini::parse(&bytes).expect("short");
        for section in ini.section_names() {
            assert!(!section.is_empty());
            for (key, entry) in ini.entries(section) {
                assert!(!key.is_empty() && !entry.value.is_empty());
                assert_eq!(trim(&entry.value), entry.value);
            }
        }
    });
}
