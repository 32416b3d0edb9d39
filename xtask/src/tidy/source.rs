//! Rust source as the rules see it: without comments, texts and tests, and with its import trees spelled out.

/// Blanks comments, texts and `#[cfg(test)]` blocks; every line keeps its number.
pub(super) fn code_only(source: &str) -> String {
    without_tests(&without_texts(source))
}

fn without_texts(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(length) = raw_text(rest).filter(|_| !after_word(bytes, at)) {
            at + length
        } else if rest[0] == b'"' {
            at + text(rest)
        } else if let Some(length) = character(rest) {
            at + length
        } else {
            out.push(char::from(if rest[0].is_ascii() { rest[0] } else { b'?' }));
            at += 1;
            continue;
        };
        let newlines = bytes[at..end].iter().filter(|byte| **byte == b'\n').count();
        out.push(' ');
        out.extend(std::iter::repeat_n('\n', newlines));
        at = end;
    }
    out
}

fn after_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(rest.len())
}

/// `r"…"`, `r#"…"#`, `br"…"`.
fn raw_text(rest: &[u8]) -> Option<usize> {
    let start = if rest.starts_with(b"br") { 2 } else { usize::from(rest.starts_with(b"r")) };
    if start == 0 {
        return None;
    }
    let hashes = rest[start..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let body = &rest[open + 1..];
    let length = body.windows(close.len()).position(|window| window == close).unwrap_or(body.len());
    Some((open + 1 + length + close.len()).min(rest.len()))
}

fn text(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `'x'` and `'\n'`, but not the lifetime `'a`.
fn character(rest: &[u8]) -> Option<usize> {
    if rest[0] != b'\'' {
        return None;
    }
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(close + 4);
    }
    let close = rest.iter().skip(2).take(4).position(|byte| *byte == b'\'')? + 2;
    let single = std::str::from_utf8(&rest[1..close]).ok()?.chars().count() == 1;
    single.then_some(close + 1)
}

fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..start]);
        let block = &rest[start..];
        let end = end_of_item(block);
        out.extend(block[..end].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        rest = &block[end..];
    }
    out.push_str(rest);
    out
}

/// To the end of an item's braces, or its semicolon when that comes first.
fn end_of_item(block: &str) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in block.char_indices() {
        match letter {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    block.len()
}

/// All paths that begin with `first`, with the number of the line they begin on; `a::{b, c::d}` is two.
pub(super) fn paths(code: &str, first: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(first) {
        let before = code[..at].chars().next_back();
        let inside_a_word = before.is_some_and(|letter| letter.is_alphanumeric() || "_:".contains(letter));
        let rest = &code[at + first.len()..];
        if inside_a_word || !rest.trim_start().starts_with("::") {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let mut expanded = Vec::new();
        expand(rest, first, &mut expanded);
        found.extend(expanded.into_iter().map(|path| (line, path)));
    }
    found
}

/// Reads what follows `prefix` (`::word…` or `::{…}`), returns what is left of the text.
fn expand<'a>(text: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let Some(rest) = text.trim_start().strip_prefix("::") else {
        found.push(prefix.to_owned());
        return text;
    };
    let rest = rest.trim_start();
    if let Some(mut rest) = rest.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
            if rest.is_empty() {
                return rest;
            }
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            let (word, after) = split_word(rest);
            if word.is_empty() {
                return rest;
            }
            let path = if word == "self" { prefix.to_owned() } else { format!("{prefix}::{word}") };
            rest = skip_alias(expand(after, &path, found));
        }
    }
    let (word, after) = split_word(rest);
    if word.is_empty() {
        found.push(prefix.to_owned());
        return rest;
    }
    expand(after, &format!("{prefix}::{word}"), found)
}

fn skip_alias(rest: &str) -> &str {
    match rest.trim_start().strip_prefix("as ") {
        Some(alias) => split_word(alias.trim_start()).1,
        None => rest,
    }
}

fn split_word(text: &str) -> (&str, &str) {
    if let Some(rest) = text.strip_prefix('*') {
        return ("*", rest);
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    text.split_at(end)
}

/// Lines on which `word` stands by itself.
pub(super) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let alone =
        |letter: Option<char>| !letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let stands = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            alone(line[..at].chars().next_back()) && alone(line[at + word.len()..].chars().next())
        })
    };
    code.lines().enumerate().filter(|(_, line)| stands(line)).map(|(index, _)| index + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_trees_are_spelled_out() {
        let found = paths(
            "use crate::{base::Id, cdn::{self, wire::*}, peer as p};\nlet x = crate::wire::a();",
            "crate",
        );
        let expect = [
            (1, "crate::base::Id"),
            (1, "crate::cdn"),
            (1, "crate::cdn::wire::*"),
            (1, "crate::peer"),
            (2, "crate::wire::a"),
        ];
        assert_eq!(found, expect.map(|(line, path)| (line, path.to_owned())));
        assert!(paths("use subcrate::a; use a::crate::b;", "crate").is_empty());
    }

    #[test]
    fn comments_texts_and_tests_are_no_code() {
        let source = "// tokio\nlet a = \"tokio\"; /* tokio\n*/ let b = r#\"tokio\"#; let c: &'a str = '\"';\n\
                      #[cfg(test)]\nmod tests { use tokio; fn f() {} }\nfn real() {}\n#[cfg(test)]\nmod more;\n";
        let code = code_only(source);
        assert!(lines_with_word(&code, "tokio").is_empty(), "{code}");
        assert_eq!(lines_with_word(&code, "real"), [6]);
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn a_word_stands_by_itself() {
        assert_eq!(lines_with_word("HashMapper\nHashMap<A>\nmyHashMap", "HashMap"), [2]);
    }
}
