//! Rust source, line by line, with code and comments apart.
//!
//! ```text
//! let a = "todo!("; // why        code: let a = "      ";      comment:  why
//! ```
//!
//! The insides of strings and character literals are left out, so that a word in a text is never
//! taken for code. No parser: it knows quotes, comments and `use` trees, all that `source` needs.

/// One line of a source file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The code, without comments and without the insides of literals.
    pub(super) code: String,
    /// The text of its comments, without the leading slashes.
    pub(super) comment: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    /// Block comments nest; how deep.
    BlockComment(usize),
    Text,
    /// A raw string that ends with a quote and so many `#`.
    RawText(usize),
}

/// Splits a source file into lines.
pub(super) fn lines(source: &str) -> Vec<Line> {
    let chars: Vec<char> = source.chars().collect();
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if c == '\n' {
            if state == State::LineComment {
                state = State::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("it starts with one line and only grows");
        let (next, taken) = step(state, &chars[at..], line);
        state = next;
        at += taken;
    }
    lines
}

/// Takes one token at the start of `rest`, which is not empty and does not start with a newline.
/// Returns the state after it and how many characters it has.
fn step(state: State, rest: &[char], line: &mut Line) -> (State, usize) {
    match (state, rest) {
        (State::Code, ['/', '/', ..]) => (State::LineComment, 2),
        (State::Code, ['/', '*', ..]) => (State::BlockComment(1), 2),
        (State::Code, ['"', ..]) => {
            line.code.push('"');
            (State::Text, 1)
        }
        (State::Code, ['\'', ..]) => (State::Code, quote(rest, line)),
        (State::Code, [c, ..]) => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let starts_word =
                !matches!(line.code.chars().last(), Some(p) if is_word(p) && p != 'b');
            line.code.push(*c);
            if *c == 'r' && starts_word && rest.get(1 + hashes) == Some(&'"') {
                line.code.push('"');
                return (State::RawText(hashes), 2 + hashes);
            }
            (State::Code, 1)
        }
        (State::BlockComment(1), ['*', '/', ..]) => (State::Code, 2),
        (State::BlockComment(depth), ['*', '/', ..]) => (State::BlockComment(depth - 1), 2),
        (State::BlockComment(depth), ['/', '*', ..]) => (State::BlockComment(depth + 1), 2),
        (State::LineComment | State::BlockComment(_), [c, ..]) => {
            line.comment.push(*c);
            (state, 1)
        }
        (State::Text, ['\\', escaped, ..]) if *escaped != '\n' => {
            line.code.push_str("  ");
            (State::Text, 2)
        }
        (State::Text, ['"', ..]) => {
            line.code.push('"');
            (State::Code, 1)
        }
        (State::RawText(hashes), ['"', after @ ..])
            if after.iter().take_while(|c| **c == '#').count() >= hashes =>
        {
            line.code.push('"');
            (State::Code, 1 + hashes)
        }
        (State::Text | State::RawText(_), _) => {
            line.code.push(' ');
            (state, 1)
        }
        (_, []) => (state, 1),
    }
}

/// A quote in code starts a character literal or a lifetime. Returns how many characters it takes.
fn quote(rest: &[char], line: &mut Line) -> usize {
    let literal = match rest {
        ['\'', '\\', _, after @ ..] => {
            after.iter().position(|c| *c == '\'').map_or(1, |end| end + 4)
        }
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    };
    line.code.push('\'');
    literal
}

/// The number of lines before a trailing `#[cfg(test)] mod ... {`: by habit, tests end a file.
pub(super) fn lines_before_tests(lines: &[Line]) -> usize {
    let is_test_module = |at: &usize| {
        lines[*at].code.trim() == "#[cfg(test)]"
            && lines[*at + 1..]
                .iter()
                .find(|line| !line.code.trim().is_empty() && !line.code.trim().starts_with("#["))
                .is_some_and(|line| {
                    let code = line.code.trim();
                    code.starts_with("mod ") && code.ends_with('{')
                })
    };
    (0..lines.len()).find(is_test_module).unwrap_or(lines.len())
}

/// True if `code` has `words` (a word or a path) with no letter, digit or `_` beside it.
pub(super) fn mentions(code: &str, words: &str) -> bool {
    code.match_indices(words).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + words.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path that `use` declarations import, groups taken apart, with its line counted from 0:
/// `use std::{fs, net::{TcpStream}};` gives `std::fs` and `std::net::TcpStream`.
pub(super) fn imports(lines: &[Line]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(start) = use_tree_start(&lines[at].code) else {
            at += 1;
            continue;
        };
        let mut tree: Vec<(usize, char)> = Vec::new();
        let mut from = start;
        while let Some(line) = lines.get(at) {
            let code = &line.code[from..];
            let (part, done) = code.split_once(';').map_or((code, false), |(part, _)| (part, true));
            tree.extend(part.chars().filter(|c| !c.is_whitespace()).map(|c| (at, c)));
            (at, from) = (at + 1, 0);
            if done {
                break;
            }
        }
        expand(&mut tree.into_iter().peekable(), "", &mut found);
    }
    found
}

/// The byte after `use ` where a line starts a `use` declaration.
fn use_tree_start(code: &str) -> Option<usize> {
    let at = code.find("use ")?;
    let before = code[..at].trim();
    (before.is_empty() || before.starts_with("pub")).then_some(at + "use ".len())
}

/// Reads one `{...}` or the whole tree: paths between commas, each behind `prefix`.
fn expand(
    tree: &mut std::iter::Peekable<std::vec::IntoIter<(usize, char)>>,
    prefix: &str,
    found: &mut Vec<(usize, String)>,
) {
    let mut path = prefix.to_owned();
    let mut line = tree.peek().map_or(0, |(line, _)| *line);
    loop {
        let token = tree.next();
        match token {
            Some((_, '{')) => {
                expand(tree, &path, found);
                path.clear(); // The group has spoken for it.
            }
            None | Some((_, ',' | '}')) => {
                if path.len() > prefix.len() {
                    found.push((line, path));
                }
                if !matches!(token, Some((_, ','))) {
                    return;
                }
                path = prefix.to_owned();
                line = tree.peek().map_or(line, |(line, _)| *line);
            }
            Some((_, c)) => path.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> Vec<String> {
        lines(source).into_iter().map(|line| line.code.trim_end().to_owned()).collect()
    }

    #[test]
    fn texts_and_comments_are_no_code() {
        assert_eq!(code("a(\"todo!(\"); // unsafe"), ["a(\"      \");"]);
        assert_eq!(code("a /* x /* y */ z */ b"), ["a  b"]);
        assert_eq!(code("r#\"say \"hi\" // \"#; b"), ["r\"            \"; b"]);
        assert_eq!(code("br\"x\\\"; b"), ["br\"  \"; b"]);
        assert_eq!(code("\"a\\\"b\"; c"), ["\"    \"; c"]);
        assert_eq!(code("\"two\nlines\"; c"), ["\"", "     \"; c"]);
    }

    #[test]
    fn quotes_in_character_literals_start_no_text() {
        assert_eq!(code("'\"', b'\\'', '\\u{41}', &'a str, 'x'; b"), ["', b', ', &'a str, '; b"]);
    }

    #[test]
    fn comments_are_kept_apart() {
        assert_eq!(lines("x; // SAFETY: y")[0].comment, " SAFETY: y");
        assert_eq!(lines("\"// no\"")[0].comment, "");
    }

    #[test]
    fn raw_identifiers_are_code() {
        assert_eq!(code("r#type + r#mod"), ["r#type + r#mod"]);
    }

    #[test]
    fn words_are_found_whole() {
        assert!(mentions("unsafe { x }", "unsafe"));
        assert!(!mentions("deny(unsafe_code)", "unsafe"));
        assert!(mentions("std::time::Instant::now()", "Instant::now"));
        assert!(!mentions("my_std::net::x", "std::net"));
    }

    #[test]
    fn groups_of_imports_are_taken_apart() {
        let source =
            "use std::{\n    fs,\n    net::{self, TcpStream},\n};\npub use a::B as C;\nx();";
        let found = imports(&lines(source));
        let found: Vec<_> = found.iter().map(|(line, path)| (*line, path.as_str())).collect();
        assert_eq!(
            found,
            [(1, "std::fs"), (2, "std::net::self"), (2, "std::net::TcpStream"), (4, "a::BasC")]
        );
    }

    #[test]
    fn the_test_module_is_the_rest_of_a_file() {
        let source = "a\n#[cfg(test)]\nuse b;\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n}";
        assert_eq!(lines_before_tests(&lines(source)), 3);
        assert_eq!(lines_before_tests(&lines("a\n#[cfg(test)]\nmod tests;")), 3);
    }
}
