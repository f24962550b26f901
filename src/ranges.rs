//! Names that count up, written together: `worker-[001-500]`. Knows names alone.

use std::str::FromStr;

use crate::names::NodeName;

/// Longer numbers are part of a name: nobody counts so far.
const MOST_DIGITS: usize = 6;

/// Names that share a stem and count up, with as many digits; or a name alone.
pub struct Range<'a> {
    /// The first of them.
    pub first: &'a NodeName,
    /// How many there are.
    pub count: u32,
}

/// The names in ranges, in order: numbers of one width that follow each other, at the end of a name.
#[must_use]
pub fn of<'a>(names: &[&'a NodeName]) -> Vec<Range<'a>> {
    let mut sorted: Vec<(&str, &str, &NodeName)> = names
        .iter()
        .map(|name| {
            let (stem, digits) = parted(name.as_str());
            (stem, digits, *name)
        })
        .collect();
    sorted.sort_by_key(|(stem, digits, _)| (*stem, digits.len(), *digits));
    let mut out: Vec<Range<'a>> = Vec::new();
    for (stem, digits, name) in sorted {
        let follows = |before: &Range<'_>| {
            let (stem_before, first) = parted(before.first.as_str());
            let next = number(first).map(|first| first + before.count);
            (stem_before, first.len()) == (stem, digits.len())
                && next.is_some()
                && next == number(digits)
        };
        match out.last_mut().filter(|before| follows(before)) {
            Some(before) => before.count += 1,
            None => out.push(Range {
                first: name,
                count: 1,
            }),
        }
    }
    out
}

impl Range<'_> {
    /// The range as `worker-[001-500]`, with what stands between its ends; a name alone as it is.
    #[must_use]
    pub fn pattern(&self, between: char) -> String {
        let (stem, first) = parted(self.first.as_str());
        match number(first) {
            Some(low) if self.count > 1 => {
                let (width, last) = (first.len(), low + self.count - 1);
                format!("{stem}[{first}{between}{last:0width$}]")
            }
            _ => self.first.to_string(),
        }
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        expand(&self.pattern('-'))
    }
}

/// A name, and the digits at its end.
fn parted(name: &str) -> (&str, &str) {
    name.split_at(name.trim_end_matches(|c: char| c.is_ascii_digit()).len())
}

fn number(digits: &str) -> Option<u32> {
    let counts = !digits.is_empty()
        && digits.len() <= MOST_DIGITS
        && digits.bytes().all(|b| b.is_ascii_digit());
    counts.then(|| u32::from_str(digits).ok()).flatten()
}

/// The names that a pattern like `worker-[001-500]` stands for; anything else stands for itself (and is
/// refused as a name if it has brackets).
#[must_use]
pub fn expand(pattern: &str) -> Vec<String> {
    let parsed = (|| {
        let (prefix, rest) = pattern.split_once('[')?;
        let (range, suffix) = rest.split_once(']')?;
        let (from, to) = range.split_once('-')?;
        let (low, high) = (number(from)?, number(to)?);
        let width = from.len();
        (low <= high).then(|| {
            (low..=high)
                .map(|n| format!("{prefix}{n:0width$}{suffix}"))
                .collect()
        })
    })();
    parsed.unwrap_or_else(|| vec![pattern.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_count_up_are_one_range() {
        let names: Vec<NodeName> = [
            "1.2",
            "cp-1",
            "cp-2",
            "cp-4",
            "edge",
            "w-08",
            "w-09",
            "w-10",
            "w-9",
            "w10",
            "w11",
            "w9",
            "x-99999999999999999999998",
            "x-99999999999999999999999",
        ]
        .map(|name| NodeName::new(name).unwrap())
        .into();
        let names: Vec<&NodeName> = names.iter().collect();
        let ranges = of(&names);
        let patterns: Vec<String> = ranges.iter().map(|range| range.pattern('-')).collect();
        assert_eq!(
            patterns,
            [
                "1.2",
                "cp-[1-2]",
                "cp-4",
                "edge",
                "w9",
                "w[10-11]",
                "w-9",
                "w-[08-10]",
                "x-99999999999999999999998",
                "x-99999999999999999999999",
            ]
        );
        let mut back: Vec<String> = patterns.iter().flat_map(|p| expand(p)).collect();
        back.sort();
        assert_eq!(
            back,
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        assert_eq!(ranges[7].pattern(':'), "w-[08:10]");
    }

    #[test]
    fn what_is_no_pattern_stands_for_itself() {
        for name in [
            "w-1",
            "w-[1-",
            "w-[2-1]",
            "w-[a-b]",
            "w-[1-9999999]",
            "w-[1:2]",
        ] {
            assert_eq!(expand(name), [name]);
        }
        assert_eq!(expand("w-[09-10].lab"), ["w-09.lab", "w-10.lab"]);
    }
}
