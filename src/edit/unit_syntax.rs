//! The syntax of systemd units and environment files, with the place of every character.
//!
//! Knows lines, quotes, escapes and words, as systemd.syntax(7), systemd.exec(5) and systemd.service(5)
//! define them. Does not know what a setting means.

/// A character with the bytes that spell it: an escape has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Char {
    pub c: char,
    /// Index of the text.
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// A word after unquoting.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub chars: Vec<Char>,
    /// Where the word begins, quotes included.
    pub source: usize,
    pub start: usize,
}

impl Located {
    pub fn text(&self) -> String {
        text_of(&self.chars)
    }
}

pub(super) fn text_of(chars: &[Char]) -> String {
    chars.iter().map(|c| c.c).collect()
}

/// A setting of a unit.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub section: String,
    pub key: String,
    pub value: Vec<Char>,
    pub start: usize,
}

/// How a backslash reads in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// As in C, plus `\s`.
    C,
    /// The next character stands for itself.
    Literal,
}

fn chars_of(text: &str, source: usize) -> impl Iterator<Item = Char> + '_ {
    text.char_indices().map(move |(start, c)| Char {
        c,
        source,
        start,
        end: start + c.len_utf8(),
    })
}

fn trim(chars: &[Char]) -> &[Char] {
    let first = chars
        .iter()
        .position(|c| !c.c.is_whitespace())
        .unwrap_or(chars.len());
    let last = chars
        .iter()
        .rposition(|c| !c.c.is_whitespace())
        .map_or(first, |i| i + 1);
    &chars[first..last]
}

/// The settings of a unit, lines that continue joined.
pub(super) fn settings(text: &str, source: usize) -> Vec<Setting> {
    let mut out = Vec::new();
    let mut section = String::new();
    for line in logical_lines(text, source) {
        let line = trim(&line);
        let content = text_of(line);
        if let Some(name) = content.strip_prefix('[').and_then(|c| c.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some(i) = line.iter().position(|c| c.c == '=') {
            out.push(Setting {
                section: section.clone(),
                key: text_of(trim(&line[..i])),
                value: trim(&line[i + 1..]).to_vec(),
                start: line[0].start,
            });
        }
    }
    out
}

/// Lines with comments left out; a backslash at the end of a line becomes a blank and the next line
/// follows, comments in between not counting.
fn logical_lines(text: &str, source: usize) -> Vec<Vec<Char>> {
    let mut out = Vec::new();
    let mut open: Vec<Char> = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let content = line.trim_end_matches(['\n', '\r']);
        if content
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with(['#', ';'])
        {
            continue;
        }
        let continues = content.ends_with('\\');
        let kept = if continues {
            &content[..content.len() - 1]
        } else {
            content
        };
        open.extend(
            chars_of(kept, source)
                .filter(|c| c.c != '\u{feff}')
                .map(|c| Char {
                    start: c.start + start,
                    end: c.end + start,
                    ..c
                }),
        );
        if continues {
            open.push(Char {
                c: ' ',
                source,
                start: start + kept.len(),
                end: offset,
            });
        } else {
            out.push(std::mem::take(&mut open));
        }
    }
    out.push(open);
    out
}

/// Splits into words and takes quotes and escapes off. The error is the offset of what is not
/// understood.
pub(super) fn words(value: &[Char], escapes: Escapes) -> Result<Vec<Located>, usize> {
    let mut out = Vec::new();
    let mut rest = value;
    loop {
        let skip = rest
            .iter()
            .position(|c| !c.c.is_whitespace())
            .unwrap_or(rest.len());
        rest = &rest[skip..];
        let Some(first) = rest.first() else {
            return Ok(out);
        };
        let (chars, after) = word(rest, escapes)?;
        out.push(Located {
            chars,
            source: first.source,
            start: first.start,
        });
        rest = after;
    }
}

/// The first word of `rest`, and what follows it.
fn word(mut rest: &[Char], escapes: Escapes) -> Result<(Vec<Char>, &[Char]), usize> {
    let mut chars = Vec::new();
    let mut quote = None;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first.c, quote) {
            ('\\', _) => {
                let (c, after) = escape(first, rest, escapes).ok_or(first.start)?;
                chars.push(c);
                rest = after;
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(first.c),
            (c, None) if c.is_whitespace() => return Ok((chars, rest)),
            _ => chars.push(first),
        }
        if quote.is_some() && rest.is_empty() {
            return Err(first.start);
        }
    }
    Ok((chars, rest))
}

/// The character of an escape whose backslash is `slash`, and what follows it.
fn escape(slash: Char, rest: &[Char], escapes: Escapes) -> Option<(Char, &[Char])> {
    let (&next, after) = rest.split_first()?;
    let simple = |c: char| {
        Some((
            Char {
                c,
                start: slash.start,
                ..next
            },
            after,
        ))
    };
    if escapes == Escapes::Literal {
        return simple(next.c);
    }
    let coded = |digits: &[Char], radix: u32, after| {
        let code = u32::from_str_radix(&text_of(digits), radix).ok()?;
        // Bytes above 127 would have to be put together to UTF-8.
        let c = char::from_u32(code)
            .filter(|c| c.is_ascii() || digits.len() > 3)
            .filter(|c| *c != '\0')?;
        Some((
            Char {
                c,
                source: slash.source,
                start: slash.start,
                end: digits.last()?.end,
            },
            after,
        ))
    };
    match next.c {
        'a' => simple('\u{7}'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\u{b}'),
        's' => simple(' '),
        '\\' | '"' | '\'' | ';' => simple(next.c),
        'x' => coded(after.get(..2)?, 16, after.get(2..)?),
        'u' => coded(after.get(..4)?, 16, after.get(4..)?),
        'U' => coded(after.get(..8)?, 16, after.get(8..)?),
        '0'..='7' => coded(rest.get(..3)?, 8, rest.get(3..)?),
        _ => None,
    }
}

/// What an environment file assigns, in order.
pub(super) fn env_file(text: &str, source: usize) -> Vec<(String, Vec<Char>)> {
    let chars: Vec<Char> = chars_of(text, source)
        .filter(|c| c.c != '\r' && c.c != '\u{feff}')
        .collect();
    let mut out = Vec::new();
    let mut rest = chars.as_slice();
    while let Some(first) = rest.first() {
        if first.c.is_whitespace() {
            rest = &rest[1..];
        } else if first.c == '#' || first.c == ';' {
            rest = after_comment(rest);
        } else {
            let stop = rest
                .iter()
                .position(|c| matches!(c.c, '=' | '\n'))
                .unwrap_or(rest.len());
            let key = text_of(trim(&rest[..stop]));
            let assigned = rest.get(stop).is_some_and(|c| c.c == '=');
            rest = rest.get(stop + 1..).unwrap_or_default();
            if assigned {
                let (value, after) = env_value(rest);
                rest = after;
                out.push((key, value));
            }
        }
    }
    out
}

/// A backslash takes the next character, be it the line break, into the comment.
fn after_comment(mut rest: &[Char]) -> &[Char] {
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first.c {
            '\n' => break,
            '\\' => rest = rest.get(1..).unwrap_or_default(),
            _ => {}
        }
    }
    rest
}

/// The value after `=`, and what follows its line.
fn env_value(mut rest: &[Char]) -> (Vec<Char>, &[Char]) {
    let mut value = Vec::new();
    // Up to here nothing is trimmed: it was quoted or escaped.
    let mut kept = 0;
    // Whether an unquoted part has begun, in which quotes are ordinary characters.
    let mut bare = false;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first.c {
            '\n' => break,
            '\\' => {
                bare = true;
                if let Some((&next, after)) = rest.split_first() {
                    rest = after;
                    if next.c != '\n' {
                        value.push(Char {
                            start: first.start,
                            ..next
                        });
                        kept = value.len();
                    }
                }
            }
            '\'' | '"' if !bare => {
                rest = quoted(first.c, rest, &mut value);
                kept = value.len();
            }
            c if c.is_whitespace() && !bare => {}
            _ => {
                bare = true;
                value.push(first);
            }
        }
    }
    let end = value
        .iter()
        .rposition(|c| !c.c.is_whitespace())
        .map_or(0, |i| i + 1)
        .max(kept);
    value.truncate(end);
    (value, rest)
}

/// Reads up to the closing quote into `value`; gives what follows it.
fn quoted<'a>(quote: char, mut rest: &'a [Char], value: &mut Vec<Char>) -> &'a [Char] {
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first.c == quote {
            break;
        }
        if first.c != '\\' || quote == '\'' {
            value.push(first);
            continue;
        }
        let Some((&next, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match next.c {
            '\n' => {}
            '"' | '\\' | '`' | '$' => value.push(Char {
                start: first.start,
                ..next
            }),
            _ => value.extend([first, next]),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(value: &str) -> Result<Vec<String>, usize> {
        let chars: Vec<Char> = chars_of(value, 0).collect();
        Ok(words(&chars, Escapes::C)?
            .iter()
            .map(Located::text)
            .collect())
    }

    #[test]
    fn words_are_unquoted_as_systemd_does() {
        assert_eq!(
            split("a  \"b c\" 'd\"e' f\\x20g --h=\"i j\" \"\"").unwrap(),
            ["a", "b c", "d\"e", "f g", "--h=i j", ""]
        );
        assert_eq!(split("\\s\\\\\\u00e9\\101").unwrap(), [" \\éA"]);
        assert_eq!(split("a \"b"), Err(3));
        assert_eq!(split("a \\q"), Err(2));
    }

    #[test]
    fn lines_continue_over_comments() {
        let text = "# c\n[Service]\nA = b \\\n# c \\\n; d\n  c\nB=\n[X]\nC=1";
        let read: Vec<_> = settings(text, 0)
            .into_iter()
            .map(|s| (s.section, s.key, text_of(&s.value)))
            .collect();
        let want = [
            ("Service", "A", "b    c"),
            ("Service", "B", ""),
            ("X", "C", "1"),
        ];
        assert_eq!(
            read,
            want.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
        );
    }

    #[test]
    fn environment_files_are_read_as_systemd_does() {
        let text = "# c\nA=b c  \nB=\"d \\\"e\\\" \\x\"\nC='f\\'\nD= \"g\" h\nE=i\\\nj\\ \nnot an assignment\nF=\nG=a\"b\"\n";
        let read: Vec<_> = env_file(text, 0)
            .into_iter()
            .map(|(k, v)| (k, text_of(&v)))
            .collect();
        let want = [
            ("A", "b c"),
            ("B", "d \"e\" \\x"),
            ("C", "f\\"),
            ("D", "gh"),
            ("E", "ij "),
            ("F", ""),
            ("G", "a\"b\""),
        ];
        assert_eq!(read, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
