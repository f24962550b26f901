//! A page of text for a terminal: a heading, rows of facts, paragraphs. Knows widths and nothing else.

/// Where lines are folded, in characters.
const WIDTH: usize = 92;
/// The column of facts.
const COLUMN: usize = 12;

/// A page in the making.
pub struct Page {
    out: String,
    in_rows: bool,
}

impl Page {
    pub fn new(heading: &str) -> Page {
        Page {
            out: format!("{heading}\n"),
            in_rows: false,
        }
    }

    /// A fact with its name.
    pub fn row(&mut self, name: &str, fact: &str) {
        if !self.in_rows {
            self.out.push('\n');
            self.in_rows = true;
        }
        for (index, line) in folded(fact, WIDTH - COLUMN).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            self.out.push_str(&format!("{name:COLUMN$}{line}\n"));
        }
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.in_rows = false;
        self.out.push('\n');
        for line in folded(text, WIDTH) {
            self.out.push_str(&format!("{line}\n"));
        }
    }

    /// A paragraph under a heading.
    pub fn section(&mut self, heading: &str, text: &str) {
        self.in_rows = false;
        self.out.push_str(&format!("\n{heading}\n"));
        for line in folded(text, WIDTH - 2) {
            self.out.push_str(&format!("  {line}\n"));
        }
    }

    /// Lines as they are, under a heading.
    pub fn verbatim(&mut self, heading: &str, text: &str) {
        self.in_rows = false;
        self.out.push_str(&format!("\n{heading}\n\n"));
        self.out.push_str(text.trim_end_matches('\n'));
        self.out.push('\n');
    }

    pub fn finish(self) -> String {
        self.out
    }
}

/// Words in lines of at most `width` characters, where no word is longer.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_between_words() {
        assert_eq!(folded("aa bb cc dd", 5), ["aa bb", "cc dd"]);
        assert_eq!(folded("a longerword b", 5), ["a", "longerword", "b"]);
        let mut page = Page::new("x");
        page.row("name", "fact");
        page.section("Why", "because");
        assert_eq!(page.finish(), "x\n\nname        fact\n\nWhy\n  because\n");
    }
}
